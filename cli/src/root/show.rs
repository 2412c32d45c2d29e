//! `tufline root show`: what a root says, what it changes, and whose signature is missing.

use std::fmt::Write;

use clap::Args;
use serde_json::{Value, json};
use tough::schema::{RoleType, Root};
use tufline_tuf::Sha256;
use tufline_tuf::root::{Change, KeyId, ROLES, RootFile, Tally, changes, holder, kind, tallies};

use super::document::{Document, DocumentArguments, now};
use crate::outcome::{Outcome, Result};
use crate::show;

/// Shows what a root says, what it changes against the version before, and whose signatures are there and missing.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    document: DocumentArguments,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Shows it.
pub fn run(arguments: &Arguments) -> Result {
    let Document { file, previous, .. } = arguments.document.open()?;
    if arguments.json {
        println!("{}", json(&file, previous.as_ref())?);
    } else {
        print!("{}", text(&file, previous.as_ref())?);
    }
    Ok(Outcome::Done)
}

/// The root for people.
pub fn text(file: &RootFile, previous: Option<&Root>) -> anyhow::Result<String> {
    let (root, now, mut text) = (file.root(), now(), String::new());
    let expired = if root.expires <= now { "EXPIRED" } else { "expires" };
    writeln!(text, "root version {}, {expired} {} ({})", file.version(), show::until(now, root.expires), root.expires)?;
    // What signers at different places can compare by telephone.
    writeln!(text, "contents {}", Sha256::of(&file.message()?))?;
    for role in ROLES {
        let Some(entry) = root.roles.get(&role) else { continue };
        writeln!(
            text,
            "{:<10} {} of {}",
            role.to_string(),
            entry.threshold,
            show::count(entry.keyids.len() as u64, "key")
        )?;
        // The holders of root keys are listed below.
        for id in entry.keyids.iter().filter(|_| role != RoleType::Root) {
            writeln!(text, "           {}", name(root, previous, id))?;
        }
    }
    if let Some(previous) = previous {
        writeln!(text, "\nchanges against version {}", previous.version)?;
        for change in changes(previous, root) {
            writeln!(text, "  {change}")?;
        }
    }
    for tally in tallies(file, previous) {
        let keys = (tally.signed.len() + tally.missing.len()) as u64;
        let asks = format!("version {} asks for {} of {}", tally.judge, tally.threshold, show::count(keys, "root key"));
        match tally.needed() {
            0 => writeln!(text, "\n{asks}: enough")?,
            needed => writeln!(text, "\n{asks}: {needed} more needed")?,
        }
        for (word, ids) in [("signed", &tally.signed), ("missing", &tally.missing)] {
            for id in ids {
                writeln!(text, "  {word:<8} {}", name(root, previous, id))?;
            }
        }
    }
    Ok(text)
}

/// The same for programs.
fn json(file: &RootFile, previous: Option<&Root>) -> anyhow::Result<Value> {
    let key = |id: &KeyId| {
        let root = known(file.root(), previous, id);
        json!({"keyid": hex::encode(id), "holder": root.and_then(|root| holder(root, id))})
    };
    let tally = |tally: Tally| {
        json!({
            "version": tally.judge,
            "threshold": tally.threshold,
            "needed": tally.needed(),
            "signed": tally.signed.iter().map(key).collect::<Vec<_>>(),
            "missing": tally.missing.iter().map(key).collect::<Vec<_>>(),
        })
    };
    let changes = previous.map(|previous| changes(previous, file.root()));
    Ok(json!({
        "version": file.version(),
        "expires": file.root().expires,
        "contents": Sha256::of(&file.message()?).to_string(),
        "changes": changes.map(|changes| changes.iter().map(Change::to_string).collect::<Vec<_>>()),
        "signatures": tallies(file, previous).into_iter().map(tally).collect::<Vec<_>>(),
    }))
}

/// A key as people know it.
fn name(root: &Root, previous: Option<&Root>, id: &KeyId) -> String {
    let short = show::short(&hex::encode(id));
    let root = known(root, previous, id);
    let kind = root.and_then(|root| root.keys.get(id)).map_or("unknown", kind);
    match root.and_then(|root| holder(root, id)) {
        Some(holder) => format!("{holder} {short} ({kind})"),
        None => format!("{short} ({kind})"),
    }
}

/// The version that has the key: one that goes is only in the one before.
fn known<'a>(root: &'a Root, previous: Option<&'a Root>, id: &KeyId) -> Option<&'a Root> {
    [Some(root), previous].into_iter().flatten().find(|root| root.keys.contains_key(id))
}
