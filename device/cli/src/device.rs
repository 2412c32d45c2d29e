//! A device: it updates its metadata, finds targets and fetches them.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use tufline_client::{Clock, Error, Floor, FoundTarget, MOST_PACK_BYTES, Pack, Time, Updater};
use tufline_metadata::TrustedRoot;

use crate::documents::feed;
use crate::failure::{Failure, NetworkFailure};
use crate::fetch::{Fetch, FetchedTarget};
use crate::folder::Folder;
use crate::http::{Budget, Connection};
use crate::identity::Kept;
use crate::settings::Settings;
use crate::wanted::Wanted;

/// When this program was built, in seconds since 1970 (`build.rs`).
const BUILT: &str = env!("TUFLINE_BUILT");

/// A device with its repository and its stored metadata. One value serves one update.
#[derive(Debug)]
pub struct Device {
    settings: Settings,
    connection: Connection,
    updater: Updater<Folder>,
    /// The unused files of the pack; `None` until the device has asked for one.
    pack: Option<Pack>,
    pack_failure: Option<String>,
    /// The lock on the metadata folder: other processes wait while it lives.
    _lock: File,
}

impl Device {
    /// Trusts a root that came with the device, and returns the version of the root that the device
    /// trusts afterwards.
    ///
    /// # Errors
    /// [`Failure::Update`] if the root is refused or can't be stored, [`Failure::File`] if a file
    /// can't be read or written.
    pub fn init(metadata_dir: &Path, root: &Path) -> Result<u64, Failure> {
        let (mut folder, _lock) = open(metadata_dir)?;
        Ok(begin_with(&mut folder, root)?.version())
    }

    /// Begins an update. Waits while another process updates in the same folder.
    ///
    /// # Errors
    /// [`Failure::Update`], [`Failure::File`] or [`Failure::Settings`].
    pub fn open(settings: Settings) -> Result<Self, Failure> {
        Self::open_again(settings, None)
    }

    /// As [`Self::open`], with the keys of an earlier device with these settings.
    pub(crate) fn open_again(settings: Settings, kept: Option<Kept>) -> Result<Self, Failure> {
        let (mut folder, lock) = open(&settings.metadata_dir)?;
        if let Some(root) = &settings.root {
            begin_with(&mut folder, root)?;
        }
        let connection = Connection::new(&settings, kept)?;
        let updater = Updater::open(folder, clock(&settings), settings.limits())?;
        Ok(Self { settings, connection, updater, pack: None, pack_failure: None, _lock: lock })
    }

    /// Reads the newest metadata, once per device: for the next update, open another device.
    ///
    /// # Errors
    /// [`Failure`]. The storage then holds what was verified before the failure.
    pub fn refresh(&mut self) -> Result<(), Failure> {
        self.refresh_for(&[], &[])
    }

    /// Reads the newest metadata before a search for the targets `to_find`, and a fetch of those in
    /// `to_fetch`. If the repository makes packs, one pack brings all that this needs. The device
    /// asks for a pack once per update; what the pack lacks comes by name.
    ///
    /// # Errors
    /// [`Failure`], as in [`Self::refresh`].
    pub fn refresh_for(&mut self, to_find: &[&str], to_fetch: &[&str]) -> Result<(), Failure> {
        if self.pack.is_none() {
            self.pack = Some(self.ask_pack(&[to_fetch, to_find].concat(), to_fetch)?);
        }
        let came = self.pack.as_ref().is_some_and(|pack| *pack != Pack::default());
        match self.feed() {
            // An update by names may succeed where a pack led nowhere: the pack may have withheld a
            // root, for example. After too many roots there is nothing to repeat, since they are
            // stored.
            Err(Failure::Update(error))
                if came && !matches!(error, Error::Storage { .. } | Error::TooManyRoots(_)) =>
            {
                self.pack_failure.get_or_insert_with(|| error.to_string());
                self.pack = Some(Pack::default());
                let folder = self.updater.storage().clone();
                self.updater =
                    Updater::open(folder, clock(&self.settings), self.settings.limits())?;
                self.feed()
            }
            fed => fed,
        }
    }

    fn feed(&mut self) -> Result<(), Failure> {
        feed(&mut self.updater, self.pack.get_or_insert_default(), &self.settings, &self.connection)
    }

    /// Asks for a pack. If none comes or it can't be read, the result is an empty pack.
    fn ask_pack(&mut self, names: &[&str], small: &[&str]) -> Result<Pack, Failure> {
        let question = self.updater.pack_question(names, small)?;
        let Some(url) = self.settings.pack(&question.query()) else { return Ok(Pack::default()) };
        let came = match self.connection.for_a_pack().document(&url, MOST_PACK_BYTES) {
            Ok(Some(bytes)) => question.unpack(&bytes).map_err(|error| error.to_string()),
            Ok(None) => Err(NetworkFailure::Status(404).to_string()),
            Err(NetworkFailure::Status(204)) => Ok(question.nothing_new()),
            // Any other request would fail in the same way.
            Err(
                failure @ (NetworkFailure::Identity { is_passing: false, .. }
                | NetworkFailure::OverBudget { .. }),
            ) => {
                return Err(Failure::network(&url, failure));
            }
            Err(failure) => Err(failure.to_string()),
        };
        Ok(came.unwrap_or_else(|why| {
            self.pack_failure = Some(why);
            Pack::default()
        }))
    }

    /// Why the device could not use the pack, or not all of it. The device then fetched by name
    /// what it lacked.
    #[must_use]
    pub fn pack_failure(&self) -> Option<&str> {
        self.pack_failure.as_deref()
    }

    /// Looks for a target in the newest metadata. `None` means that the repository has no such
    /// target.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn find(&mut self, name: &str) -> Result<Option<FoundTarget>, Failure> {
        self.refresh_for(&[name], &[])?;
        let Some(mut search) = self.updater.search(name) else { return Ok(None) };
        feed(&mut search, self.pack.get_or_insert_default(), &self.settings, &self.connection)?;
        Ok(search.found())
    }

    /// Fetches a target to the path `to`. The file appears in one step, when its bytes are
    /// verified. If `to` already has these bytes, nothing is fetched. An interrupted fetch
    /// continues where it stopped.
    ///
    /// # Errors
    /// [`Failure`]. The path `to` then holds what it held before.
    pub fn fetch(&self, found: &FoundTarget, to: &Path) -> Result<FetchedTarget, Failure> {
        self.fetch_with(found, to, None)
    }

    /// Fetches a target like [`Self::fetch`], with a seed: an older image on this device, in a file
    /// or on a block device. If the repository makes chunks of its targets, the device copies from
    /// the seed what the target shares with it. If the repository makes none, or the chunks
    /// mislead, the device fetches the whole target, and [`FetchedTarget`] says why.
    ///
    /// # Errors
    /// [`Failure`], as in [`Self::fetch`].
    pub fn fetch_with(
        &self,
        found: &FoundTarget,
        to: &Path,
        seed: Option<&Path>,
    ) -> Result<FetchedTarget, Failure> {
        let fetch = Fetch {
            wanted: Wanted { connection: &self.connection, found, to, tries: self.settings.tries },
            url: self.settings.target(&found.path)?,
            packed: self.pack.as_ref().and_then(|pack| pack.target(&found.path)),
            seed,
            chunks_url: self.settings.chunks(&found.path)?,
            has_asked_anew: false,
            fetched: FetchedTarget {
                length: found.target.length,
                received: 0,
                copied: 0,
                whole_because: None,
            },
        };
        fetch.run()
    }

    /// Finds a target and fetches it to the path `to` ([`Self::find`], [`Self::fetch_with`]).
    ///
    /// # Errors
    /// [`Failure`]; [`Failure::NoSuchTarget`] if the repository has no such target.
    pub fn find_and_fetch(
        &mut self,
        name: &str,
        to: &Path,
        seed: Option<&Path>,
    ) -> Result<FetchedTarget, Failure> {
        self.refresh_for(&[], &[name])?;
        let found = self.find(name)?.ok_or_else(|| Failure::NoSuchTarget(name.to_owned()))?;
        self.fetch_with(&found, to, seed)
    }

    /// The bytes received over the network since this device was opened: bodies of answers, as the
    /// servers sent them.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.connection.budget().received()
    }

    /// Its keys, for the next device.
    pub(crate) fn keep(&self) -> Option<Kept> {
        self.connection.keep()
    }

    /// What another thread has of it while it works.
    pub(crate) fn control(&self) -> Control {
        Control(Arc::clone(self.connection.budget()))
    }

    /// The version of the root that the device trusts.
    #[must_use]
    pub fn root_version(&self) -> u64 {
        self.updater.root().version()
    }
}

/// What another thread has of a device while that works.
#[derive(Debug)]
pub struct Control(Arc<Budget>);

impl Control {
    /// So many bytes came so far.
    pub fn received(&self) -> u64 {
        self.0.received()
    }

    /// Brings the deadline forward to now. What came of a target is kept.
    pub fn stop(&self) {
        self.0.stop();
    }
}

/// When this program was built.
pub fn built() -> Option<Time> {
    BUILT.parse().ok().and_then(|seconds| Time::from_second(seconds).ok())
}

fn open(metadata_dir: &Path) -> Result<(Folder, File), Failure> {
    let folder = Folder::open(metadata_dir).map_err(Failure::file("written", metadata_dir))?;
    let lock = folder.lock().map_err(Failure::file("written", metadata_dir))?;
    Ok((folder, lock))
}

fn begin_with(folder: &mut Folder, root: &Path) -> Result<TrustedRoot, Failure> {
    let bytes = fs::read(root).map_err(Failure::file("read", root))?;
    Ok(tufline_client::begin_with(folder, &bytes)?)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the edge: here the device's clock is read, once an update (TUF specification 5.1)"
)]
fn clock(settings: &Settings) -> Clock {
    let floor =
        built().map(|built| Floor { built, longest_timestamp: settings.longest_timestamp() });
    let floor = floor.filter(|_| !settings.believe_clock);
    Clock { now: jiff::Timestamp::now(), floor }
}
