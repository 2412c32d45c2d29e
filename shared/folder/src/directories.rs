//! Makes directory entries durable, many with one fsync.
//!
//! A new name survives a power cut only once its directory has been fsynced, which takes the better part of a millisecond
//! on a disk. Many small files arrive in few directories, so those who wait for the same directory share one fsync: it
//! must begin after the entry was made, nothing more.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crate::lock::lock;

/// The directories that are being written to.
#[derive(Debug, Default)]
pub struct Directories {
    /// Paths that may be seen already and aren't durable yet, with how many are making each so.
    pending: Mutex<HashMap<PathBuf, usize>>,
    groups: Mutex<HashMap<PathBuf, Arc<Group>>>,
}

/// Those who wait for the same directory. An fsync is a round: it makes durable what was asked for before it began.
#[derive(Debug, Default)]
struct Group {
    state: Mutex<GroupState>,
    /// The ends of the even rounds, and of the odd ones: so that nobody is woken for a round that isn't theirs.
    ended: [Condvar; 2],
}

#[derive(Debug, Default)]
struct GroupState {
    /// How many have asked; the number that the last one got.
    asked: u64,
    /// Up to which number the directory is durable.
    durable: u64,
    /// The last round that began.
    round: usize,
    /// Up to which number it makes the directory durable, if it is still going on.
    running: Option<u64>,
}

/// A path that may be seen and isn't durable yet. Readers wait for it, so it is made before the path is.
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
    /// Marks `path` as not yet durable, until the answer is dropped.
    pub fn enter(&self, path: &Path) -> PendingPath<'_> {
        *lock(&self.pending).entry(path.to_owned()).or_default() += 1;
        PendingPath { directories: self, path: path.to_owned() }
    }

    /// Makes the entries of `directory` durable that exist now: returns after an fsync that began after the call.
    pub fn sync(&self, directory: &Path) -> io::Result<()> {
        let group = Arc::clone(lock(&self.groups).entry(directory.to_owned()).or_default());
        let result = group.sync(directory);
        let mut groups = lock(&self.groups);
        // The map and `group` itself: nobody else waits.
        if Arc::strong_count(&group) == 2 {
            groups.remove(directory);
        }
        result
    }

    /// Makes durable what leads to `path`, if somebody has just made it and not come round to that: whoever acts on what
    /// they read must find it again after a power cut.
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

    /// Makes `folder` and those above it, where missing; adds to `made` what is to be synced before they count as durable.
    pub fn make<'a>(&'a self, folder: &Path, made: &mut Vec<PendingPath<'a>>) -> io::Result<()> {
        if folder.is_dir() {
            // Another has just made it: who puts something in it waits for that too.
            made.extend(folder.ancestors().filter(|path| self.is_pending(path)).map(|path| self.enter(path)));
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
        made.iter().filter_map(|folder| folder.path.parent()).try_for_each(|parent| self.sync(parent))
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
            // Of those who came meanwhile one begins the next round, for all of them.
            self.ended(round + 1).notify_one();
            // The others try for themselves: each must hear of its own failure.
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
    fn everyone_is_synced_and_nothing_is_left() {
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
    fn a_failure_is_everyones() {
        let directories = Directories::default();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| assert!(directories.sync(Path::new("/nonexistent/folder")).is_err()));
            }
        });
        assert!(lock(&directories.groups).is_empty());
    }

    #[test]
    fn folders_are_made_with_those_above() {
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
