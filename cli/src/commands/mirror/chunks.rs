//! The chunks of a mirror's targets, in a folder beside the targets, under the same names.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use futures::{StreamExt, TryStreamExt, stream};
use tempfile::NamedTempFile;
use tokio::task::spawn_blocking;
use tufline_chunks::{LEAST_LIST, List, is_cut, list_bytes};

use super::folder::MirrorFolder;
use super::targets::places;
use crate::source::{ClientSource, ListedTarget};
use crate::terminal::complain;

/// How many files of chunks are downloaded at once.
const AT_ONCE: usize = 16;

/// Copies missing chunks, of targets that have any; returns how many files it copied. With `check`
/// it reads the lists of the existing ones. It warns of chunks whose list isn't the target's, and
/// doesn't copy them: without chunks a device fetches the whole target.
pub async fn copy(
    folder: &Arc<MirrorFolder>,
    source: &ClientSource,
    listed: &BTreeMap<String, ListedTarget>,
    check: bool,
) -> anyhow::Result<u64> {
    let cut = listed.iter().filter(|(_, target)| is_cut(target.length));
    let downloads = cut.map(|(name, target)| one(folder, source, name, target, check));
    stream::iter(downloads.collect::<Vec<_>>())
        .buffer_unordered(AT_ONCE)
        .try_fold(0, |count, is_new| async move { Ok(count + u64::from(is_new)) })
        .await
}

/// Copies one target's chunks if they are missing; returns whether it did.
async fn one(
    folder: &Arc<MirrorFolder>,
    source: &ClientSource,
    name: &str,
    target: &ListedTarget,
    check: bool,
) -> anyhow::Result<bool> {
    let is_there = |path: &Path| {
        if check {
            File::open(path).is_ok_and(|file| is_of(file, target).is_ok_and(|is_of| is_of))
        } else {
            path.is_file()
        }
    };
    let places = places(&folder.chunks(), name, target);
    let (sound, missing): (Vec<_>, Vec<_>) = places.into_iter().partition(|path| is_there(path));
    let Some((first, others)) = missing.split_first() else { return Ok(false) };
    if let Some(sound) = sound.first() {
        missing.iter().try_for_each(|path| folder.link(sound, path))?;
        return Ok(false);
    }
    let mut file = folder.new_file().context("cannot write to the copy")?;
    if !source.download_chunks(name, target, &mut file).await? {
        return Ok(false);
    }
    let (folder, first, others) = (folder.clone(), first.clone(), others.to_vec());
    let (name, target) = (name.to_owned(), target.clone());
    spawn_blocking(move || put(&folder, file, &target, &name, &first, &others)).await?
}

fn put(
    folder: &MirrorFolder,
    file: NamedTempFile,
    target: &ListedTarget,
    name: &str,
    first: &Path,
    others: &[std::path::PathBuf],
) -> anyhow::Result<bool> {
    if !is_of(file.as_file().try_clone()?, target)? {
        complain!(
            "tufline: the chunks of {name} there belong to another target: they are not copied"
        );
        return Ok(false);
    }
    MirrorFolder::put(file, first)?;
    others.iter().try_for_each(|path| folder.link(first, path))?;
    Ok(true)
}

/// Whether a file begins with the list of a target's chunks, and has as many bytes as the list
/// says. Devices verify the chunks themselves.
fn is_of(mut file: File, target: &ListedTarget) -> std::io::Result<bool> {
    let whole = file.metadata()?.len();
    let mut list = vec![0; LEAST_LIST];
    file.rewind()?;
    if whole < LEAST_LIST as u64 {
        return Ok(false);
    }
    file.read_exact(&mut list)?;
    let (Ok(length), Some(sha256)) = (list_bytes(&list), target.sha256) else { return Ok(false) };
    if whole < length as u64 {
        return Ok(false);
    }
    list.resize(length, 0);
    file.read_exact(list.get_mut(LEAST_LIST..).unwrap_or_default())?;
    let Ok(list) = List::read(list, sha256.as_bytes(), target.length) else { return Ok(false) };
    let packed: u64 = list.entries().map(|entry| u64::from(entry.packed)).sum();
    Ok(length as u64 + packed == whole)
}
