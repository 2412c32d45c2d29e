//! `tufline mirror`: a plain static copy of a repository, from which any client updates without the
//! repository.
//!
//! It verifies everything as a client does before it writes. It writes files that never change
//! first, and replaces `timestamp.json` after them, by a rename: until then a client sees the old
//! state. A crash leaves only files that nothing refers to, and the next run continues.

mod chunks;
mod folder;
mod order;
mod prune;
mod state;
mod targets;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::bail;
use clap::Args;
use serde_json::json;

use crate::exit::{Exit, Result, misused};
use crate::repository::EndpointsArguments;
use crate::source::{Base, ClientSource, UrlArguments, list_targets, read_root};
use crate::terminal::{self, complain, say};
use crate::text::{self, Quoted};
use folder::MirrorFolder;
use state::MirrorState;

/// Writes a static copy of a repository: DIR/metadata and DIR/targets (and DIR/chunks), for any web
/// server and any TUF client.
///
/// Run it again to update the copy: it downloads only what is missing. See docs/mirror.md.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct Arguments {
    /// The folder of the copy; created if missing
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Copy any TUF repository with consistent snapshots, from its metadata, instead of a Tufline
    /// repository; needs --root
    #[arg(long, value_name = "URL|DIR", value_parser = Base::parser(), requires = "root", conflicts_with_all = ["endpoints", "stack", "admin"])]
    metadata: Option<Base>,
    #[command(flatten)]
    urls: UrlArguments,
    #[command(flatten)]
    repository: EndpointsArguments,
    /// Read all targets in DIR again, and replace damaged ones
    #[arg(long)]
    check: bool,
    /// Copy the chunks of targets too, if the repository has any: devices with an older target then
    /// fetch less
    #[arg(long)]
    chunks: bool,
    /// Remove what the repository no longer lists. Clients in the middle of an update may still ask
    /// for it
    #[arg(long)]
    prune: bool,
    /// Print a line of JSON
    #[arg(long)]
    json: bool,
}

pub async fn run(arguments: Arguments) -> Result {
    let Some(source) = find_source(&arguments).await? else {
        return Ok(misused("--targets and --root go with --metadata"));
    };
    let folder = Arc::new(MirrorFolder::open(&arguments.folder)?);
    let seen = source.observe(Some(&folder.metadata())).await?;
    if !seen.root.root().consistent_snapshot {
        bail!(
            "its root doesn't use consistent snapshots: its files change in place, so the copy \
             could mix two states"
        );
    }
    if let Some(name) = seen.files.keys().find(|name| name.contains('%')) {
        bail!(
            "its file {name} cannot be copied: web servers read a name with a '%' in different ways"
        );
    }
    let new = MirrorState::of(&seen)?;
    let old = folder.shown();
    if let Some(old) = &old {
        old.expect_not_newer(&new)?;
    }
    let listed = list_targets(&seen)?;
    if let Some(name) = listed.keys().find(|name| !is_path(name)) {
        bail!(
            "its target {name:?} cannot be copied: web servers read such a name in different ways, \
             or it leads out of the folder"
        );
    }
    let copied = targets::copy(&folder, &source, &seen, &listed, arguments.check).await?;
    let chunks = if arguments.chunks {
        chunks::copy(&folder, &source, &listed, arguments.check).await?
    } else {
        0
    };
    folder.show(&seen, old.as_ref(), &new)?;
    let removed = if arguments.prune { prune::prune(&folder, &new, &listed)? } else { 0 };
    // Warnings come only after success: a failure would have its own message.
    seen.tell();
    if let Some(oldest) = seen.roots.keys().next().filter(|version| **version > 1) {
        complain!(
            "tufline: the roots there begin with version {oldest}: devices that trust an older \
             root can't follow"
        );
    }
    let version = new.snapshot_version();
    if arguments.json {
        let counts = json!({
            "targets": listed.len(), "new": copied.files, "bytes": copied.bytes, "chunks": chunks, "removed": removed
        });
        terminal::json(&json!({"outcome": "mirrored", "version": version, "counts": counts}));
    } else {
        say!(
            "version {version} of the snapshot is in {}: {}, {} of them new ({}); {chunks} with new chunks; removed {}",
            arguments.folder.quoted(),
            text::count(listed.len() as u64, "target"),
            copied.files,
            text::bytes(copied.bytes),
            text::count(removed, "file")
        );
    }
    Ok(Exit::Done)
}

/// Whether a name is a path that stays below its folder, and that all web servers read the same
/// way.
fn is_path(name: &str) -> bool {
    let is_part = |part: &str| !matches!(part, "" | "." | "..");
    name.split('/').all(is_part)
        && !name.contains(['%', '\\', '?', '#'])
        && !name.contains(char::is_control)
}

/// The repository to copy; `None` if the arguments don't fit together.
async fn find_source(arguments: &Arguments) -> anyhow::Result<Option<ClientSource>> {
    let Arguments { metadata, urls, repository, .. } = arguments;
    match (metadata, &urls.root) {
        (Some(metadata), Some(root)) => Ok(Some(ClientSource::at(
            metadata.clone(),
            urls.targets_of(metadata),
            read_root(root)?,
        )?)),
        (None, None) if urls.targets.is_none() => {
            Ok(Some(ClientSource::of(&repository.open().await?)?))
        }
        _ => Ok(None),
    }
}
