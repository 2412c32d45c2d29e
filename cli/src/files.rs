//! Files that other processes may read at any time: each appears whole, by a rename.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use tempfile::{Builder, NamedTempFile};
use tufline_folder::{TEMPORARY_PREFIX, given};
use tufline_tuf::{Hasher, SIDE_FILE_SUFFIX, Sha256};

use crate::text::Quoted;

/// A new, locked file beside `path`, with a name that begins with a dot. It is removed on drop
/// unless [`put`] renames it. If a killed process leaves one among the uploads, `tufline local`
/// removes it, since nobody holds its lock any more.
pub fn beside(path: &Path) -> io::Result<NamedTempFile> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    // Other users may have to read it, so the process's umask decides.
    let permissions = std::fs::Permissions::from_mode(0o666);
    loop {
        let file = Builder::new()
            .prefix(TEMPORARY_PREFIX)
            .permissions(permissions.clone())
            .tempfile_in(folder)?;
        // A file system without locks: nobody else can lock the file either, so nobody removes it.
        let locked = file.as_file().lock();
        // Before it was locked, `tufline local` may have taken it for a leftover and removed it:
        // then make another.
        if locked.is_err() || file.as_file().metadata()?.nlink() > 0 {
            return Ok(file);
        }
    }
}

/// Renames `file` to `path`, replacing what is there. Once this has returned, a power cut cannot
/// undo it.
pub fn put(file: NamedTempFile, path: &Path) -> io::Result<()> {
    // The folder of a bare name is empty, and an empty path opens nothing.
    let path = std::path::absolute(path)?;
    file.as_file().sync_all()?;
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    file.persist(&path)?;
    File::open(folder)?.sync_all()
}

/// Writes a whole file at once: a reader sees either the old bytes or the new ones.
pub fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let written = beside(path).and_then(|mut file| {
        file.write_all(bytes)?;
        put(file, path)
    });
    written.with_context(|| format!("cannot write {}", path.quoted()))
}

/// The SHA-256 of a file's bytes.
pub fn sha256(path: &Path) -> io::Result<Sha256> {
    let mut hasher = Hasher::new();
    io::copy(&mut given::open(path)?, &mut hasher)?;
    Ok(hasher.finish())
}

/// The path of the file beside an upload that holds its custom metadata.
pub fn side_file(upload: &Path) -> PathBuf {
    let mut side = upload.as_os_str().to_owned();
    side.push(SIDE_FILE_SUFFIX);
    side.into()
}

/// Removes a file; returns whether it was there.
pub fn remove(path: &Path) -> anyhow::Result<bool> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("cannot remove {}", path.quoted())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_at_once_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        write(&path, b"old").unwrap();
        write(&path, b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        drop(beside(&path).unwrap());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(remove(&path).unwrap() && !remove(&path).unwrap());
        assert!(write(&folder.path().join("missing/a"), b"").is_err());
    }
}
