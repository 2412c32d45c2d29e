//! `tufline status`: what is published, what waits where, what expires when, and what was refused.

mod attention;
mod collect;
mod documents;

use std::fmt::Write;
use std::sync::Arc;

use anyhow::bail;
use clap::Args;
use tufline_store::Queues;
use tufline_tuf::config::Expiry;

use crate::connection::{Connection, ConnectionArguments};
use crate::inside::Inside;
use crate::local::configured;
use crate::local::troubles::Trouble;
use crate::outcome::{Outcome, Result};
use crate::show;
use tufline_tuf::plain::escaped;

pub use attention::{About, Reason, expiry};
pub use collect::held;
use collect::{Refusals, Rejected, Status};
use documents::Damage;
use tufline_pipeline::state::roots::IgnoredRoot;

/// Shows what is published, what waits, what expires when, and what was refused. On AWS it needs an operator's keys.
///
/// Exits with 5 where somebody should look at it now, and says why in its last line; with 1 where it can't be told.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// List all refused uploads, not only the last five
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    connection: ConnectionArguments,
}

/// Prints the status.
pub async fn run(arguments: Arguments) -> Result {
    let connection = arguments.connection.connect().await?;
    let queues: Option<Arc<dyn Queues>> = match &connection {
        // Those of the embedded form are in the process that runs it.
        Connection::Folder(_) => None,
        Connection::Aws(aws) => Some(Arc::new(aws.resources.queues(&aws.clients)?)),
    };
    let lifetimes = lifetimes(&connection)?;
    let refusals = if arguments.all { Refusals::All } else { Refusals::Last };
    let inside = Inside::for_operator(&connection)?;
    let status = collect::collect(&inside, queues.as_deref(), lifetimes.as_ref(), refusals).await?;
    if arguments.json {
        show::json(&serde_json::to_value(&status)?);
    } else {
        show::lines(&text(&status)?);
    }
    if let Some(first) = status.unreadable.first() {
        bail!(
            "{} of the status can't be read, the first: {first}",
            show::count(status.unreadable.len() as u64, "part")
        );
    }
    Ok(if status.attention.is_empty() { Outcome::Done } else { Outcome::Attention })
}

/// How long documents are valid from their signing, where that is known.
pub fn lifetimes(connection: &Connection) -> anyhow::Result<Option<Expiry>> {
    Ok(match connection {
        Connection::Folder(endpoints) => Some(configured(endpoints.data()?)?.expiry),
        // What a deployment has isn't known by its endpoints alone.
        Connection::Aws(aws) if aws.config.is_none() => None,
        Connection::Aws(aws) => Some(aws.config()?.expiry),
    })
}

/// What an operator may know of the repository but the queues.
///
/// # Errors
/// Where not even what is published can be read.
pub async fn of(connection: &Connection) -> anyhow::Result<Status> {
    let lifetimes = lifetimes(connection)?;
    collect::collect(&Inside::for_operator(connection)?, None, lifetimes.as_ref(), Refusals::Last).await
}

fn text(status: &Status) -> std::result::Result<String, std::fmt::Error> {
    let mut text = String::new();
    let Status { now, generation, made, targets, .. } = status;
    let targets = show::count(*targets, "target");
    writeln!(text, "published   generation {generation} with {targets}, made {}", show::until(*now, *made))?;
    for role in &status.roles {
        let expired = if role.expires <= *now { "EXPIRED" } else { "expires" };
        writeln!(
            text,
            "{:<11} version {:<8} {expired} {}",
            role.name.as_str(),
            role.version,
            show::until(*now, role.expires)
        )?;
    }
    for Damage { file, why } in &status.damaged {
        writeln!(
            text,
            "damaged     {file}: {}; devices need it, so bring it back from a backup or from its older object versions",
            escaped(why)
        )?;
    }
    for IgnoredRoot { version, reason, .. } in &status.ignored_roots {
        writeln!(
            text,
            "not a root  metadata/{version}.root.json: {}; nobody follows it, and `tufline root publish` of the real one replaces it",
            escaped(reason)
        )?;
    }
    let waiting = &status.waiting;
    let since = waiting.since.map(|since| format!(", the first made {}", show::until(*now, since)));
    let since = since.unwrap_or_default();
    writeln!(text, "waiting     {} to be signed, {} to be published{since}", waiting.unsigned, waiting.signed)?;
    for (queue, depth) in status.queues.iter().flatten() {
        let (messages, letters) =
            (show::count(depth.messages, "message"), show::count(depth.dead_letters, "dead letter"));
        writeln!(text, "queue       {:<8} {messages}, {letters}", queue.name())?;
    }
    let Rejected { count, last, unlisted } = &status.rejected;
    let rest = match unlisted {
        0 => String::new(),
        _ => format!(", {} of them listed here; `tufline status --all` lists all", last.len()),
    };
    writeln!(text, "rejected    {}{rest}", show::count(*count as u64, "upload"))?;
    for rejected in last {
        writeln!(text, "            {}: {}", escaped(&rejected.name), escaped(&rejected.reason))?;
    }
    for refused in &status.refused_generations {
        writeln!(text, "refused     generation {}: {}", refused.generation, escaped(&refused.reason))?;
    }
    if !status.held_removals.is_empty() {
        let held = show::count(status.held_removals.len() as u64, "removal");
        writeln!(text, "held        {held}; if they are meant, run `tufline accept-removals`")?;
    }
    if let Some(stored) = status.clock_behind {
        writeln!(
            text,
            "clock       BEHIND: it says {now}, and the timestamp was stored at {stored}; nothing is published or renewed until it is right"
        )?;
    }
    for Trouble { what, why, since } in &status.troubles.troubles {
        writeln!(
            text,
            "fails       {}, first {}: {}",
            what.escape_debug(),
            show::until(*now, *since),
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
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use tufline_store::{Queue, RejectedUpload};
    use tufline_tuf::{RefusalCode, RoleName, Sha256, Time, time};

    use super::collect::{Depth, Newer, RefusedNewer, Role};
    use super::*;
    use crate::local::troubles::Record;

    #[test]
    fn a_status_reads_in_columns() {
        let now: Time = "2026-11-25T00:00:00Z".parse().unwrap();
        let rejected = RejectedUpload {
            place: "/u/a b".into(),
            name: "a\nb".into(),
            version: None,
            code: RefusalCode::Name,
            reason: "it has a space".into(),
        };
        let status = Status {
            now,
            generation: 7,
            made: now,
            targets: 1,
            roles: vec![
                Role { name: RoleName::timestamp(), version: 12, expires: time::after(now, 86_000) },
                Role { name: RoleName::targets(), version: 3, expires: now },
            ],
            damaged: vec![Damage { file: "metadata/7.snapshot.json".into(), why: "it is\nmissing".into() }],
            ignored_roots: vec![IgnoredRoot { version: 2, sha256: Sha256::of(b""), reason: "why".into() }],
            waiting: Newer { unsigned: 1, signed: 0, since: Some(now) },
            queues: Some(BTreeMap::from([(Queue::Uploads, Depth { messages: 2, dead_letters: 0 })])),
            rejected: Rejected { count: 20, last: vec![rejected], unlisted: 19 },
            refused_generations: vec![RefusedNewer { generation: 8, reason: "why".into() }],
            held_removals: BTreeSet::from(["a".into(), "b".into()]),
            clock_behind: Some(time::after(now, 60)),
            troubles: Record {
                troubles: vec![Trouble { what: "upload a\nb".into(), why: "no room".into(), since: now }],
                more: 2,
            },
            runs: Some(true),
            unreadable: vec!["rejected/a.json: not readable".into()],
            attention: ["targets expired 0 s ago", "sign fails"]
                .map(|text| Reason { about: About::Trouble, text: text.into(), detail: None })
                .into(),
        };
        assert_eq!(
            text(&status).unwrap(),
            "published   generation 7 with 1 target, made 0 s ago\n\
             timestamp   version 12       expires in 23 h 53 min\n\
             targets     version 3        EXPIRED 0 s ago\n\
             damaged     metadata/7.snapshot.json: it is\\nmissing; devices need it, so bring it back from a backup or from its older object versions\n\
             not a root  metadata/2.root.json: why; nobody follows it, and `tufline root publish` of the real one replaces it\n\
             waiting     1 to be signed, 0 to be published, the first made 0 s ago\n\
             queue       uploads  2 messages, 0 dead letters\n\
             rejected    20 uploads, 1 of them listed here; `tufline status --all` lists all\n            \
             a\\nb: it has a space\n\
             refused     generation 8: why\n\
             held        2 removals; if they are meant, run `tufline accept-removals`\n\
             clock       BEHIND: it says 2026-11-25T00:00:00Z, and the timestamp was stored at 2026-11-25T00:01:00Z; nothing is published or renewed until it is right\n\
             fails       upload a\\nb, first 0 s ago: no room\n\
             fails       and 2 more\n\
             unreadable  rejected/a.json: not readable\n\
             attention   targets expired 0 s ago; sign fails\n"
        );
    }
}
