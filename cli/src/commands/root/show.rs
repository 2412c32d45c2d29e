//! `tufline root show`: a root's contents, its changes, and the missing signatures.

use std::fmt::Write;

use clap::Args;
use serde_json::{Map, Value, json};
use tough::schema::{RoleType, Root};
use tufline_metadata::PublicKey;
use tufline_tuf::plain::escaped;
use tufline_tuf::root::{
    KeyId, PublishedRoot, ROLES, RootChange, RootFile, Tally, changes, contents, extra_fields,
    holder, kind, short_id, tallies, unused_keys,
};

use crate::ceremony::{PreviousRoot, RootDocument, RootDocumentArguments};
use crate::exit::{Exit, Result};
use crate::failure::one_line;
use crate::process::now;
use crate::repository::RepositoryArguments;
use crate::terminal;
use crate::text::{self, Quoted};

/// Shows a root's contents, its changes against the previous version, and whose signatures are
/// there or missing.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    document: RootDocumentArguments,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    repository: RepositoryArguments,
}

pub async fn run(arguments: Arguments) -> Result {
    let document = match arguments.document.open() {
        Ok(document) => document,
        // A root that is published already, perhaps by other tools, needs no previous version
        // beside it.
        Err(why) => match arguments.document.open_published() {
            Ok((root, before)) if root.missing() == 0 => {
                return show_others(&arguments, &root, before.as_ref(), &why);
            }
            _ => return Err(why),
        },
    };
    let published = document.compare_with(&arguments.repository).await?;
    if arguments.json {
        terminal::json(&describe_as_json(&document, published)?);
    } else {
        terminal::lines(&describe(&document.file, document.previous.as_ref(), published)?);
    }
    Ok(Exit::Done)
}

/// The root for people. `published` says whether the previous version is published, if that is
/// known.
pub fn describe(
    file: &RootFile,
    before: Option<&PreviousRoot>,
    published: Option<bool>,
) -> anyhow::Result<String> {
    let previous = before.map(|before| &before.root);
    let (root, now, mut text) = (file.root(), now(), String::new());
    let expired = if root.expires <= now { "EXPIRED" } else { "expires" };
    writeln!(
        text,
        "root version {}, {expired} {} ({})",
        file.version(),
        text::until(now, root.expires),
        root.expires
    )?;
    // Signers in different places can compare this by telephone.
    writeln!(text, "contents {}", contents(file.root())?)?;
    for role in ROLES {
        let Some(entry) = root.roles.get(&role) else { continue };
        writeln!(
            text,
            "{:<10} {} of {}",
            role.to_string(),
            entry.threshold,
            text::count(entry.keyids.len() as u64, "key")
        )?;
        // The holders of root keys are listed below.
        for id in entry.keyids.iter().filter(|_| role != RoleType::Root) {
            writeln!(text, "           {}", name_key(root, previous, id))?;
        }
    }
    for id in unused_keys(root) {
        writeln!(text, "no role    {}", name_key(root, previous, id))?;
    }
    for (field, value) in extra_fields(root) {
        writeln!(text, "field      {}: {}", escaped(&field), text::plain_json(&value))?;
    }
    if let Some(before) = before {
        let version = before.root.version;
        writeln!(text, "\nchanges against version {version}, in {}", before.path.quoted())?;
        writeln!(text, "  its contents {}, its file {}", before.contents, before.sha256)?;
        writeln!(text, "  {}", whether_published(version.get(), published))?;
        for change in changes(&before.root, root) {
            writeln!(text, "  {}", escaped(&change.to_string()))?;
        }
    }
    for tally in tallies(file, previous) {
        let keys = (tally.signed.len() + tally.missing.len()) as u64;
        let asks = format!(
            "version {} asks for {} of {}",
            tally.judge,
            tally.threshold,
            text::count(keys, "root key")
        );
        match tally.needed() {
            0 => writeln!(text, "\n{asks}: enough")?,
            needed => writeln!(text, "\n{asks}: {needed} more needed")?,
        }
        for (word, ids) in [("signed", &tally.signed), ("missing", &tally.missing)] {
            for id in ids {
                writeln!(text, "  {word:<8} {}", name_key(root, previous, id))?;
            }
        }
    }
    Ok(text)
}

/// The same for programs.
fn describe_as_json(document: &RootDocument, published: Option<bool>) -> anyhow::Result<Value> {
    let (file, previous) = (&document.file, document.previous_root());
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
    let role = |role: &RoleType| {
        let entry = file.root().roles.get(role)?;
        let ids: Vec<_> = entry.keyids.iter().map(key).collect();
        Some((role.to_string(), json!({"threshold": entry.threshold, "keys": ids})))
    };
    Ok(json!({
        "version": file.version(),
        "expires": file.root().expires,
        "contents": contents(file.root())?,
        "roles": ROLES.iter().filter_map(role).collect::<Map<String, Value>>(),
        "previous": document.previous.as_ref().map(|before| {
            json!({
                "version": before.root.version, "contents": before.contents, "sha256": before.sha256, "published": published,
            })
        }),
        "fields": extra_fields(file.root()).into_iter().collect::<Map<String, Value>>(),
        "changes": changes.map(|changes| changes.iter().map(RootChange::to_string).collect::<Vec<_>>()),
        "signatures": tallies(file, previous).into_iter().map(tally).collect::<Vec<_>>(),
    }))
}

/// Shows a published root that cannot be signed here, for the reason `why`.
fn show_others(
    arguments: &Arguments,
    root: &PublishedRoot,
    before: Option<&PreviousRoot>,
    why: &anyhow::Error,
) -> Result {
    if arguments.json {
        terminal::json(&describe_others_as_json(root, before)?);
    } else {
        terminal::lines(&describe_others(root, before, why)?);
    }
    Ok(Exit::Done)
}

/// A published root, for people. `why` says why it cannot be signed here.
fn describe_others(
    root: &PublishedRoot,
    before: Option<&PreviousRoot>,
    why: &anyhow::Error,
) -> anyhow::Result<String> {
    let (file, end, now, mut text) =
        (root.file(), root.file().common().expires, now(), String::new());
    let expired = if end <= now { "EXPIRED" } else { "expires" };
    writeln!(text, "root version {}, {expired} {} ({end})", root.version(), text::until(now, end))?;
    writeln!(text, "contents {}", root.contents())?;
    writeln!(
        text,
        "published by its holders; it cannot be signed here: {}",
        escaped(&one_line(why))
    )?;
    for role in file.unverified().roles() {
        let keys = file.unverified().role(role)?;
        let count = text::count((keys.keys().count() + keys.unknown().count()) as u64, "key");
        writeln!(text, "{:<10} {} of {count}", escaped(role), keys.threshold())?;
        for (id, key) in keys.keys().filter(|_| role != "root") {
            writeln!(text, "           {}", key_of_others(id, key))?;
        }
    }
    for (field, value) in extra_fields(root.root()) {
        writeln!(text, "field      {}: {}", escaped(&field), text::plain_json(&value))?;
    }
    if let Some(before) = before {
        writeln!(
            text,
            "\nchanges against version {}, in {}",
            before.root.version,
            before.path.quoted()
        )?;
        for change in changes(&before.root, root.root()) {
            writeln!(text, "  {}", escaped(&change.to_string()))?;
        }
    }
    let keys = file.unverified().role("root")?;
    let (signers, count) =
        (file.signers(&keys), text::count(keys.keys().count() as u64, "root key"));
    writeln!(
        text,
        "\nversion {} asks for {} of {count}: enough",
        root.version(),
        keys.threshold()
    )?;
    for (id, key) in keys.keys() {
        let word = if signers.contains(&id) { "signed" } else { "missing" };
        writeln!(text, "  {word:<8} {}", key_of_others(id, key))?;
    }
    Ok(text)
}

/// The same for programs.
fn describe_others_as_json(
    root: &PublishedRoot,
    before: Option<&PreviousRoot>,
) -> anyhow::Result<Value> {
    let (file, keys) = (root.file(), root.file().unverified().role("root")?);
    let signers = file.signers(&keys);
    let key = |(id, _): (&str, &PublicKey)| json!({"keyid": id, "holder": null});
    let mut roles = Map::new();
    for role in file.unverified().roles() {
        let listed = file.unverified().role(role)?;
        let ids = listed.keys().map(|(id, _)| id).chain(listed.unknown());
        let ids: Vec<_> = ids.map(|id| json!({"keyid": id, "holder": null})).collect();
        roles.insert(role.into(), json!({"threshold": listed.threshold(), "keys": ids}));
    }
    let (signed, missing): (Vec<_>, Vec<_>) = keys.keys().partition(|(id, _)| signers.contains(id));
    Ok(json!({
        "version": root.version(),
        "expires": file.common().expires,
        "contents": root.contents(),
        "roles": roles,
        "previous": before.map(|before| json!({
            "version": before.root.version, "contents": before.contents, "sha256": before.sha256, "published": null,
        })),
        "fields": extra_fields(root.root()).into_iter().collect::<Map<String, Value>>(),
        "changes": before.map(|before| changes(&before.root, root.root()).iter().map(RootChange::to_string).collect::<Vec<_>>()),
        "signatures": [{
            "version": root.version(),
            "threshold": keys.threshold(),
            "needed": root.missing(),
            "signed": signed.into_iter().map(key).collect::<Vec<_>>(),
            "missing": missing.into_iter().map(key).collect::<Vec<_>>(),
        }],
    }))
}

fn key_of_others(id: &str, key: &PublicKey) -> String {
    let kind =
        key.kind().map_or_else(|| format!("{} {}", key.keytype(), key.scheme()), str::to_owned);
    let id = hex::decode(id).map_or_else(|_| text::short(id), |id| short_id(&id));
    format!("{} ({})", escaped(&id), escaped(&kind))
}

/// Whether the previous version is the published one, for people.
fn whether_published(version: u64, published: Option<bool>) -> String {
    match published {
        Some(true) => "it is the published version".into(),
        Some(false) => format!(
            "WARNING: version {version} is not published yet: check what it \
                                changes, too"
        ),
        None => "not compared with the published version: give --data, --endpoints or --stack, or \
                 compare its contents with other signers"
            .into(),
    }
}

/// A key as people know it: its holder, the first digits of its id, and its kind.
fn name_key(root: &Root, previous: Option<&Root>, id: &KeyId) -> String {
    let short = short_id(id);
    let root = known(root, previous, id);
    let kind = root.and_then(|root| root.keys.get(id)).map_or("unknown", kind);
    match root.and_then(|root| holder(root, id)) {
        Some(holder) => format!("{} {short} ({kind})", escaped(holder)),
        None => format!("{short} ({kind})"),
    }
}

/// The version that has the key: a removed key is only in the previous one.
fn known<'a>(root: &'a Root, previous: Option<&'a Root>, id: &KeyId) -> Option<&'a Root> {
    [Some(root), previous].into_iter().flatten().find(|root| root.keys.contains_key(id))
}
