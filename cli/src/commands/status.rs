//! `tufline status`: what is published, what waits in which queue, what expires when, and what was
//! rejected.

use std::fmt::{self, Write};

use anyhow::bail;
use clap::Args;
use tufline_pipeline::state::roots::IgnoredRoot;
use tufline_store::ErrorKind;
use tufline_tuf::plain::escaped;

use crate::embedded::Trouble;
use crate::exit::{Exit, Result};
use crate::health::{Damage, RejectedUploads, Rejections, Status, collect};
use crate::repository::EndpointsArguments;
use crate::{terminal, text};

/// Shows what is published, what waits, what expires when, and what was rejected. On AWS it needs an
/// operator's credentials.
///
/// Exits with 5 if something needs attention now, and says what in its last line; with 1 if the
/// status can't be read.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// List all rejected uploads, not only the last five
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    repository: EndpointsArguments,
}

pub async fn run(arguments: Arguments) -> Result {
    let repository = arguments.repository.open().await?;
    let queues = repository.queues()?;
    let rejections = if arguments.all { Rejections::All } else { Rejections::Last };
    let status = collect(&repository, queues.as_deref(), rejections).await?;
    if arguments.json {
        terminal::json(&serde_json::to_value(&status)?);
    } else {
        terminal::lines(&describe(&status)?);
    }
    if let Some(first) = status.unreadable.first() {
        bail!(
            "{} of the status can't be read, the first: {first}",
            text::count(status.unreadable.len() as u64, "part")
        );
    }
    Ok(if status.attention.is_empty() { Exit::Done } else { Exit::Attention })
}

fn describe(status: &Status) -> std::result::Result<String, fmt::Error> {
    let mut text = String::new();
    write_published(&mut text, status)?;
    write_waiting(&mut text, status)?;
    write_refused(&mut text, status)?;
    write_failing(&mut text, status)?;
    Ok(text)
}

/// Writes what devices see, and which of its files are damaged.
fn write_published(text: &mut String, status: &Status) -> fmt::Result {
    let targets = text::count(status.targets, "target");
    writeln!(
        text,
        "published   generation {} with {targets}, made {}",
        status.generation,
        text::until(status.now, status.made)
    )?;
    for role in &status.roles {
        let expired = if role.expires <= status.now { "EXPIRED" } else { "expires" };
        writeln!(
            text,
            "{:<11} version {:<8} {expired} {}",
            role.name.as_str(),
            role.version,
            text::until(status.now, role.expires)
        )?;
    }
    for Damage { file, why } in &status.damaged {
        writeln!(
            text,
            "damaged     {file}: {}; devices need it, so restore it from a backup or from its \
             older object versions",
            escaped(why)
        )?;
    }
    for IgnoredRoot { version, reason, .. } in &status.ignored_roots {
        writeln!(
            text,
            "not a root  metadata/{version}.root.json: {}; no device follows it, and `tufline root \
             publish` of the real root replaces it",
            escaped(reason)
        )?;
    }
    Ok(())
}

/// Writes what waits for sign and publish, and in the queues.
fn write_waiting(text: &mut String, status: &Status) -> fmt::Result {
    let waiting = &status.waiting;
    let since =
        waiting.since.map(|since| format!(", the first made {}", text::until(status.now, since)));
    let since = since.unwrap_or_default();
    writeln!(
        text,
        "waiting     {} to be signed, {} to be published{since}",
        waiting.unsigned, waiting.signed
    )?;
    for (queue, depth) in status.queues.iter().flatten() {
        let (messages, letters) = (
            text::count(depth.messages, "message"),
            text::count(depth.dead_letters, "dead letter"),
        );
        writeln!(text, "queue       {:<8} {messages}, {letters}", queue.name())?;
    }
    Ok(())
}

/// Writes what was rejected or refused, and which removals are held.
fn write_refused(text: &mut String, status: &Status) -> fmt::Result {
    let RejectedUploads { count, last, unlisted } = &status.rejected;
    let rest = match unlisted {
        0 => String::new(),
        _ => format!(", {} of them listed here; `tufline status --all` lists all", last.len()),
    };
    writeln!(text, "rejected    {}{rest}", text::count(*count as u64, "upload"))?;
    for rejected in last {
        writeln!(text, "            {}: {}", escaped(&rejected.name), escaped(&rejected.reason))?;
    }
    for refused in &status.refused_generations {
        writeln!(
            text,
            "refused     generation {}: {}",
            refused.generation,
            escaped(&refused.reason)
        )?;
    }
    if !status.held_removals.is_empty() {
        let held = text::count(status.held_removals.len() as u64, "removal");
        writeln!(text, "held        {held}; if they are intended, run `tufline accept-removals`")?;
    }
    Ok(())
}

/// Writes what fails, and the reasons for attention.
fn write_failing(text: &mut String, status: &Status) -> fmt::Result {
    if let Some(stored) = status.clock_behind {
        writeln!(
            text,
            "clock       BEHIND: it says {}, and the timestamp was stored at {stored}; nothing is \
             published or renewed until it is right",
            status.now
        )?;
    }
    for Trouble { what, why, since, kind } in &status.troubles.troubles {
        writeln!(
            text,
            "{:<12}{}, first {}: {}",
            // "fails": it is tried again by itself. "denied": somebody must grant access first.
            if *kind == Some(ErrorKind::Denied) { "denied" } else { "fails" },
            what.escape_debug(),
            text::until(status.now, *since),
            why.escape_debug()
        )?;
    }
    if status.troubles.more > 0 {
        writeln!(text, "fails       and {} more", status.troubles.more)?;
    }
    for why in &status.unreadable {
        writeln!(text, "unreadable  {}", why.escape_debug())?;
    }
    if !status.attention.is_empty() {
        let reasons: Vec<&str> = status.attention.iter().map(|reason| &*reason.text).collect();
        writeln!(text, "attention   {}", reasons.join("; ").escape_debug())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use tufline_store::{Queue, RejectedUpload};
    use tufline_tuf::{RejectionCode, RoleName, Sha256, Time, time};

    use super::*;
    use crate::embedded::TroublesRecord;
    use crate::health::status::{Depth, Newer, RefusedNewer, RoleStatus};
    use crate::health::{About, Reason};

    #[test]
    fn a_status_reads_in_columns() {
        let now: Time = "2026-11-25T00:00:00Z".parse().unwrap();
        let rejected = RejectedUpload {
            place: "/u/a b".into(),
            name: "a\nb".into(),
            version: None,
            code: RejectionCode::Name,
            reason: "it has a space".into(),
        };
        let status = Status {
            now,
            generation: 7,
            made: now,
            targets: 1,
            roles: vec![
                RoleStatus {
                    name: RoleName::timestamp(),
                    version: 12,
                    expires: time::after(now, 86_000),
                },
                RoleStatus { name: RoleName::targets(), version: 3, expires: now },
            ],
            damaged: vec![Damage {
                file: "metadata/7.snapshot.json".into(),
                why: "it is\nmissing".into(),
            }],
            ignored_roots: vec![IgnoredRoot {
                version: 2,
                sha256: Sha256::of(b""),
                reason: "why".into(),
            }],
            waiting: Newer { unsigned: 1, signed: 0, since: Some(now) },
            queues: Some(BTreeMap::from([(
                Queue::Uploads,
                Depth { messages: 2, dead_letters: 0 },
            )])),
            rejected: RejectedUploads { count: 20, last: vec![rejected], unlisted: 19 },
            refused_generations: vec![RefusedNewer { generation: 8, reason: "why".into() }],
            held_removals: BTreeSet::from(["a".into(), "b".into()]),
            clock_behind: Some(time::after(now, 60)),
            troubles: TroublesRecord {
                troubles: vec![
                    Trouble {
                        what: "sign".into(),
                        why: "no".into(),
                        kind: Some(ErrorKind::Denied),
                        since: now,
                    },
                    Trouble {
                        what: "upload a\nb".into(),
                        why: "no room".into(),
                        kind: None,
                        since: now,
                    },
                ],
                more: 2,
            },
            runs: Some(true),
            unreadable: vec!["rejected/a.json: not readable".into()],
            attention: ["targets expired 0 s ago", "sign fails"]
                .map(|text| Reason { about: About::Trouble, text: text.into(), detail: None })
                .into(),
        };
        assert_eq!(
            describe(&status).unwrap(),
            "published   generation 7 with 1 target, made 0 s ago\n\
             timestamp   version 12       expires in 23 h 53 min\n\
             targets     version 3        EXPIRED 0 s ago\n\
             damaged     metadata/7.snapshot.json: it is\\nmissing; devices need it, so restore it from a backup or from its older object versions\n\
             not a root  metadata/2.root.json: why; no device follows it, and `tufline root publish` of the real root replaces it\n\
             waiting     1 to be signed, 0 to be published, the first made 0 s ago\n\
             queue       uploads  2 messages, 0 dead letters\n\
             rejected    20 uploads, 1 of them listed here; `tufline status --all` lists all\n            \
             a\\nb: it has a space\n\
             refused     generation 8: why\n\
             held        2 removals; if they are intended, run `tufline accept-removals`\n\
             clock       BEHIND: it says 2026-11-25T00:00:00Z, and the timestamp was stored at 2026-11-25T00:01:00Z; nothing is published or renewed until it is right\n\
             denied      sign, first 0 s ago: no\n\
             fails       upload a\\nb, first 0 s ago: no room\n\
             fails       and 2 more\n\
             unreadable  rejected/a.json: not readable\n\
             attention   targets expired 0 s ago; sign fails\n"
        );
    }
}
