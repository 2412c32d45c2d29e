//! Watches the uploads folder and reports which names to look at.
//!
//! The operating system's notices are only hints: some get lost in new folders, and when too many
//! come at once. So the watcher also looks through the whole folder every few seconds, and reports
//! the difference between what is there and what it reported before.
//!
//! *Invariant*: a momentary state is not an intent. A file counts once it is complete: renamed into
//! place, or closed by its writer and then unchanged for a moment. If nothing is known about its
//! writer, it counts once no process has it open, or once it has been unchanged for some seconds.
//! If only one of a file and its side file changes, it waits for the other. Until a file counts,
//! nobody gets its bytes ([`FolderUploads`]).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{Config, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};
use tufline_store::{Hint, Result, StoreError};
use tufline_tuf::SIDE_FILE_SUFFIX;

use crate::data::failed;
use crate::lock::lock;
use crate::open_folder::FileState;
use crate::threads::blocking;
use crate::upload_names::{Seen, Stamp, see, stamps};
use crate::uploads::{FolderUploads, Told};
use crate::writers::{OpenFiles, Writers};

/// How long a file must stay unchanged after its writer has closed it, unless it was renamed into
/// place.
const QUIET: Duration = Duration::from_millis(250);

/// How long a file must stay unchanged if it isn't known whether a process is writing it.
const STILL: Duration = Duration::from_secs(3);

/// The pause before a file that a process has open is looked at again, unless a notice comes
/// earlier.
const WRITTEN_AGAIN: Duration = Duration::from_secs(1);

/// How long a changed file waits for its side file to change too, and a changed side file for its
/// file.
const PAIR: Duration = Duration::from_secs(1);

/// How long a file keeps its custom metadata after its side file is gone.
const SIDE_FILE_GONE: Duration = Duration::from_secs(3);

/// After this time the log says that a file is still being written.
const LONG_WRITTEN: Duration = Duration::from_mins(1);

/// The longest that a removal waits for others. The removals of an emptied folder should be
/// reported together, so that they can be held as a whole.
const LONGEST_REMOVAL: Duration = Duration::from_secs(2);

/// How long a side file may wait for its target before it is reported under its own name (and
/// refused).
const SIDE_FILE_ALONE: Duration = Duration::from_secs(2);

/// The pause before a new folder is looked through again: its first files may have arrived before
/// its notices began.
const NEW_FOLDER_AGAIN: Duration = Duration::from_millis(300);

/// The pause before the next attempt after a failure with the folder.
const AFTER_TROUBLE: Duration = Duration::from_secs(1);

/// The pause between two looks through the whole folder.
const RESCAN: Duration = Duration::from_secs(3);

/// Looking through the whole folder takes at most one part in this many of the time.
const RESCAN_SHARE: u32 = 50;

/// The most hints in one batch.
const HINTS_AT_ONCE: usize = 1000;

/// Watches an uploads folder until it is dropped.
#[derive(Debug)]
pub struct Watcher {
    task: JoinHandle<()>,
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watcher {
    /// Starts to watch `uploads`. The receiver gets the hints, which have no versions, since a file
    /// has only one.
    ///
    /// It also reports every file that is there already, once it counts: this is the half of
    /// reconciling that concerns files. It reports a file as removed if it has reported it before,
    /// or if the file was there at this call: an earlier process may have published it. So a caller
    /// that compares the folder with what is published after this call, and then listens, misses no
    /// removal. While the folder is not mounted, it reports nothing.
    ///
    /// Call it within a tokio runtime. It blocks while it looks through the folder.
    #[must_use]
    pub fn start(uploads: &FolderUploads) -> (Self, mpsc::Receiver<Vec<Hint>>) {
        let (sender, receiver) = mpsc::channel(4);
        // While it is not mounted, no files are known.
        let there = uploads.folder().and_then(|root| {
            stamps(root, "").map_err(|error| failed("look through", uploads.path(), error))
        });
        let there = there.unwrap_or_default().into_iter().map(|(name, _)| (name, None));
        let known = Told::new(Mutex::new(there.collect()));
        uploads.only(&known);
        let state = WatchState {
            uploads: uploads.clone(),
            notices: Arc::default(),
            watch: None,
            known,
            writing: HashSet::new(),
            unquiet: HashMap::new(),
            leaving: None,
            folders: HashMap::new(),
            rescan: None,
            unwatched: None,
            trouble: None,
        };
        (Self { task: tokio::spawn(state.run(sender)) }, receiver)
    }
}

/// The last notice about a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Notice {
    /// It says nothing about whether the file is complete.
    Looked,
    /// The file is new: earlier notices were about another file.
    Created,
    /// The file was written to, and not closed since.
    Written,
    /// A writer closed it.
    Closed,
    /// The file came or went by a rename, so it is complete.
    Renamed,
}

/// The operating system's notices since the last look. Their number is bounded by the number of
/// names, however fast these change.
#[derive(Debug, Default)]
struct Notices {
    paths: Mutex<HashMap<PathBuf, Notice>>,
    /// Whether notices were lost, so that everything must be looked at.
    lost: Mutex<bool>,
    arrived: Notify,
}

impl Notices {
    fn take(&self, event: notify::Result<notify::Event>) {
        let Ok(event) = event else {
            *lock(&self.lost) = true;
            self.arrived.notify_one();
            return;
        };
        if event.need_rescan() {
            *lock(&self.lost) = true;
        }
        let notice = match event.kind {
            EventKind::Modify(ModifyKind::Name(_)) => Notice::Renamed,
            // Only Linux also reports when the file is closed.
            EventKind::Modify(ModifyKind::Data(_)) if cfg!(target_os = "linux") => Notice::Written,
            EventKind::Create(_) => Notice::Created,
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => Notice::Closed,
            // Reads don't matter, and the pipeline itself reads.
            EventKind::Access(_) => return,
            _ => Notice::Looked,
        };
        {
            let mut paths = lock(&self.paths);
            for path in event.paths {
                let noted = paths.entry(path).or_insert(notice);
                // A change of attributes says nothing about a writer.
                if notice != Notice::Looked {
                    *noted = notice;
                }
            }
        }
        self.arrived.notify_one();
    }
}

/// A name that changed, and must stay unchanged for a while before it is reported.
#[derive(Debug, Clone, Copy)]
struct Unquiet {
    stamp: Stamp,
    /// When it first had this stamp.
    since: Instant,
    due: Instant,
    /// Whether it is known to be complete. If not, the watcher checks whether a process has it
    /// open.
    complete: bool,
    /// Whether the log says already that it waits.
    said: bool,
}

/// Names that are gone. They are reported together, once no other has gone for [`QUIET`], or after
/// [`LONGEST_REMOVAL`].
#[derive(Debug)]
struct Leaving {
    names: BTreeSet<String>,
    due: Instant,
    latest: Instant,
}

struct WatchState {
    uploads: FolderUploads,
    notices: Arc<Notices>,
    /// The operating system's watch, and the identity of the folder that it watches.
    watch: Option<(RecommendedWatcher, String)>,
    /// What was reported.
    known: Told,
    /// Files, side files included, that were written to and not closed since.
    writing: HashSet<String>,
    unquiet: HashMap<String, Unquiet>,
    /// The names that are gone and not reported yet.
    leaving: Option<Leaving>,
    /// When to look through a folder again, by the folder's name, which ends in `/`.
    folders: HashMap<String, Instant>,
    /// When to look through everything.
    rescan: Option<Instant>,
    /// Why the operating system gives no watch, so that each reason is logged only once.
    unwatched: Option<String>,
    /// The last failure with the folder, so that it is logged only once.
    trouble: Option<String>,
}

impl WatchState {
    async fn run(mut self, hints: mpsc::Sender<Vec<Hint>>) {
        loop {
            let mut told = Vec::new();
            let result = self.turn(&mut told).await;
            for part in told.chunks(HINTS_AT_ONCE) {
                if hints.send(part.to_vec()).await.is_err() {
                    return; // the receiver is gone
                }
            }
            if let Err(error) = result {
                self.note_trouble(&error);
                sleep(AFTER_TROUBLE).await;
                continue;
            }
            if self.trouble.take().is_some() {
                tracing::info!("the uploads folder is watched again");
            }
            let next = self.next();
            tokio::select! {
                () = self.notices.arrived.notified() => {}
                () = sleep_until(next) => {}
            }
        }
    }

    fn note_trouble(&mut self, error: &StoreError) {
        let error = error.to_string();
        if self.trouble.as_ref() != Some(&error) {
            tracing::warn!(error, "the uploads folder can't be watched; trying again");
        }
        self.trouble = Some(error);
        // The next look at everything finds what was noticed, and by then another folder may be
        // there.
        self.watch = None;
        self.writing.clear();
        self.rescan = None;
    }

    /// The next time at which there is something to do without a notice.
    fn next(&self) -> Instant {
        let unquiet = self.unquiet.values().map(|unquiet| unquiet.due);
        unquiet
            .chain(self.folders.values().copied())
            .chain(self.leaving.as_ref().map(|leaving| leaving.due))
            .chain(self.rescan)
            .min()
            .unwrap_or_else(|| Instant::now() + RESCAN)
    }

    /// Looks at everything that is due. It adds what to report to `told`, even if it then fails.
    async fn turn(&mut self, told: &mut Vec<Hint>) -> Result<()> {
        let lost = std::mem::take(&mut *lock(&self.notices.lost));
        let changed = std::mem::take(&mut *lock(&self.notices.paths));
        if lost || self.rescan.is_none_or(|at| at <= Instant::now()) {
            self.look_at_everything(told).await?;
        }
        if lost {
            self.writing.clear();
        }
        let mut names = HashMap::new();
        for (path, notice) in changed {
            let Some((name, target)) = self.names(&path) else { continue };
            match notice {
                Notice::Written => _ = self.writing.insert(name.clone()),
                Notice::Created | Notice::Closed | Notice::Renamed => {
                    _ = self.writing.remove(&name);
                }
                Notice::Looked => {}
            }
            if let Some(target) = target {
                // A complete side file says nothing about a new file. If there are notices about
                // both, the one about the file counts.
                let is_known = self.known(&target).flatten().is_some();
                names.entry(target).or_insert(if is_known { notice } else { Notice::Looked });
            }
            names.insert(name, notice);
        }
        self.look_at(names, told).await?;
        let now = Instant::now();
        let folders: Vec<String> = self
            .folders
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(name, _)| name.clone())
            .collect();
        for folder in folders {
            self.folders.remove(&folder);
            self.look_below(&folder, Notice::Looked, told).await?;
        }
        self.look_at_quiet(told).await?;
        self.tell_gone(told);
        Ok(())
    }

    /// The name of `path`, and that of its target if it may be a side file.
    fn names(&self, path: &Path) -> Option<(String, Option<String>)> {
        // The same text as the names in a listing, in which bytes that aren't UTF-8 read as U+FFFD.
        let name = path.strip_prefix(self.uploads.path()).ok()?.to_string_lossy().into_owned();
        let target = name.strip_suffix(SIDE_FILE_SUFFIX).map(str::to_owned);
        (!name.is_empty()).then_some((name, target))
    }

    async fn look_at_everything(&mut self, told: &mut Vec<Hint>) -> Result<()> {
        // It sets the watch before it looks, so that no later change is missed.
        self.watch_folder()?;
        let begin = Instant::now();
        self.look_below("", Notice::Looked, told).await?;
        self.rescan = Some(Instant::now() + RESCAN.max(begin.elapsed() * RESCAN_SHARE));
        Ok(())
    }

    /// Sets the operating system's watch on the folder, unless it is set already. It goes on
    /// without one if that fails.
    fn watch_folder(&mut self) -> Result<()> {
        let path = self.uploads.path().to_owned();
        let folder = self.uploads.folder()?;
        let identity = folder.identity().map_err(|error| failed("look at", &path, error))?;
        if self.watch.as_ref().is_some_and(|(_, watched)| *watched == identity) {
            return Ok(());
        }
        let notices = Arc::clone(&self.notices);
        let watch = RecommendedWatcher::new(
            move |event| notices.take(event),
            Config::default().with_follow_symlinks(false),
        )
        .and_then(|mut watcher| watcher.watch(&path, RecursiveMode::Recursive).map(|()| watcher));
        match watch {
            Ok(watcher) => {
                self.watch = Some((watcher, identity));
                // The state may have changed between the old watch and this one.
                self.writing.clear();
                self.unwatched = None;
            }
            Err(error) => {
                let reason = error.to_string();
                if self.unwatched.as_ref() != Some(&reason) {
                    tracing::warn!(
                        reason,
                        "uploads are noticed within seconds only: the folder can't be watched"
                    );
                }
                self.unwatched = Some(reason);
            }
        }
        Ok(())
    }

    /// Looks at the uploads below `folder` (a name that ends in `/`, or empty for all), and at the
    /// names there that were reported.
    async fn look_below(
        &mut self,
        folder: &str,
        notice: Notice,
        told: &mut Vec<Hint>,
    ) -> Result<()> {
        let (uploads, name) = (self.uploads.clone(), folder.to_owned());
        let found = blocking(move || {
            let root = uploads.folder()?;
            stamps(root, &name).map_err(|error: io::Error| {
                failed("look through", &uploads.path().join(&name), error)
            })
        })
        .await?;
        let found: BTreeMap<String, Stamp> = found.into_iter().collect();
        // A name that isn't listed is looked at once more by itself: its folder may be unreadable.
        let missing: Vec<String> =
            self.told_below(folder).into_iter().filter(|name| !found.contains_key(name)).collect();
        for (name, stamp) in found {
            self.found(name, stamp, notice, told);
        }
        let missing = missing.into_iter().map(|name| (name, notice)).collect();
        Box::pin(self.look_at(missing, told)).await
    }

    /// The stamp with which `name` was reported; `Some(None)` if the file was there at the start
    /// and was not reported yet.
    #[expect(
        clippy::option_option,
        reason = "unknown, or there at the start, or reported with this stamp"
    )]
    fn known(&self, name: &str) -> Option<Option<Stamp>> {
        lock(&self.known).get(name).copied()
    }

    /// The known names below `folder`.
    fn told_below(&self, folder: &str) -> Vec<String> {
        let known = lock(&self.known);
        let names = known.range(folder.to_owned()..).map(|(name, _)| name);
        names.take_while(|name| name.starts_with(folder)).cloned().collect()
    }

    async fn see<K: Send + 'static>(
        &self,
        names: Vec<(String, K)>,
    ) -> Result<Vec<(String, K, Result<Seen>)>> {
        let uploads = self.uploads.clone();
        blocking(move || {
            let root = uploads.folder()?;
            let see = |(name, with): (String, K)| {
                let seen = see(&root, &name)
                    .map_err(|error| failed("look at", &uploads.path().join(&name), error));
                (name, with, seen)
            };
            Ok(names.into_iter().map(see).collect())
        })
        .await
    }

    async fn look_at(
        &mut self,
        names: HashMap<String, Notice>,
        told: &mut Vec<Hint>,
    ) -> Result<()> {
        let mut names: Vec<(String, Notice)> = names.into_iter().collect();
        while !names.is_empty() {
            let mut below = Vec::new();
            for (name, notice, seen) in self.see(std::mem::take(&mut names)).await? {
                match seen {
                    Ok(Seen::Upload(stamp, _)) => self.found(name, stamp, notice, told),
                    Ok(Seen::Folder) => {
                        self.gone(name.clone());
                        below.push((name + "/", notice));
                    }
                    Ok(Seen::Nothing) => {
                        // If a folder is gone, so are the files in it.
                        names.extend(
                            self.told_below(&format!("{name}/"))
                                .into_iter()
                                .map(|name| (name, notice)),
                        );
                        self.gone(name);
                    }
                    // One file that can't be looked at must not hold back the others; hash reports
                    // what is wrong with it.
                    Err(error) => self.unreadable(name, &error, told),
                }
            }
            for (folder, notice) in below {
                self.look_below(&folder, notice, told).await?;
                self.folders.insert(folder, Instant::now() + NEW_FOLDER_AGAIN);
            }
        }
        Ok(())
    }

    /// Reports a name that can't be looked at though the folder can.
    fn unreadable(&mut self, name: String, error: &StoreError, told: &mut Vec<Hint>) {
        self.is_there(&name);
        if self.known(&name) != Some(Some(Stamp::default())) {
            tracing::warn!(%error, "an upload can't be looked at");
            self.tell(name, Stamp::default(), told);
        }
    }

    /// Notes that nothing is at `name` any more, if the name is known.
    fn gone(&mut self, name: String) {
        self.unquiet.remove(&name);
        self.writing.remove(&name);
        if name.ends_with(SIDE_FILE_SUFFIX) {
            // A side file with a target has no name of its own, and one that is gone never counted
            // as an upload.
            lock(&self.known).remove(&name);
        } else if self.known(&name).is_some() {
            let now = Instant::now();
            let leaving = self.leaving.get_or_insert_with(|| Leaving {
                names: BTreeSet::new(),
                due: now,
                latest: now + LONGEST_REMOVAL,
            });
            if leaving.names.insert(name) {
                leaving.due = leaving.latest.min(now + QUIET);
            }
        }
    }

    /// Reports the names that are gone, when it is time.
    fn tell_gone(&mut self, told: &mut Vec<Hint>) {
        let Some(leaving) = self.leaving.take_if(|leaving| leaving.due <= Instant::now()) else {
            return;
        };
        for name in leaving.names {
            lock(&self.known).remove(&name);
            told.push(Hint { name, removed: true, version: None });
        }
    }

    /// Notes that something is at `name`, whatever was noticed before.
    fn is_there(&mut self, name: &str) {
        if let Some(leaving) = &mut self.leaving {
            leaving.names.remove(name);
        }
    }

    /// Compares the upload that is at `name` now with what was reported; reports it, or lets it
    /// wait.
    fn found(&mut self, name: String, stamp: Stamp, notice: Notice, told: &mut Vec<Hint>) {
        self.is_there(&name);
        let known = self.known(&name);
        if known == Some(Some(stamp)) {
            self.unquiet.remove(&name);
            return;
        }
        let now = Instant::now();
        let is_written = self.is_written(&name);
        let complete = matches!(notice, Notice::Closed | Notice::Renamed) && !is_written;
        let quiet = if name.ends_with(SIDE_FILE_SUFFIX) {
            SIDE_FILE_ALONE
        } else {
            let own = match notice {
                Notice::Renamed => Duration::ZERO,
                // It was there at the start: check at once whether a process has it open.
                Notice::Looked if known == Some(None) => Duration::ZERO,
                _ => QUIET,
            };
            own.max(known.flatten().map_or(Duration::ZERO, |before| for_pair(before, stamp)))
        };
        if quiet.is_zero() && complete {
            self.tell(name, stamp, told);
            return;
        }
        match self.unquiet.get_mut(&name) {
            Some(unquiet) if unquiet.stamp == stamp => {
                if complete && !unquiet.complete {
                    unquiet.complete = true;
                    unquiet.due = unquiet.due.min(now + quiet);
                }
            }
            before => {
                let said = before.is_some_and(|before| before.said);
                self.unquiet
                    .insert(name, Unquiet { stamp, since: now, due: now + quiet, complete, said });
            }
        }
    }

    /// Whether the file at `name`, or its side file, was written to and not closed since.
    fn is_written(&self, name: &str) -> bool {
        self.writing.contains(name) || self.writing.contains(&format!("{name}{SIDE_FILE_SUFFIX}"))
    }

    /// Reports the waiting names that have waited long enough, have not changed meanwhile, and are
    /// complete.
    async fn look_at_quiet(&mut self, told: &mut Vec<Hint>) -> Result<()> {
        let now = Instant::now();
        let due = self.unquiet.iter().filter(|(_, unquiet)| unquiet.due <= now);
        let due: Vec<(String, Unquiet)> =
            due.map(|(name, unquiet)| (name.clone(), *unquiet)).collect();
        if due.is_empty() {
            return Ok(());
        }
        let mut unsure = Vec::new();
        for (name, before, seen) in self.see(due).await? {
            match seen {
                Ok(Seen::Upload(stamp, _)) if stamp != before.stamp => {
                    self.found(name, stamp, Notice::Looked, told);
                }
                Ok(Seen::Upload(stamp, _)) if before.complete && !self.is_written(&name) => {
                    self.tell(name, stamp, told);
                }
                Ok(Seen::Upload(_, pair)) => unsure.push((name, before, pair)),
                Ok(Seen::Folder | Seen::Nothing) => self.gone(name),
                Err(error) => self.unreadable(name, &error, told),
            }
        }
        if unsure.is_empty() {
            return Ok(());
        }
        let pairs = unsure.iter().map(|(_, _, pair)| pair);
        let files: Vec<FileState> =
            pairs.flat_map(|pair| [pair.file].into_iter().chain(pair.side)).collect();
        let uploads = self.uploads.clone();
        let open = blocking(move || Ok(OpenFiles::among(&uploads.folder()?, &files))).await?;
        for (name, before, pair) in unsure {
            let files = [pair.file].into_iter().chain(pair.side);
            let unchanged = files
                .clone()
                .map(|file| self.uploads.unchanged_for(&file))
                .min()
                .unwrap_or_default();
            let unchanged = unchanged.max(before.since.elapsed());
            let writers = files.map(|file| open.writers(&file)).max().unwrap_or(Writers::Unknown);
            let again = match (self.is_written(&name), writers) {
                (_, Writers::Some) | (true, Writers::Unknown) => WRITTEN_AGAIN,
                // No process has it open: the notice of its closing was lost, or is about to come.
                (_, Writers::None) => Duration::ZERO,
                (false, Writers::Unknown) => STILL.saturating_sub(unchanged),
            };
            if again.is_zero() {
                self.writing.remove(&format!("{name}{SIDE_FILE_SUFFIX}"));
                self.writing.remove(&name);
                self.tell(name, before.stamp, told);
            } else if let Some(unquiet) = self.unquiet.get_mut(&name) {
                unquiet.due = Instant::now() + again;
                if !unquiet.said && unquiet.since.elapsed() >= LONG_WRITTEN {
                    unquiet.said = true;
                    tracing::info!(
                        name,
                        "it is open for writing: it counts once its writer has closed it"
                    );
                }
            }
        }
        Ok(())
    }

    fn tell(&mut self, name: String, stamp: Stamp, told: &mut Vec<Hint>) {
        self.unquiet.remove(&name);
        lock(&self.known).insert(name.clone(), Some(stamp));
        told.push(Hint { name, removed: false, version: None });
    }
}

/// How long an upload that was reported with the stamp `before`, and now has the stamp `now`, waits
/// for the other one of its file and side file.
fn for_pair(before: Stamp, now: Stamp) -> Duration {
    let (file, side) = (before.file != now.file, before.side != now.side);
    match now.side {
        // It has no side file, or both have changed.
        _ if file == side || (before.side, now.side) == (None, None) => Duration::ZERO,
        None if side => SIDE_FILE_GONE,
        _ => PAIR,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;

    use super::*;
    use tufline_store::{ErrorKind, SystemClock};

    use crate::DataFolder;

    /// The watcher gets no chance to look in between, so every request for a file is faster than
    /// it.
    #[tokio::test]
    async fn nobody_reads_a_file_before_the_watcher_has_reported_it() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataFolder::lock(folder.path().join("data")).unwrap();
        let uploads =
            FolderUploads::open(&data, folder.path().join("uploads"), Arc::new(SystemClock))
                .unwrap();
        let path = |name: &str| uploads.path().join(name);
        let is_given = |name: &str| {
            let upload = uploads.current(name).unwrap().unwrap();
            match uploads.open_version(&upload, "read") {
                Ok(opened) => {
                    opened.check().unwrap();
                    true
                }
                Err(error) => {
                    assert_eq!(error.kind, ErrorKind::Unfinished, "{error}");
                    false
                }
            }
        };
        for name in ["lay there", "replaced"] {
            std::fs::write(path(name), "x").unwrap();
            assert!(is_given(name), "nobody watches");
        }
        let (_watcher, mut hints) = Watcher::start(&uploads);
        let mut begun = File::create(path("begun")).unwrap();
        begun.write_all(b"half").unwrap();
        assert!(!is_given("begun") && !is_given("lay there"));

        let mut told = HashSet::new();
        let mut until_told = async |names: &[&str]| {
            while !names.iter().all(|name| told.contains(*name)) {
                told.extend(hints.recv().await.unwrap().into_iter().map(|hint| hint.name));
            }
            told.clear();
        };
        until_told(&["lay there", "replaced"]).await;
        assert!(is_given("lay there") && is_given("replaced") && !is_given("begun"));
        let mut over = File::create(path("replaced")).unwrap();
        over.write_all(b"half").unwrap();
        std::fs::write(path("lay there.tuf.json"), "{").unwrap();
        assert!(!is_given("replaced") && !is_given("lay there"));
        drop((begun, over));
        until_told(&["begun", "replaced", "lay there"]).await;
        assert!(is_given("begun") && is_given("replaced") && is_given("lay there"));
    }

    #[test]
    fn a_change_of_one_of_file_and_side_file_waits_for_the_other() {
        let stamp = |file, side| Stamp { file, side };
        for (before, now, wait) in [
            (stamp(1, None), stamp(2, None), Duration::ZERO),
            (stamp(1, Some(1)), stamp(2, Some(2)), Duration::ZERO),
            (stamp(1, Some(1)), stamp(2, None), Duration::ZERO),
            (stamp(1, None), stamp(2, Some(1)), Duration::ZERO),
            (stamp(1, Some(1)), stamp(2, Some(1)), PAIR),
            (stamp(1, Some(1)), stamp(1, Some(2)), PAIR),
            (stamp(1, None), stamp(1, Some(2)), PAIR),
            (stamp(1, Some(1)), stamp(1, None), SIDE_FILE_GONE),
        ] {
            assert_eq!(for_pair(before, now), wait, "{before:?} {now:?}");
        }
    }
}
