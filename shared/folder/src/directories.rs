//! Makes directory entries durable, many with one fsync.
//!
//! A new name survives a power cut only once its directory has been fsynced, which takes the better
//! part of a millisecond on a disk. Many small files arrive in few directories, so the threads that
//! wait for the same directory share one fsync. The only condition is that the fsync begins after
//! the entry was made.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crate::lock::lock;

/// The directories that are being written to.
#[derive(Debug, Default)]
pub struct Directories {
    /// Paths that may be visible already but aren't durable yet, with the number of threads that
    /// are making each durable.
    pending: Mutex<HashMap<PathBuf, usize>>,
    groups: Mutex<HashMap<PathBuf, Arc<Group>>>,
}

/// The threads that wait for the same directory. Each fsync is a round: it covers the requests made
/// before it began.
#[derive(Debug, Default)]
struct Group {
    state: Mutex<GroupState>,
    /// Signals the end of an even round, and of an odd one, so that a thread is woken only for its
    /// own round.
    ended: [Condvar; 2],
}

#[derive(Debug, Default)]
struct GroupState {
    /// The number of requests so far, which is the number of the last request.
    asked: u64,
    /// The last request for which the directory is durable.
    durable: u64,
    /// The last round that began.
    round: usize,
    /// The last request that the running round covers, if one is running.
    running: Option<u64>,
}

/// A path that may be visible but isn't durable yet. Readers wait for it, so it must exist before
/// the path does.
#[derive(Debug)]
pub struct PendingPath<'a> {
    directories: &'a Directories,
    path: PathBuf,
}

impl Drop for PendingPath<'_> {
    fn drop(&mut self) {
        let mut pending = lock(&self.directories.pending);
        if let Some(count) = pending.get_mut(&self.path) {
            *count -= 1;
            if *count == 0 {
                pending.remove(&self.path);
            }
        }
    }
}

impl Directories {
    /// Marks `path` as not yet durable, until the returned value is dropped.
    pub fn enter(&self, path: &Path) -> PendingPath<'_> {
        *lock(&self.pending).entry(path.to_owned()).or_default() += 1;
        PendingPath { directories: self, path: path.to_owned() }
    }

    /// Makes the present entries of `directory` durable: returns after an fsync that began after
    /// the call.
    pub fn sync(&self, directory: &Path) -> io::Result<()> {
        let group = Arc::clone(lock(&self.groups).entry(directory.to_owned()).or_default());
        let result = group.sync(directory);
        let mut groups = lock(&self.groups);
        // Only the map and `group` itself hold it: no other thread waits.
        if Arc::strong_count(&group) == 2 {
            groups.remove(directory);
        }
        result
    }

    /// Makes `path` and its folders durable if another thread has made them but has not done that
    /// yet. A caller that acts on what it read must find it again after a power cut.
    pub fn sync_entry(&self, path: &Path) -> io::Result<()> {
        for ancestor in path.ancestors().filter(|path| self.is_pending(path)) {
            if let Some(directory) = ancestor.parent() {
                self.sync(directory)?;
            }
        }
        Ok(())
    }

    fn is_pending(&self, path: &Path) -> bool {
        lock(&self.pending).contains_key(path)
    }

    /// Makes `folder` and the folders above it if they are missing; adds to `made` what must be
    /// synced before they are durable.
    pub fn make<'a>(&'a self, folder: &Path, made: &mut Vec<PendingPath<'a>>) -> io::Result<()> {
        if folder.is_dir() {
            // Another thread has just made it, and may not have synced it: the caller must sync it
            // too.
            made.extend(
                folder
                    .ancestors()
                    .filter(|path| self.is_pending(path))
                    .map(|path| self.enter(path)),
            );
            return Ok(());
        }
        if let Some(parent) = folder.parent() {
            self.make(parent, made)?;
        }
        made.push(self.enter(folder));
        match std::fs::create_dir(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    }

    /// Makes the entries of `made` durable.
    pub fn sync_made(&self, made: &[PendingPath<'_>]) -> io::Result<()> {
        made.iter()
            .filter_map(|folder| folder.path.parent())
            .try_for_each(|parent| self.sync(parent))
    }
}

impl Group {
    fn sync(&self, directory: &Path) -> io::Result<()> {
        let mut state = lock(&self.state);
        state.asked += 1;
        let mine = state.asked;
        while state.durable < mine {
            if let Some(covered) = state.running {
                let round = if mine <= covered { state.round } else { state.round + 1 };
                state = self.ended(round).wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let covered = state.asked;
            state.running = Some(covered);
            state.round += 1;
            let round = state.round;
            drop(state);
            let result = File::open(directory).and_then(|file| file.sync_all());
            state = lock(&self.state);
            state.running = None;
            if result.is_ok() {
                state.durable = state.durable.max(covered);
            }
            self.ended(round).notify_all();
            // One of the threads that came meanwhile begins the next round, for all of them.
            self.ended(round + 1).notify_one();
            // After a failure the other threads try for themselves: each must get its own error.
            result?;
        }
        Ok(())
    }

    fn ended(&self, round: usize) -> &Condvar {
        let [even, odd] = &self.ended;
        if round.is_multiple_of(2) { even } else { odd }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_thread_is_synced_and_nothing_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let directories = Directories::default();
        std::thread::scope(|scope| {
            for number in 0..16 {
                let (directories, folder) = (&directories, folder.path());
                scope.spawn(move || {
                    for round in 0..20 {
                        let path = folder.join(format!("{number}-{round}"));
                        let _pending = directories.enter(&path);
                        File::create(&path).unwrap();
                        directories.sync(folder).unwrap();
                        directories.sync_entry(&path).unwrap();
                    }
                });
            }
        });
        assert!(lock(&directories.pending).is_empty());
        assert!(lock(&directories.groups).is_empty());
    }

    #[test]
    fn every_thread_gets_the_failure() {
        let directories = Directories::default();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope
                    .spawn(|| assert!(directories.sync(Path::new("/nonexistent/folder")).is_err()));
            }
        });
        assert!(lock(&directories.groups).is_empty());
    }

    #[test]
    fn folders_are_made_with_their_parents() {
        let folder = tempfile::tempdir().unwrap();
        let directories = Directories::default();
        let deep = folder.path().join("a/b/c");
        let mut made = Vec::new();
        directories.make(&deep, &mut made).unwrap();
        assert_eq!(made.len(), 3);
        let mut seen_by_another = Vec::new();
        directories.make(&deep, &mut seen_by_another).unwrap();
        assert_eq!(seen_by_another.len(), 3, "not durable yet, so the second waits too");
        directories.sync_made(&made).unwrap();
        drop((made, seen_by_another));
        let mut nothing = Vec::new();
        directories.make(&deep, &mut nothing).unwrap();
        assert!(nothing.is_empty());
    }
}
