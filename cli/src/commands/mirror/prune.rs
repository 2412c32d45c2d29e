//! Removes older versions from a mirror.

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

/// Removes older versions of roles, and targets that are no longer listed; returns how many files
/// it removed. It never removes roots, nor files that a mirror doesn't write.
pub fn prune(
    folder: &MirrorFolder,
    shown: &MirrorState,
    listed: &BTreeMap<String, ListedTarget>,
) -> anyhow::Result<u64> {
    let (metadata, targets) = (folder.metadata(), [folder.targets(), folder.chunks()]);
    let mut keep: BTreeSet<PathBuf> = shown.files().map(|file| metadata.join(file)).collect();
    let folders = targets.iter().filter(|folder| folder.is_dir());
    for folder in folders.clone() {
        keep.extend(listed.iter().flat_map(|(name, target)| places(folder, name, target)));
    }
    let mut removed = 0;
    for below in [&metadata].into_iter().chain(folders.clone()) {
        for path in walk(below)? {
            let is_ours = if *below == metadata { is_role(&path) } else { is_target(&path, below) };
            if !keep.contains(&path) && is_ours && files::remove(&path)? {
                removed += 1;
            }
        }
    }
    folders.into_iter().try_for_each(|folder| remove_empty(folder))?;
    Ok(removed)
}

fn text(path: &Path) -> String {
    path.to_str().map(str::to_owned).unwrap_or_default()
}

fn file_name(path: &Path) -> String {
    path.file_name().map(Path::new).map(text).unwrap_or_default()
}

/// Whether a file of metadata is a version of a role other than root.
fn is_role(path: &Path) -> bool {
    let file = file_name(path);
    let role = file.strip_suffix(".json").and_then(|name| name.split_once('.'));
    role.is_some_and(|(version, role)| version.parse::<u64>().is_ok() && role != "root")
}

/// Whether a file below `folder` has a target's name.
fn is_target(path: &Path, folder: &Path) -> bool {
    let (file, whole) = (file_name(path), path.strip_prefix(folder).map(text).unwrap_or_default());
    [file, whole]
        .iter()
        .any(|name| name.split_once('.').is_some_and(|(digest, _)| is_digest(digest)))
}

/// Whether a text is a SHA-256 or a SHA-512 in hex.
fn is_digest(text: &str) -> bool {
    text.parse::<Sha256>().is_ok()
        || (text.len() == 128 && text.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn walk(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in
        std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.quoted()))?
    {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.extend(walk(&entry.path())?);
        } else {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Removes the empty folders below `folder`.
fn remove_empty(folder: &Path) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_empty(&entry.path())?;
            match std::fs::remove_dir(entry.path()) {
                Err(error) if error.kind() != io::ErrorKind::DirectoryNotEmpty => {
                    return Err(error.into());
                }
                _ => {}
            }
        }
    }
    Ok(())
}
