//! The targets of a mirror: every one under each name that some client asks for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use futures::{StreamExt, TryStreamExt, stream};
use tokio::task::spawn_blocking;

use super::folder::MirrorFolder;
use crate::files;
use crate::source::{ClientSource, ListedTarget, VerifiedRepository, consistent_paths};

/// So many are downloaded at once.
const AT_ONCE: usize = 16;

/// What was copied.
#[derive(Debug, Default)]
pub struct Copied {
    /// How many targets were not there.
    pub files: u64,
    /// How many bytes were downloaded.
    pub bytes: u64,
}

/// Where a target is, below the folder of targets.
pub fn places(folder: &Path, name: &str, target: &ListedTarget) -> Vec<PathBuf> {
    consistent_paths(name, target).into_iter().map(|path| folder.join(path)).collect()
}

/// Copies the targets that are missing. `check` reads those that are there.
pub async fn copy(
    folder: &Arc<MirrorFolder>,
    source: &ClientSource,
    seen: &VerifiedRepository,
    listed: &BTreeMap<String, ListedTarget>,
    check: bool,
) -> anyhow::Result<Copied> {
    let downloads = listed.iter().map(|(name, target)| one(folder, source, seen, name, target, check));
    stream::iter(downloads.collect::<Vec<_>>())
        .buffer_unordered(AT_ONCE)
        .try_fold(Copied::default(), |mut copied, bytes| async move {
            copied.files += u64::from(bytes.is_some());
            copied.bytes += bytes.unwrap_or(0);
            Ok(copied)
        })
        .await
}

/// Answers how many bytes were downloaded, if the target wasn't there.
async fn one(
    folder: &Arc<MirrorFolder>,
    source: &ClientSource,
    seen: &VerifiedRepository,
    name: &str,
    target: &ListedTarget,
    check: bool,
) -> anyhow::Result<Option<u64>> {
    let places = places(&folder.targets(), name, target);
    let (sound, missing): (Vec<_>, Vec<_>) = places.into_iter().partition(|path| is_there(path, target, check));
    let Some((first, others)) = missing.split_first() else { return Ok(None) };
    if let Some(sound) = sound.first() {
        missing.iter().try_for_each(|path| folder.link(sound, path))?;
        return Ok(None);
    }
    let mut file = folder.new_file().context("cannot write to the copy")?;
    source.download(seen, name, target, &mut file).await?;
    // Others go on while the disk is waited for.
    let (folder, first, others) = (folder.clone(), first.clone(), others.to_vec());
    spawn_blocking(move || {
        MirrorFolder::put(file, &first)?;
        others.iter().try_for_each(|path| folder.link(&first, path))
    })
    .await??;
    Ok(Some(target.length))
}

/// Whether the file can be what is listed. Files get their names when they are whole, so that the length alone tells, unless
/// somebody damaged them; one that has no SHA-256 to check is downloaded again.
fn is_there(path: &Path, target: &ListedTarget, check: bool) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.len() == target.length)
        && (!check || files::sha256(path).is_ok_and(|found| target.sha256 == Some(found)))
}
