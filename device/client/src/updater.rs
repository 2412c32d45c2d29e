//! The update of the top-level metadata: root, timestamp, snapshot, targets (TUF specification 5.3
//! to 5.6).

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::sync::Arc;

use tufline_metadata::{File, Meta, Snapshot, Time, Timestamp, TrustedRoot, metadata_path};

use crate::clock::Clock;
use crate::error::{Error, Result, Why};
use crate::limits::Limits;
use crate::names::stored_name;
use crate::need::{Answer, Need, NeededFile};
use crate::rotation;
use crate::search::Search;
use crate::storage::{ROOT, SNAPSHOT, Storage, Stored, TIMESTAMP};
use crate::verified::{Current, most, refused};

/// One update: from the stored metadata to the repository's newest.
///
/// [`need`](Self::need) names a file and the caller passes it to [`give`](Self::give), until the
/// update needs nothing more. From then on, [`search`](Self::search) looks for targets. After an
/// error the updater asks for the same file again, so the caller may retry a fetch. A new updater
/// starts over from the storage.
#[derive(Debug, Clone)]
pub struct Updater<S> {
    pub(crate) storage: S,
    pub(crate) limits: Limits,
    clock: Clock,
    root: TrustedRoot,
    state: State,
    /// The needed file, cached until the caller gives it: finding it out means reading and
    /// verifying what is stored.
    needed: Option<NeededFile>,
}

/// What is verified so far. The next file follows from it.
#[derive(Debug, Clone)]
enum State {
    /// A root; `followed` counts the new roots of this update.
    Root { followed: u32 },
    /// The newest root, which hasn't expired at the time `now`.
    NewestRoot { now: Time },
    /// The timestamp too.
    Timestamp { now: Time, timestamp: Timestamp },
    /// The snapshot too.
    Snapshot { now: Time, snapshot: Arc<Snapshot> },
    /// All top-level metadata.
    Current(Current),
}

impl<S: Storage> Updater<S> {
    /// Begins an update from the stored metadata.
    pub fn open(mut storage: S, clock: Clock, limits: Limits) -> Result<Self, S::Error> {
        let bytes = Stored(&mut storage).read(ROOT, usize::MAX)?.ok_or(Error::NotInitialised)?;
        let root =
            TrustedRoot::begin(&bytes).map_err(|error| Error::DamagedRoot(Why::Invalid(error)))?;
        rotation::forget(&mut storage, root.version())?;
        Ok(Self { storage, limits, clock, root, state: State::Root { followed: 0 }, needed: None })
    }

    /// The file that the update needs next. A stored file that is still current isn't needed.
    ///
    /// # Errors
    /// [`Error`] if the verified metadata leaves no way on, or the storage fails.
    pub fn need(&mut self) -> Result<Need, S::Error> {
        if self.needed.is_none() {
            self.needed = self.find_needed()?;
        }
        Ok(self.needed.clone().map_or(Need::Nothing, Need::File))
    }

    fn find_needed(&mut self) -> Result<Option<NeededFile>, S::Error> {
        loop {
            match &self.state {
                State::Root { followed } if *followed >= self.limits.roots => {
                    return Err(Error::TooManyRoots(self.limits.roots));
                }
                State::Root { .. } => {
                    let path = metadata_path("root", Some(self.root.version().saturating_add(1)));
                    return Ok(Some(NeededFile {
                        path,
                        most: self.limits.root,
                        may_be_missing: true,
                    }));
                }
                State::NewestRoot { .. } => {
                    return Ok(Some(NeededFile::new(TIMESTAMP.to_owned(), self.limits.timestamp)));
                }
                State::Timestamp { now, timestamp } => {
                    let (now, timestamp) = (*now, timestamp.clone());
                    let most = most(timestamp.snapshot(), self.limits.snapshot);
                    let stored = Stored(&mut self.storage).read(SNAPSHOT, most)?;
                    match stored.and_then(|bytes| self.snapshot(&bytes, &timestamp, now).ok()) {
                        Some(snapshot) => {
                            self.state = State::Snapshot { now, snapshot: Arc::new(snapshot) }
                        }
                        None => {
                            return Ok(Some(NeededFile::new(
                                self.path("snapshot", timestamp.snapshot()),
                                most,
                            )));
                        }
                    }
                }
                State::Snapshot { now, snapshot } => {
                    let (now, snapshot) = (*now, snapshot.clone());
                    let listed = Self::listed(&snapshot, Self::TARGETS)?;
                    let most = most(listed, self.limits.targets);
                    let stored =
                        Stored(&mut self.storage).read(&stored_name(Self::TARGETS), most)?;
                    match stored.and_then(|bytes| self.root.targets(&bytes, &snapshot, now).ok()) {
                        Some(targets) => {
                            self.state = State::Current(Current {
                                now,
                                snapshot,
                                targets: Arc::new(targets),
                            });
                        }
                        None => {
                            return Ok(Some(NeededFile::new(
                                self.path(Self::TARGETS, listed),
                                most,
                            )));
                        }
                    }
                }
                State::Current(_) => return Ok(None),
            }
        }
    }

    /// Verifies and stores the file that the update needs.
    ///
    /// # Errors
    /// [`Error`]. The storage is unchanged, and the update still needs the same file.
    pub fn give(&mut self, answer: Answer<'_>) -> Result<(), S::Error> {
        let Need::File(NeededFile { path, most, .. }) = self.need()? else { return Ok(()) };
        let bytes = match answer {
            Answer::Bytes(bytes) if bytes.len() > most => {
                return Err(refused(&path, Why::TooLong(most)));
            }
            Answer::Bytes(bytes) => Some(bytes),
            Answer::Missing => None,
        };
        self.state = match (self.state.clone(), bytes) {
            (State::Root { followed }, Some(bytes)) => self.take_root(followed, bytes, &path)?,
            (State::Root { .. }, None) => self.end_roots()?,
            (_, None) => return Err(Error::Missing(path)),
            (State::NewestRoot { now }, Some(bytes)) => self.take_timestamp(bytes, now)?,
            (State::Timestamp { now, timestamp }, Some(bytes)) => {
                self.take_snapshot(bytes, &timestamp, now, &path)?
            }
            (State::Snapshot { now, snapshot }, Some(bytes)) => {
                self.take_targets(bytes, snapshot, now, &path)?
            }
            (current @ State::Current(_), Some(_)) => current,
        };
        self.needed = None;
        Ok(())
    }

    /// Searches for a target by its name. `None` while the update still needs top-level metadata.
    pub fn search(&mut self, name: &str) -> Option<Search<'_, S>> {
        let State::Current(current) = &self.state else { return None };
        let (current, consistent) = (current.clone(), self.root.root().consistent_snapshot);
        Some(Search::begin(&mut self.storage, self.limits, current, consistent, name))
    }

    /// The root that the device trusts now.
    #[must_use]
    pub fn root(&self) -> &TrustedRoot {
        &self.root
    }

    /// The storage, which holds what the device trusts now.
    #[must_use]
    pub fn storage(&self) -> &S {
        &self.storage
    }

    const TARGETS: &str = "targets";

    /// Takes the next root (5.3.4 to 5.3.9) and stores it at once: the device never goes back
    /// behind it.
    fn take_root(&mut self, followed: u32, bytes: &[u8], path: &str) -> Result<State, S::Error> {
        let next = self.root.follow(bytes).map_err(|error| refused(path, Why::Invalid(error)))?;
        rotation::note_if_due(&mut self.storage, &self.root, &next)?;
        Stored(&mut self.storage).write(ROOT, bytes)?;
        self.root = next;
        self.needed = None;
        rotation::forget(&mut self.storage, self.root.version())?;
        Ok(State::Root { followed: followed.saturating_add(1) })
    }

    /// No root follows, so this one must not have expired (5.3.10).
    fn end_roots(&mut self) -> Result<State, S::Error> {
        let timestamp = self.trusted_timestamp()?;
        let now = self.clock.time(timestamp.map(|(_, expires)| expires));
        let file = metadata_path("root", Some(self.root.version()));
        self.root.expect_fresh(now).map_err(|error| refused(&file, Why::at(error, now)))?;
        Ok(State::NewestRoot { now })
    }

    /// Takes the timestamp (5.4).
    fn take_timestamp(&mut self, bytes: &[u8], now: Time) -> Result<State, S::Error> {
        let refuse = |why| refused(TIMESTAMP, why);
        let file =
            self.root.verify::<Timestamp>(bytes).map_err(|error| refuse(Why::Invalid(error)))?;
        let timestamp = file.unverified().clone();
        if let Some((trusted, expires)) = self.trusted_timestamp()? {
            expect_no_rollback("timestamp", trusted.version, timestamp.version).map_err(refuse)?;
            let (before, after) = (trusted.snapshot().version, timestamp.snapshot().version);
            expect_no_rollback("snapshot", before, after).map_err(refuse)?;
            if trusted.version == timestamp.version {
                // Each version has one document: the one that came first stays (5.4.3.1).
                if expires <= now {
                    return Err(refuse(Why::Expired { expires, now }));
                }
                return Ok(State::Timestamp { now, timestamp: trusted });
            }
        }
        file.expect_fresh(now).map_err(|error| refuse(Why::at(error, now)))?;
        Stored(&mut self.storage).write(TIMESTAMP, bytes)?;
        Ok(State::Timestamp { now, timestamp })
    }

    /// Takes the snapshot (5.5).
    fn take_snapshot(
        &mut self,
        bytes: &[u8],
        listed: &Timestamp,
        now: Time,
        path: &str,
    ) -> Result<State, S::Error> {
        let snapshot = self.snapshot(bytes, listed, now).map_err(|why| refused(path, why))?;
        if let Some(trusted) = self.trusted_snapshot()? {
            expect_no_rollback("snapshot", trusted.version, snapshot.version)
                .map_err(|why| refused(path, why))?;
            for (role, before) in trusted.roles() {
                let after = snapshot
                    .role(role)
                    .ok_or_else(|| refused(path, Why::Dropped(role.to_owned())))?;
                expect_no_rollback(role, before.version, after.version)
                    .map_err(|why| refused(path, why))?;
            }
        }
        Stored(&mut self.storage).write(SNAPSHOT, bytes)?;
        Ok(State::Snapshot { now, snapshot: Arc::new(snapshot) })
    }

    /// Takes the top-level targets (5.6).
    fn take_targets(
        &mut self,
        bytes: &[u8],
        snapshot: Arc<Snapshot>,
        now: Time,
        path: &str,
    ) -> Result<State, S::Error> {
        let targets = self.root.targets(bytes, &snapshot, now);
        let targets = Arc::new(targets.map_err(|error| refused(path, Why::at(error, now)))?);
        Stored(&mut self.storage).write(&stored_name(Self::TARGETS), bytes)?;
        Ok(State::Current(Current { now, snapshot, targets }))
    }

    fn snapshot(
        &self,
        bytes: &[u8],
        listed: &Timestamp,
        now: Time,
    ) -> core::result::Result<Snapshot, Why> {
        self.root.snapshot(bytes, listed, now).map_err(|error| Why::at(error, now))
    }

    /// The stored timestamp and its expiry. It may have expired: its versions still count against
    /// rollbacks. If the trusted root doesn't verify it, the result is `None`.
    pub(crate) fn trusted_timestamp(&mut self) -> Result<Option<(Timestamp, Time)>, S::Error> {
        let stored = Stored(&mut self.storage).read(TIMESTAMP, self.limits.timestamp)?;
        let file = stored.and_then(|bytes| self.root.verify::<Timestamp>(&bytes).ok());
        Ok(file.map(|file| (file.unverified().clone(), file.common().expires)))
    }

    /// The stored snapshot, under the same rules as [`Self::trusted_timestamp`].
    fn trusted_snapshot(&mut self) -> Result<Option<Snapshot>, S::Error> {
        let stored = Stored(&mut self.storage).read(SNAPSHOT, self.limits.snapshot)?;
        let file = stored.and_then(|bytes| self.root.verify::<Snapshot>(&bytes).ok());
        Ok(file.map(File::into_unverified))
    }

    fn listed<'m>(snapshot: &'m Snapshot, role: &str) -> Result<&'m Meta, S::Error> {
        snapshot.role(role).ok_or_else(|| refused(SNAPSHOT, Why::NotListed(role.to_owned())))
    }

    fn consistent(&self) -> bool {
        self.root.root().consistent_snapshot
    }

    fn path(&self, role: &str, listed: &Meta) -> String {
        metadata_path(role, self.consistent().then_some(listed.version))
    }
}

fn expect_no_rollback(of: &str, trusted: u64, found: u64) -> core::result::Result<(), Why> {
    if found >= trusted { Ok(()) } else { Err(Why::Rollback { of: of.to_owned(), trusted, found }) }
}
