//! Writes files so that readers see them whole or not at all.
//!
//! It writes every file under a temporary name, makes it durable, and only then renames it. Then it
//! makes the directory durable, and only then the call returns. A crash before the rename leaves a
//! temporary file, which the next start removes. A crash after it leaves a complete file whose
//! caller never got the result, which is the same as a lost reply.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use tufline_store::Written;

use crate::directories::Directories;
use crate::given;

/// Writes files, through a folder for temporary ones on the same file system.
#[derive(Debug)]
pub struct Disk {
    temporary: PathBuf,
    counter: AtomicU64,
    directories: Directories,
}

/// A file that is being written. It is removed on drop unless it was renamed.
#[derive(Debug)]
pub struct Temporary {
    /// The open file, for writing.
    pub file: File,
    path: PathBuf,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // It may have been renamed. If it cannot be removed now, the next start removes it.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Temporary {
    /// Renames the file to `to`, replacing what is there. This makes neither its bytes nor its name
    /// durable.
    pub fn put_aside(&self, to: &Path) -> io::Result<()> {
        std::fs::rename(&self.path, to)
    }
}

impl Disk {
    /// A disk whose temporary files lie in `temporary`, which must exist.
    pub fn new(temporary: PathBuf) -> Self {
        Self { temporary, counter: AtomicU64::new(0), directories: Directories::default() }
    }

    /// A new temporary file.
    pub fn temporary(&self) -> io::Result<Temporary> {
        loop {
            // Unique in this process. If another process, or a crashed one, has used the number, it
            // takes the next.
            let number = self.counter.fetch_add(1, Ordering::Relaxed);
            let path = self.temporary.join(format!("{}-{number}", std::process::id()));
            match OpenOptions::new().read(true).write(true).create_new(true).open(&path) {
                Ok(file) => return Ok(Temporary { file, path }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// A durable temporary file that holds `bytes`.
    fn written(&self, bytes: &[u8]) -> io::Result<Temporary> {
        let mut temporary = self.temporary()?;
        temporary.file.write_all(bytes)?;
        // fdatasync also makes the length durable; times and owner may be lost.
        temporary.file.sync_data()?;
        Ok(temporary)
    }

    /// Stores `bytes` durably at `path`, unless the file exists.
    pub fn create(&self, path: &Path, bytes: &[u8]) -> io::Result<Written> {
        if path.try_exists()? {
            self.directories.sync_entry(path)?;
            return Ok(Written::Lost);
        }
        let temporary = self.written(bytes)?;
        self.name(&temporary.path, path)
    }

    /// Stores `bytes` at `path`, unless the file exists. Other processes see it whole or not at
    /// all, but a power cut may remove it or leave only its beginning. For files that are made
    /// again if they are missing.
    pub fn create_lightly(&self, path: &Path, bytes: &[u8]) -> io::Result<Written> {
        if path.try_exists()? {
            return Ok(Written::Lost);
        }
        let mut temporary = self.temporary()?;
        temporary.file.write_all(bytes)?;
        match rename_new(&temporary.path, path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                std::fs::create_dir_all(parent(path)?)?;
                rename_new(&temporary.path, path)
            }
            result => result,
        }
    }

    /// Makes the file `from` durable and renames it to `to`, unless that exists.
    pub fn place(&self, from: &Path, to: &Path) -> io::Result<Written> {
        File::open(from)?.sync_data()?;
        self.name(from, to)
    }

    /// Renames the durable file `from` to `to`, unless that exists, and makes the new name durable.
    fn name(&self, from: &Path, to: &Path) -> io::Result<Written> {
        let mut made = Vec::new();
        let parent = parent(to)?;
        self.directories.make(parent, &mut made)?;
        let _pending = self.directories.enter(to);
        let written = rename_new(from, to)?;
        // Also after a lost race: the loser acts on the winner's file, so that must be durable too.
        self.directories.sync(parent)?;
        self.directories.sync_made(&made)?;
        Ok(written)
    }

    /// Replaces the file at `path` by `bytes`, if `may` allows it for the file's present bytes.
    ///
    /// The caller must hold the lock that keeps other writers of `path` away.
    pub fn replace(
        &self,
        path: &Path,
        bytes: &[u8],
        may: impl FnOnce(&[u8]) -> bool,
    ) -> io::Result<Written> {
        let mut current = Vec::new();
        match given::open(path) {
            Ok(mut file) => file.read_to_end(&mut current)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Written::Lost),
            Err(error) => return Err(error),
        };
        if !may(&current) {
            self.directories.sync_entry(path)?;
            return Ok(Written::Lost);
        }
        let temporary = self.written(bytes)?;
        let _pending = self.directories.enter(path);
        // Readers see either the old file or the new one, whole.
        std::fs::rename(&temporary.path, path)?;
        self.directories.sync(parent(path)?)?;
        Ok(Written::Done)
    }

    /// Waits until `path` and its folders are durable, if another thread is just making them so.
    pub fn sync_entry(&self, path: &Path) -> io::Result<()> {
        self.directories.sync_entry(path)
    }

    /// Makes `folder` and the folders above it, durably.
    pub fn make(&self, folder: &Path) -> io::Result<()> {
        let mut made = Vec::new();
        self.directories.make(folder, &mut made)?;
        self.directories.sync_made(&made)
    }
}

fn parent(path: &Path) -> io::Result<&Path> {
    path.parent().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))
}

/// Renames `from` to `to` unless `to` exists; then `from` stays.
fn rename_new(from: &Path, to: &Path) -> io::Result<Written> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(Written::Done),
        Err(Errno::EXIST) => Ok(Written::Lost),
        // File systems that don't know the flag have hard links, which never replace either.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => link_new(from, to),
        Err(error) => Err(error.into()),
    }
}

fn link_new(from: &Path, to: &Path) -> io::Result<Written> {
    match std::fs::hard_link(from, to) {
        // A crash here leaves two names for one file; the next start removes the temporary one.
        Ok(()) => std::fs::remove_file(from).map(|()| Written::Done),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Written::Lost),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk() -> (tempfile::TempDir, Disk) {
        let folder = tempfile::tempdir().unwrap();
        let temporary = folder.path().join("tmp");
        std::fs::create_dir(&temporary).unwrap();
        (folder, Disk::new(temporary))
    }

    fn temporaries(folder: &tempfile::TempDir) -> usize {
        std::fs::read_dir(folder.path().join("tmp")).unwrap().count()
    }

    #[test]
    fn a_file_is_created_once() {
        let (folder, disk) = disk();
        let path = folder.path().join("a/b/c.json");
        assert_eq!(disk.create(&path, b"first").unwrap(), Written::Done);
        assert_eq!(disk.create(&path, b"second").unwrap(), Written::Lost);
        assert_eq!(std::fs::read(&path).unwrap(), b"first");
        assert_eq!(temporaries(&folder), 0);
    }

    #[test]
    fn hard_links_do_the_same_on_systems_without_the_flag() {
        let (folder, disk) = disk();
        let path = folder.path().join("c.json");
        let first = disk.written(b"first").unwrap();
        assert_eq!(link_new(&first.path, &path).unwrap(), Written::Done);
        let second = disk.written(b"second").unwrap();
        assert_eq!(link_new(&second.path, &path).unwrap(), Written::Lost);
        drop((first, second));
        assert_eq!(std::fs::read(&path).unwrap(), b"first");
        assert_eq!(temporaries(&folder), 0);
    }

    #[test]
    fn a_crash_before_the_naming_leaves_nothing_to_be_seen() {
        let (folder, disk) = disk();
        let path = folder.path().join("a/c.json");
        // Stopped with half of the bytes written, and with all bytes durable.
        let mut half = disk.temporary().unwrap();
        half.file.write_all(b"fir").unwrap();
        std::mem::forget(half);
        std::mem::forget(disk.written(b"first").unwrap());
        assert!(!path.exists());
        // The next process happens to have the same process id.
        let next = Disk::new(folder.path().join("tmp"));
        assert_eq!(next.create(&path, b"second").unwrap(), Written::Done);
        assert_eq!(std::fs::read(&path).unwrap(), b"second");
    }

    #[test]
    fn a_failure_leaves_nothing() {
        let (folder, disk) = disk();
        std::fs::write(folder.path().join("file"), b"").unwrap();
        assert!(disk.create(&folder.path().join("file/below"), b"x").is_err());
        assert_eq!(temporaries(&folder), 0);
    }
}
