//! The targets of a mirror: each under every name by which some client asks for it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use futures::{StreamExt, TryStreamExt, stream};
use tokio::task::spawn_blocking;

use super::folder::MirrorFolder;
use crate::files;
use crate::source::{ClientSource, ListedTarget, VerifiedRepository, consistent_paths};

/// How many targets are downloaded at once.
const AT_ONCE: usize = 16;

/// What a run copied.
#[derive(Debug, Default)]
pub struct Copied {
    /// The number of targets that were missing.
    pub files: u64,
    /// The number of bytes that were downloaded.
    pub bytes: u64,
}

/// The paths of a target below the folder of targets.
pub fn places(folder: &Path, name: &str, target: &ListedTarget) -> Vec<PathBuf> {
    consistent_paths(name, target).into_iter().map(|path| folder.join(path)).collect()
}

/// Copies the missing targets. With `check` it reads the existing ones, and replaces those that are
/// damaged.
pub async fn copy(
    folder: &Arc<MirrorFolder>,
    source: &ClientSource,
    seen: &VerifiedRepository,
    listed: &BTreeMap<String, ListedTarget>,
    check: bool,
) -> anyhow::Result<Copied> {
    let downloads =
        listed.iter().map(|(name, target)| one(folder, source, seen, name, target, check));
    stream::iter(downloads.collect::<Vec<_>>())
        .buffer_unordered(AT_ONCE)
        .try_fold(Copied::default(), |mut copied, bytes| async move {
            copied.files += u64::from(bytes.is_some());
            copied.bytes += bytes.unwrap_or(0);
            Ok(copied)
        })
        .await
}

/// Copies one target if it is missing; returns how many bytes it downloaded.
async fn one(
    folder: &Arc<MirrorFolder>,
    source: &ClientSource,
    seen: &VerifiedRepository,
    name: &str,
    target: &ListedTarget,
    check: bool,
) -> anyhow::Result<Option<u64>> {
    let places = places(&folder.targets(), name, target);
    let (sound, missing): (Vec<_>, Vec<_>) =
        places.into_iter().partition(|path| is_there(path, target, check));
    let Some((first, others)) = missing.split_first() else { return Ok(None) };
    if let Some(sound) = sound.first() {
        missing.iter().try_for_each(|path| folder.link(sound, path))?;
        return Ok(None);
    }
    let mut file = folder.new_file().context("cannot write to the copy")?;
    source.download(seen, name, target, &mut file).await?;
    // Waiting for the disk must not hold up the other downloads.
    let (folder, first, others) = (folder.clone(), first.clone(), others.to_vec());
    spawn_blocking(move || {
        MirrorFolder::put(file, &first)?;
        others.iter().try_for_each(|path| folder.link(&first, path))
    })
    .await??;
    Ok(Some(target.length))
}

/// Whether the file is the listed target. A file gets its name only when it is whole, so the right
/// length is enough unless somebody damaged it. With `check`, its SHA-256 must match too; a target
/// that lists none is downloaded again.
fn is_there(path: &Path, target: &ListedTarget, check: bool) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.len() == target.length)
        && (!check || files::sha256(path).is_ok_and(|found| target.sha256 == Some(found)))
}
