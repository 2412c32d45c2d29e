//! The folder of a mirror: it is locked while one run writes it, and each file appears whole.

use std::collections::BTreeMap;
use std::fs::{DirEntry, File, Metadata, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, anyhow, bail};
use tempfile::{Builder, NamedTempFile};
use tufline_folder::given;
use tufline_metadata::TrustedRoot;

use super::order::turning_point;
use super::state::MirrorState;
use crate::files;
use crate::source::VerifiedRepository;
use crate::text::Quoted;

/// How many files are written at once.
const WRITERS: usize = 16;

/// The folders that this run made, outermost first. If the run fails, those that are still empty
/// are removed.
#[derive(Default)]
struct Made {
    folders: Vec<PathBuf>,
    is_kept: AtomicBool,
}

impl Made {
    fn make(&mut self, path: &Path) -> io::Result<()> {
        let missing: Vec<&Path> = path.ancestors().take_while(|folder| !folder.exists()).collect();
        self.folders.extend(missing.into_iter().rev().map(Path::to_owned));
        std::fs::create_dir_all(path)
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if !self.is_kept.load(Ordering::Relaxed) {
            // `remove_dir` leaves a folder that is not empty.
            self.folders.iter().rev().for_each(|folder| _ = std::fs::remove_dir(folder));
        }
    }
}

/// A folder that one `tufline mirror` writes at a time.
pub struct MirrorFolder {
    path: PathBuf,
    made: Made,
    /// The operating system's lock, which ends with the process.
    _lock: File,
}

impl MirrorFolder {
    /// Opens the folder, creates it if it is missing, and removes the unfinished files of a run
    /// that was killed.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let path = std::path::absolute(path)?;
        if path.join("format").exists() {
            bail!(
                "{} is the data folder of a Tufline repository: name another folder for the copy",
                path.quoted()
            );
        }
        let shown = path.quoted();
        let cannot = || format!("cannot make the copy in {shown}");
        let mut made = Made::default();
        made.make(&path).with_context(cannot)?;
        let lock = File::open(&path).with_context(cannot)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                bail!(
                    "another `tufline mirror` is writing to {}: run this again when it has ended",
                    path.quoted()
                )
            }
            Err(TryLockError::Error(error)) => return Err(error).with_context(cannot),
        }
        // Meanwhile a run that failed may have removed the folder that it had made.
        let inode = |found: io::Result<Metadata>| {
            found.map(|found| (found.dev(), found.ino())).with_context(cannot)
        };
        if inode(lock.metadata())? != inode(std::fs::metadata(&path))? {
            bail!("another `tufline mirror` has just removed {}: run this again", path.quoted());
        }
        let mut folder = Self { path, made, _lock: lock };
        for path in [folder.metadata(), folder.targets()] {
            folder.made.make(&path).with_context(cannot)?;
        }
        let unfinished = folder.unfinished();
        match std::fs::remove_dir_all(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(cannot);
            }
            _ => folder.made.make(&unfinished).with_context(cannot)?,
        }
        Ok(folder)
    }

    pub fn metadata(&self) -> PathBuf {
        self.path.join("metadata")
    }

    pub fn targets(&self) -> PathBuf {
        self.path.join("targets")
    }

    /// The folder of the targets' chunks, if any were copied.
    pub fn chunks(&self) -> PathBuf {
        self.path.join("chunks")
    }

    fn unfinished(&self) -> PathBuf {
        self.path.join(".unfinished")
    }

    /// A temporary file outside what clients see.
    pub fn new_file(&self) -> io::Result<NamedTempFile> {
        files::beside(&self.unfinished().join("file"))
    }

    /// Gives the file `from` a second name `to`, replacing what is there. It makes a copy if the
    /// file system has no hard links.
    pub fn link(&self, from: &Path, to: &Path) -> anyhow::Result<()> {
        let linked =
            Builder::new().make_in(self.unfinished(), |path| std::fs::hard_link(from, path));
        let file = match linked {
            Ok(link) => link.keep().map(|((), path)| path).map_err(|error| error.error),
            Err(_) => self.new_file().and_then(|mut file| {
                io::copy(&mut File::open(from)?, &mut file)?;
                file.as_file().sync_all()?;
                file.into_temp_path().keep().map_err(|error| error.error)
            }),
        };
        let renamed = file.and_then(|file| {
            to.parent().map_or(Ok(()), std::fs::create_dir_all)?;
            std::fs::rename(file, to)
        });
        renamed.with_context(|| format!("cannot write {}", to.quoted()))
    }

    /// Gives a temporary file its name, replacing what is there.
    pub fn put(file: NamedTempFile, path: &Path) -> anyhow::Result<()> {
        let put = path
            .parent()
            .map_or(Ok(()), std::fs::create_dir_all)
            .and_then(|()| files::put(file, path));
        put.with_context(|| format!("cannot write {}", path.quoted()))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let path = self.metadata().join(name);
        if given::read(&path).is_ok_and(|found| found == bytes) {
            return Ok(());
        }
        let mut file = self.new_file()?;
        file.write_all(bytes)?;
        Self::put(file, &path)
    }

    /// Writes many files in any order, several at once, since each waits for the disk.
    fn write_all(&self, files: &[(&String, &Vec<u8>)]) -> anyhow::Result<()> {
        let each = files.len().div_ceil(WRITERS).max(1);
        thread::scope(|scope| {
            let write = |part: &[(&String, &Vec<u8>)]| {
                part.iter().try_for_each(|(name, bytes)| self.write(name, bytes))
            };
            let writers: Vec<_> =
                files.chunks(each).map(|part| scope.spawn(move || write(part))).collect();
            writers
                .into_iter()
                .try_for_each(|writer| writer.join().map_err(|_| anyhow!("a writer ended"))?)
        })
    }

    /// What clients of the mirror see now; `None` before the first complete run.
    pub fn shown(&self) -> Option<MirrorState> {
        let version = |entry: io::Result<DirEntry>| -> Option<u64> {
            entry.ok()?.file_name().to_str()?.strip_suffix(".root.json")?.parse().ok()
        };
        let newest = std::fs::read_dir(self.metadata()).ok()?.filter_map(version).max()?;
        MirrorState::read(newest, &|name: &str| given::read(&self.metadata().join(name)))
    }

    /// Writes metadata: first the files that never change, then `timestamp.json`, which shows them.
    /// A crash before that leaves clients with what they saw. The roots are written in an order in
    /// which clients can verify at every moment, if there is such an order: see [`turning_point`].
    pub fn show(
        &self,
        seen: &VerifiedRepository,
        old: Option<&MirrorState>,
        new: &MirrorState,
    ) -> anyhow::Result<()> {
        self.made.is_kept.store(true, Ordering::Relaxed);
        let final_ones: Vec<_> =
            seen.files.iter().filter(|(name, _)| *name != "timestamp.json").collect();
        self.write_all(&final_ones)?;
        let mut roots = BTreeMap::new();
        for (version, bytes) in &seen.roots {
            roots.insert(*version, TrustedRoot::begin(bytes)?);
        }
        let turn = turning_point(&roots, old, new);
        let (before, after): (Vec<_>, Vec<_>) =
            seen.roots.iter().partition(|(version, _)| **version <= turn);
        for (version, bytes) in before {
            self.write(&format!("{version}.root.json"), bytes)?;
        }
        // From this write on clients see the new state.
        self.write("timestamp.json", new.timestamp_bytes())?;
        for (version, bytes) in after {
            self.write(&format!("{version}.root.json"), bytes)?;
        }
        Ok(())
    }
}
