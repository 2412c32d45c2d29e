//! Taking away what a mirror keeps of older versions.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use tufline_tuf::Sha256;

use super::folder::MirrorFolder;
use super::state::MirrorState;
use super::targets::places;
use crate::files;
use crate::source::ListedTarget;
use crate::text::Quoted;

/// Removes older versions of roles and targets that are not listed any more; answers how many files. Roots stay for good, and what
/// isn't a mirror's stays too.
pub fn prune(
    folder: &MirrorFolder,
    shown: &MirrorState,
    listed: &BTreeMap<String, ListedTarget>,
) -> anyhow::Result<u64> {
    let (metadata, targets) = (folder.metadata(), folder.targets());
    let mut keep: BTreeSet<PathBuf> = shown.files().map(|file| metadata.join(file)).collect();
    keep.extend(listed.iter().flat_map(|(name, target)| places(&targets, name, target)));
    let mut removed = 0;
    for path in walk(&metadata)?.into_iter().chain(walk(&targets)?) {
        if !keep.contains(&path) && is_ours(&path, &metadata, &targets) && files::remove(&path)? {
            removed += 1;
        }
    }
    remove_empty(&targets)?;
    Ok(removed)
}

fn is_ours(path: &Path, metadata: &Path, targets: &Path) -> bool {
    let text = |path: &Path| path.to_str().map(str::to_owned);
    let file = path.file_name().map(Path::new).and_then(text).unwrap_or_default();
    if path.starts_with(metadata) {
        let role = file.strip_suffix(".json").and_then(|name| name.split_once('.'));
        return role.is_some_and(|(version, role)| version.parse::<u64>().is_ok() && role != "root");
    }
    let whole = path.strip_prefix(targets).ok().and_then(text).unwrap_or_default();
    [file, whole].iter().any(|name| name.split_once('.').is_some_and(|(digest, _)| is_digest(digest)))
}

/// A SHA-256 or a SHA-512.
fn is_digest(text: &str) -> bool {
    text.parse::<Sha256>().is_ok() || (text.len() == 128 && text.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn walk(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.quoted()))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.extend(walk(&entry.path())?);
        } else {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Removes the folders below that nothing is left in.
fn remove_empty(folder: &Path) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_empty(&entry.path())?;
            match std::fs::remove_dir(entry.path()) {
                Err(error) if error.kind() != io::ErrorKind::DirectoryNotEmpty => return Err(error.into()),
                _ => {}
            }
        }
    }
    Ok(())
}
