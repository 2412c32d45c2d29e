//! A device: its repository, what it keeps, and what it does with both.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use tufline_client::{Answer, Clock, Error, Floor, FoundTarget, Need, NeededFile, Search, Time, Updater, Why};

use crate::failure::{Failure, NetworkFailure};
use crate::folder::Folder;
use crate::http::{self, Connection};
use crate::part::{self, Part};
use crate::patience::{Patience, now};
use crate::settings::{self, Settings};

/// When this program was built, in seconds since 1970 (`build.rs`).
const BUILT: &str = env!("TUFLINE_BUILT");

/// A device: its repository, what it keeps, and what it does with both.
#[derive(Debug)]
pub struct Device {
    settings: Settings,
    connection: Connection,
    updater: Updater<Folder>,
    deadline: Instant,
    /// Others wait while it lives.
    _lock: File,
}

/// A target that is in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedTarget {
    /// Its length in bytes.
    pub length: u64,
    /// So many of them came over the network now.
    pub received: u64,
}

impl Device {
    /// Begins to trust a root, which came with the device, and says the version of the one that is trusted then.
    ///
    /// # Errors
    /// [`Failure::Update`], [`Failure::File`].
    pub fn init(metadata_dir: &Path, root: &Path) -> Result<u64, Failure> {
        let (mut folder, _lock) = open(metadata_dir)?;
        let bytes = fs::read(root).map_err(Failure::file("read", root))?;
        Ok(tufline_client::begin_with(&mut folder, &bytes)?.version())
    }

    /// Begins an update; another process that updates in the same folder is waited for.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn open(settings: Settings) -> Result<Self, Failure> {
        let (mut folder, lock) = open(&settings.metadata_dir)?;
        if let Some(root) = &settings.root {
            let bytes = fs::read(root).map_err(Failure::file("read", root))?;
            tufline_client::begin_with(&mut folder, &bytes)?;
        }
        let connection = Connection::new(&settings)?;
        let updater = Updater::open(folder, clock(&settings), settings.limits)?;
        let deadline = now() + Duration::from_secs(settings.deadline.min(u64::from(u32::MAX)));
        Ok(Self { settings, connection, updater, deadline, _lock: lock })
    }

    /// Reads the newest metadata. It does that once: open another device for the next update.
    ///
    /// # Errors
    /// [`Failure`]: then what is kept is what it was, but for what was verified before that.
    pub fn refresh(&mut self) -> Result<(), Failure> {
        let asking = Asking { settings: &self.settings, connection: &self.connection, deadline: self.deadline };
        asking.feed(&mut self.updater)
    }

    /// What is listed of a target, by the newest metadata.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn find(&mut self, name: &str) -> Result<Option<FoundTarget>, Failure> {
        self.refresh()?;
        let asking = Asking { settings: &self.settings, connection: &self.connection, deadline: self.deadline };
        let Some(mut search) = self.updater.search(name) else { return Ok(None) };
        asking.feed(&mut search)?;
        Ok(search.found())
    }

    /// Puts a target's bytes at `to`, when they are verified, and in one step. What is there already isn't fetched; what was kept of a fetch that did
    /// not end is gone on with.
    ///
    /// # Errors
    /// [`Failure`]: then what is at `to` is what was there.
    pub fn fetch(&self, found: &FoundTarget, to: &Path) -> Result<FetchedTarget, Failure> {
        let length = found.target.length;
        if part::is_there(found, to).map_err(Failure::file("read", to))? {
            return Ok(FetchedTarget { length, received: 0 });
        }
        let (mut received, mut anew) = (0, false);
        loop {
            let mut part = Part::open(found, to).map_err(Failure::file("written", to))?;
            let kept = part.length();
            let answers = self.fill(&mut part, found, &mut received)?;
            match part.finish(to).map_err(Failure::file("written", to))? {
                Ok(()) => return Ok(FetchedTarget { length, received }),
                // It may be what was kept that is damaged, or one of several answers that was another's: once more, from the beginning.
                Err(_) if !anew && (kept > 0 || answers > 1) => anew = true,
                Err(why) => return Err(Failure::Target { name: found.name.clone(), why }),
            }
        }
    }

    /// Finds a target and puts its bytes at `to` ([`Self::find`], [`Self::fetch`]).
    ///
    /// # Errors
    /// [`Failure`].
    pub fn find_and_fetch(&mut self, name: &str, to: &Path) -> Result<FetchedTarget, Failure> {
        let found = self.find(name)?.ok_or_else(|| Failure::NoSuchTarget(name.to_owned()))?;
        self.fetch(&found, to)
    }

    /// The version of the root that is trusted.
    #[must_use]
    pub fn root_version(&self) -> u64 {
        self.updater.root().version()
    }

    /// Asks until the target is whole, and says how often.
    fn fill(&self, part: &mut Part<'_>, found: &FoundTarget, received: &mut u64) -> Result<u32, Failure> {
        let url = self.settings.target(&found.path)?;
        let (mut patience, mut answers) = (Patience::new(self.settings.tries, self.deadline), 0);
        loop {
            let before = *received;
            answers += 1;
            let failure = match self.pour(&url, part, found, received)? {
                Ok(()) => return Ok(answers),
                Err(failure) => failure,
            };
            part.sync().map_err(Failure::file("written", self.settings.metadata_dir.as_path()))?;
            if *received > before {
                patience.progressed();
            }
            if !failure.is_passing() || !patience.again() {
                return Err(Failure::Network { url: settings::shown(&url), failure });
            }
        }
    }

    /// One request, until the target is whole.
    fn pour(
        &self,
        url: &str,
        part: &mut Part<'_>,
        found: &FoundTarget,
        received: &mut u64,
    ) -> Result<Result<(), NetworkFailure>, Failure> {
        if part.is_whole() {
            return Ok(Ok(()));
        }
        let written = || Failure::file("written", Path::new(&found.name));
        let mut file = match self.connection.file(url, part.length(), part.etag()) {
            Ok(http::Answer::File(file)) => file,
            Ok(http::Answer::Missing) => return Err(Error::Missing(format!("target {}", found.name)).into()),
            Ok(http::Answer::Forbidden) => return Ok(Err(NetworkFailure::Status(403))),
            // What is asked for isn't there any more: another file, or a server that cuts it otherwise.
            Err(NetworkFailure::Status(416)) if part.length() > 0 => {
                part.begin_anew().map_err(written())?;
                return Ok(Err(NetworkFailure::Broken("the server has no such part of the file".to_owned())));
            }
            Err(failure) => return Ok(Err(failure)),
        };
        // A part's place is in its fields. Of a whole file only its length tells it from a page in its place, which must not cost what was kept.
        let is_part = file.from > 0;
        let fits = file.length.map(|length| Some(length) == found.target.length.checked_sub(file.from));
        if fits == Some(false) || (fits.is_none() && !is_part && part.length() > 0) {
            let why = "another file came, in place of the target: look whether something on the way asks for a sign-in";
            return Ok(Err(NetworkFailure::NotADocument(why.to_owned())));
        }
        if file.from != part.length() {
            part.begin_anew().map_err(written())?;
            if is_part {
                return Ok(Err(NetworkFailure::Broken(
                    "the server answers another part than was asked for".to_owned(),
                )));
            }
        }
        part.set_etag(file.etag.take());
        let mut piece = vec![0; 1 << 16];
        loop {
            let read = match file.read(&mut piece) {
                Ok([]) if part.is_whole() => return Ok(Ok(())),
                Ok([]) => Err(NetworkFailure::Broken("the answer ended too early".to_owned())),
                read => read,
            };
            let bytes = match read {
                Ok(bytes) => bytes,
                Err(failure) => {
                    if fits.is_none() && !is_part {
                        part.begin_anew().map_err(written())?;
                    }
                    return Ok(Err(failure));
                }
            };
            *received += bytes.len() as u64;
            if part.length() + bytes.len() as u64 > found.target.length {
                part.begin_anew().map_err(written())?;
                let why = format!("it has more than the {} bytes that are listed", found.target.length);
                return Err(Failure::Target { name: found.name.clone(), why });
            }
            part.add(bytes).map_err(written())?;
        }
    }
}

/// How documents are asked for.
struct Asking<'d> {
    settings: &'d Settings,
    connection: &'d Connection,
    deadline: Instant,
}

impl Asking<'_> {
    /// Gives it what it needs until it needs nothing.
    fn feed(&self, machine: &mut impl Machine) -> Result<(), Failure> {
        while let Need::File(file) = machine.need()? {
            let url = self.settings.metadata(&file.path)?;
            let mut patience = Patience::new(self.settings.tries, self.deadline);
            while let Err(failure) = self.hand_over(machine, &url, &file)? {
                if !failure.is_passing() || !patience.again() {
                    return Err(Failure::Network { url: settings::shown(&url), failure });
                }
            }
        }
        Ok(())
    }

    /// Asks for a document once, and gives it.
    fn hand_over(
        &self,
        machine: &mut impl Machine,
        url: &str,
        file: &NeededFile,
    ) -> Result<Result<(), NetworkFailure>, Failure> {
        let bytes = match self.connection.document(url, file.most) {
            Ok(bytes) => bytes,
            Err(NetworkFailure::Status(403)) if file.may_be_missing => None,
            Err(failure) => return Ok(Err(failure)),
        };
        match machine.give(bytes.as_deref().map_or(Answer::Missing, Answer::Bytes)) {
            // A page in its place (a captive portal), or half of it: somebody on the way, for a while.
            Err(Error::Refused { why: Why::Invalid(why @ tufline_client::Invalid::Json(_)), .. }) => {
                Ok(Err(NetworkFailure::NotADocument(why.to_string())))
            }
            given => Ok(Ok(given?)),
        }
    }
}

/// What needs documents.
trait Machine {
    fn need(&mut self) -> Result<Need, Error<io::Error>>;
    fn give(&mut self, answer: Answer<'_>) -> Result<(), Error<io::Error>>;
}

impl Machine for Updater<Folder> {
    fn need(&mut self) -> Result<Need, Error<io::Error>> {
        Updater::need(self)
    }

    fn give(&mut self, answer: Answer<'_>) -> Result<(), Error<io::Error>> {
        Updater::give(self, answer)
    }
}

impl Machine for Search<'_, Folder> {
    fn need(&mut self) -> Result<Need, Error<io::Error>> {
        Search::need(self)
    }

    fn give(&mut self, answer: Answer<'_>) -> Result<(), Error<io::Error>> {
        Search::give(self, answer)
    }
}

fn open(metadata_dir: &Path) -> Result<(Folder, File), Failure> {
    let folder = Folder::open(metadata_dir).map_err(Failure::file("written", metadata_dir))?;
    let lock = folder.lock().map_err(Failure::file("written", metadata_dir))?;
    Ok((folder, lock))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the edge: here the device's clock is read, once an update (TUF specification 5.1)"
)]
fn clock(settings: &Settings) -> Clock {
    let built = BUILT.parse().ok().and_then(|seconds| Time::from_second(seconds).ok());
    let floor = built.map(|built| Floor { built, longest_timestamp: settings.longest_timestamp() });
    let floor = floor.filter(|_| !settings.believe_clock);
    Clock { now: jiff::Timestamp::now(), floor }
}
