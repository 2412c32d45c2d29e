//! Uploads to a folder: it writes a file under a hidden name and then renames it, so that the
//! upload appears at once and whole.

use std::io::{Read, Write};
use std::path::Path;

use anyhow::Context;
use indicatif::ProgressBar;
use tufline_folder::given;
use tufline_tuf::{Hasher, Sha256};

use super::plan::PlannedUpload;
use crate::files;
use crate::text::Quoted;

/// The size of the copy buffer, in bytes.
const AT_ONCE: usize = 256 * 1024;

/// Puts a file into the folder `uploads`; returns its digest. Blocks.
///
/// It writes custom metadata first, since a file must not be published without it. An upload
/// without custom metadata removes that of an earlier upload of the same name.
pub fn put_in_folder(
    planned: &PlannedUpload,
    uploads: &Path,
    custom: Option<&str>,
    bar: &ProgressBar,
) -> anyhow::Result<Sha256> {
    let place = uploads.join(planned.name.as_str());
    let folder = place.parent().unwrap_or(uploads);
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.quoted()))?;
    let (copy, sha256) = copy(&planned.file, &place, bar)
        .with_context(|| format!("cannot copy {} to {}", planned.file.quoted(), place.quoted()))?;
    let side = files::side_file(&place);
    match custom {
        Some(custom) => files::write(&side, custom.as_bytes())?,
        None => _ = files::remove(&side)?,
    }
    files::put(copy, &place).with_context(|| format!("cannot write {}", place.quoted()))?;
    Ok(sha256)
}

fn copy(
    from: &Path,
    place: &Path,
    bar: &ProgressBar,
) -> std::io::Result<(tempfile::NamedTempFile, Sha256)> {
    let mut from = given::open(from)?;
    let mut to = files::beside(place)?;
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; AT_ONCE];
    loop {
        let count = from.read(&mut buffer)?;
        let Some(piece) = buffer.get(..count).filter(|piece| !piece.is_empty()) else { break };
        hasher.update(piece);
        to.write_all(piece)?;
        bar.inc(count as u64);
    }
    Ok((to, hasher.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_arrives_whole_with_its_custom_metadata() {
        let folder = tempfile::tempdir().unwrap();
        let (file, uploads) = (folder.path().join("f"), folder.path().join("uploads"));
        std::fs::write(&file, "bytes").unwrap();
        let planned = PlannedUpload { file, name: "a/b/c.bin".parse().unwrap(), length: 5 };
        let put =
            |custom| put_in_folder(&planned, &uploads, custom, &ProgressBar::hidden()).unwrap();
        assert_eq!(put(Some("{\"v\":1}")), Sha256::of(b"bytes"));
        let read = |name: &str| std::fs::read_to_string(uploads.join("a/b").join(name)).ok();
        assert_eq!(read("c.bin").as_deref(), Some("bytes"));
        assert_eq!(read("c.bin.tuf.json").as_deref(), Some("{\"v\":1}"));
        put(None);
        assert_eq!(read("c.bin.tuf.json"), None);
        assert_eq!(
            std::fs::read_dir(uploads.join("a/b")).unwrap().count(),
            1,
            "nothing else is left"
        );
    }
}
