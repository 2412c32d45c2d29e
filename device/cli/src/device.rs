//! A device: its repository, what it keeps, and what it does with both.

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
use crate::settings::Settings;
use crate::wanted::Wanted;

/// When this program was built, in seconds since 1970 (`build.rs`).
const BUILT: &str = env!("TUFLINE_BUILT");

/// A device: its repository, what it keeps, and what it does with both.
#[derive(Debug)]
pub struct Device {
    settings: Settings,
    connection: Connection,
    updater: Updater<Folder>,
    /// What came in a pack and wasn't used yet; `None` before one was asked for.
    pack: Option<Pack>,
    pack_failure: Option<String>,
    /// Others wait while it lives.
    _lock: File,
}

impl Device {
    /// Begins to trust a root, which came with the device, and says the version of the one that is trusted then.
    ///
    /// # Errors
    /// [`Failure::Update`], [`Failure::File`].
    pub fn init(metadata_dir: &Path, root: &Path) -> Result<u64, Failure> {
        let (mut folder, _lock) = open(metadata_dir)?;
        Ok(begin_with(&mut folder, root)?.version())
    }

    /// Begins an update; another process that updates in the same folder is waited for.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn open(settings: Settings) -> Result<Self, Failure> {
        let (mut folder, lock) = open(&settings.metadata_dir)?;
        if let Some(root) = &settings.root {
            begin_with(&mut folder, root)?;
        }
        let connection = Connection::new(&settings)?;
        let updater = Updater::open(folder, clock(&settings), settings.limits())?;
        Ok(Self { settings, connection, updater, pack: None, pack_failure: None, _lock: lock })
    }

    /// Reads the newest metadata. It does that once: open another device for the next update.
    ///
    /// # Errors
    /// [`Failure`]: then what is kept is what it was, but for what was verified before that.
    pub fn refresh(&mut self) -> Result<(), Failure> {
        self.refresh_for(&[], &[])
    }

    /// The same before these targets are looked for, and some fetched: where the repository makes packs, all that this needs comes with it. It asks for a pack
    /// once; what comes too late, or not in it, comes by name.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn refresh_for(&mut self, to_find: &[&str], to_fetch: &[&str]) -> Result<(), Failure> {
        if self.pack.is_none() {
            self.pack = Some(self.ask_pack(&[to_fetch, to_find].concat(), to_fetch)?);
        }
        let came = self.pack.as_ref().is_some_and(|pack| *pack != Pack::default());
        match self.feed() {
            // By names there may be a way where a pack led nowhere: it may have kept a root back, for one. Where roots were too many, it led somewhere.
            Err(Failure::Update(error)) if came && !matches!(error, Error::Storage { .. } | Error::TooManyRoots(_)) => {
                self.pack_failure.get_or_insert_with(|| error.to_string());
                self.pack = Some(Pack::default());
                let folder = self.updater.storage().clone();
                self.updater = Updater::open(folder, clock(&self.settings), self.settings.limits())?;
                self.feed()
            }
            fed => fed,
        }
    }

    fn feed(&mut self) -> Result<(), Failure> {
        feed(&mut self.updater, self.pack.get_or_insert_default(), &self.settings, &self.connection)
    }

    /// A pack that doesn't come, or is none, is an empty one.
    fn ask_pack(&mut self, names: &[&str], small: &[&str]) -> Result<Pack, Failure> {
        let question = self.updater.pack_question(names, small)?;
        let Some(url) = self.settings.pack(&question.query()) else { return Ok(Pack::default()) };
        let came = match self.connection.for_a_pack().document(&url, MOST_PACK_BYTES) {
            Ok(Some(bytes)) => question.unpack(&bytes).map_err(|error| error.to_string()),
            Ok(None) => Err(NetworkFailure::Status(404).to_string()),
            Err(NetworkFailure::Status(204)) => Ok(question.nothing_new()),
            // Nor would anything else.
            Err(failure @ (NetworkFailure::Identity { is_passing: false, .. } | NetworkFailure::OverBudget { .. })) => {
                return Err(Failure::network(&url, failure));
            }
            Err(failure) => Err(failure.to_string()),
        };
        Ok(came.unwrap_or_else(|why| {
            self.pack_failure = Some(why);
            Pack::default()
        }))
    }

    /// Why the pack that was asked for could not be used, or not all of it. All came by names then.
    #[must_use]
    pub fn pack_failure(&self) -> Option<&str> {
        self.pack_failure.as_deref()
    }

    /// What is listed of a target, by the newest metadata.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn find(&mut self, name: &str) -> Result<Option<FoundTarget>, Failure> {
        self.refresh_for(&[name], &[])?;
        let Some(mut search) = self.updater.search(name) else { return Ok(None) };
        feed(&mut search, self.pack.get_or_insert_default(), &self.settings, &self.connection)?;
        Ok(search.found())
    }

    /// Puts a target's bytes at `to`, when they are verified, and in one step. What is there already isn't fetched; what was kept of a fetch that did
    /// not end is gone on with.
    ///
    /// # Errors
    /// [`Failure`]: then what is at `to` is what was there.
    pub fn fetch(&self, found: &FoundTarget, to: &Path) -> Result<FetchedTarget, Failure> {
        self.fetch_with(found, to, None)
    }

    /// The same with a seed: an older image on this device, a file or a block device. What it has of the target isn't fetched, if the repository makes
    /// chunks of its targets. If not, or where they mislead, the target comes whole, and the answer says why.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn fetch_with(&self, found: &FoundTarget, to: &Path, seed: Option<&Path>) -> Result<FetchedTarget, Failure> {
        let fetch = Fetch {
            wanted: Wanted { connection: &self.connection, found, to, tries: self.settings.tries },
            url: self.settings.target(&found.path)?,
            packed: self.pack.as_ref().and_then(|pack| pack.target(&found.path)),
            seed,
            chunks_url: self.settings.chunks(&found.path)?,
            fetched: FetchedTarget { length: found.target.length, received: 0, copied: 0, whole_since: None },
        };
        fetch.run()
    }

    /// Finds a target and puts its bytes at `to` ([`Self::find`], [`Self::fetch_with`]).
    ///
    /// # Errors
    /// [`Failure`].
    pub fn find_and_fetch(&mut self, name: &str, to: &Path, seed: Option<&Path>) -> Result<FetchedTarget, Failure> {
        self.refresh_for(&[], &[name])?;
        let found = self.find(name)?.ok_or_else(|| Failure::NoSuchTarget(name.to_owned()))?;
        self.fetch_with(&found, to, seed)
    }

    /// So many bytes came over the network since it was opened: bodies of answers, as they were sent.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.connection.budget().received()
    }

    /// What another thread has of it while it works.
    pub(crate) fn control(&self) -> Control {
        Control(Arc::clone(self.connection.budget()))
    }

    /// The version of the root that is trusted.
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
    let floor = built().map(|built| Floor { built, longest_timestamp: settings.longest_timestamp() });
    let floor = floor.filter(|_| !settings.believe_clock);
    Clock { now: jiff::Timestamp::now(), floor }
}
