//! A running device: its state, its reports, and its waits.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use tufline_client::Time;

use crate::device::{Control, built};
use crate::durable;
use crate::failure::Failure;
use crate::identity::Kept;
use crate::patience::{now, random_part};
use crate::run::journal::{Due, Journal};
use crate::run::settings::RunSettings;
use crate::run::signals::Signals;
use crate::run::status::{self, LastFailure, State, Status};
use crate::run::supervisor::Supervisor;
use crate::settings::Settings;

/// The result of a run, for the program's supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ran {
    /// Nothing is left to do: the device runs what is listed, or somebody asked the program to end.
    Done,
    /// A check or a download failed.
    Failed,
    /// An install failed, now or so often that it isn't tried again.
    NotInstalled,
    /// The listed release waits: for the window, for tomorrow's bytes, for its confirmation, or
    /// because the command asked for it.
    Waits,
}

/// The result of one round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Nothing,
    Installed,
    /// The release waits for its window.
    Closed,
    /// No more bytes may come today.
    Spent,
    PutOff,
    Unconfirmed,
    GivenUp,
    NotInstalled,
    Failed,
    /// Somebody asked the program to end.
    Ends,
}

/// Why a round stopped.
#[derive(Debug)]
pub enum Interrupted {
    Ends,
    Failure(Failure),
}

impl From<Failure> for Interrupted {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

/// How often the program checks on work in progress.
pub const TICK: Duration = Duration::from_millis(100);

/// The time to store a download's bytes when the program must end.
const GRACE: Duration = Duration::from_secs(5);

/// The longest wait before the program reads the wall clock again, since somebody may set it.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// The journal counts bytes ahead on disk, by a quarter of what was received, within these limits.
/// After a kill, the count is too high by at most that much. It is too low only if more than half
/// of that arrives between two checks ([`TICK`]).
const LEAST_AHEAD: u64 = 64 << 10;
const MOST_AHEAD: u64 = 4 << 20;

/// A device that runs.
pub struct Runner<'r> {
    pub settings: Settings,
    pub run: RunSettings,
    pub journal: Journal,
    pub status: Status,
    pub signals: Signals,
    pub supervisor: Supervisor,
    /// The device's keys from the last check.
    pub kept: Option<Kept>,
    /// The digest of the file in its place, if this process knows it.
    pub fetched: Option<String>,
    /// The digest of the release that was last reported as waiting.
    pub told_to_wait: Option<String>,
    tell: &'r dyn Fn(&str),
    journal_path: PathBuf,
    /// The journal on disk.
    on_disk: Journal,
    /// The bytes of the current [`Device`](crate::Device) that are counted already.
    counted: u64,
    /// The lock: another process waits while it lives.
    _lock: File,
}

/// Runs until it is asked to end, or for one check (`once`). Reports each event in one line.
///
/// # Errors
/// [`Failure::Settings`] or [`Failure::File`], if it can't start at all. Later failures are
/// reported and retried.
pub fn run(settings: Settings, once: bool, tell: &dyn Fn(&str)) -> Result<Ran, Failure> {
    let mut runner = Runner::open(settings, tell)?;
    runner.supervisor.tell("READY=1");
    let ran = if once { runner.once() } else { runner.forever() };
    runner.supervisor.tell("STOPPING=1");
    Ok(ran)
}

impl<'r> Runner<'r> {
    fn open(settings: Settings, tell: &'r dyn Fn(&str)) -> Result<Self, Failure> {
        let run = RunSettings::check(settings.run.clone())?;
        // Without the URL, every check would fail.
        settings.metadata("")?;
        let folder = &settings.metadata_dir;
        durable::create_folder(folder).map_err(Failure::file("written", folder))?;
        let lock = lock(&folder.join("run.lock"))?;
        let journal_path = folder.join("run.journal");
        let mut journal = read(&journal_path, tell)?;
        if journal.attempt.is_none() && journal.installed.is_none() {
            journal.installed =
                run.installed_digest.as_ref().map(|digest| digest.to_ascii_lowercase());
        }
        let signals =
            Signals::catch().map_err(Failure::file("written", "a socket for signals".as_ref()))?;
        let status =
            Status { target: run.target.clone(), since: Some(time()), ..Status::default() };
        Ok(Self {
            on_disk: journal.clone(),
            settings,
            run,
            journal,
            status,
            signals,
            supervisor: Supervisor::of_this_process(),
            kept: None,
            fetched: None,
            told_to_wait: None,
            tell,
            journal_path,
            counted: 0,
            _lock: lock,
        })
    }

    fn once(&mut self) -> Ran {
        match self.round() {
            Outcome::Nothing | Outcome::Installed | Outcome::Ends => Ran::Done,
            Outcome::Failed => Ran::Failed,
            Outcome::NotInstalled | Outcome::GivenUp => Ran::NotInstalled,
            Outcome::Closed | Outcome::Spent | Outcome::PutOff | Outcome::Unconfirmed => Ran::Waits,
        }
    }

    fn forever(&mut self) -> Ran {
        let pace = self.run.pace();
        let (mut wait, mut failed, mut closed) = (pace.first(random_part()), 0, false);
        self.event(&format!("begins: asks for {} within {}", self.run.target, told_time(wait)));
        loop {
            self.wait(wait, closed);
            if self.signals.ends() {
                self.event("ends, as it was told to");
                return Ran::Done;
            }
            let outcome = self.round();
            failed = match outcome {
                Outcome::Failed | Outcome::NotInstalled | Outcome::PutOff => failed + 1,
                _ => 0,
            };
            closed = outcome == Outcome::Closed;
            wait = pace.next(failed, random_part());
        }
    }

    /// Waits this long by the monotonic clock, or until a signal arrives. A wait for the window
    /// lasts until it opens, plus a random time.
    fn wait(&mut self, longest: Duration, for_window: bool) {
        let mut until = now() + longest;
        let opens_in = self.window_opens_in().filter(|_| for_window);
        let next = opens_in.map_or(longest, |opens_in| opens_in.min(longest));
        self.status.next_check = time().checked_add(next).ok().map(whole_seconds);
        self.show();
        let mut is_closed = for_window;
        loop {
            if is_closed && self.window_opens_in().is_none() {
                is_closed = false;
                let length = self.run.window.map_or(Duration::ZERO, |window| window.length());
                until = until.min(now() + self.run.pace().window(length, random_part()));
            }
            let left = until.saturating_duration_since(now());
            if left.is_zero() || self.signals.ends() || self.signals.take_check() {
                return;
            }
            self.supervisor.alive();
            let look = if is_closed {
                self.window_opens_in().unwrap_or_default().max(TICK)
            } else {
                LONGEST_WAIT
            };
            self.signals.wait(left.min(look).min(LONGEST_WAIT).min(self.supervisor.longest_wait()));
        }
    }

    /// Runs one round, and reports its result.
    fn round(&mut self) -> Outcome {
        let mut outcome = match self.try_round() {
            Ok(outcome) => outcome,
            Err(Interrupted::Ends) => Outcome::Ends,
            Err(Interrupted::Failure(failure)) => self.failed(&failure),
        };
        self.counted = 0;
        if let Err(failure) = self.save_if_changed()
            && outcome != Outcome::Failed
        {
            outcome = self.failed(&failure);
        }
        match outcome {
            Outcome::Nothing | Outcome::Installed | Outcome::Closed | Outcome::Unconfirmed => {
                self.status.failure = None;
            }
            _ => {}
        }
        self.now(match outcome {
            Outcome::Nothing | Outcome::Installed | Outcome::Ends => State::Idle,
            Outcome::Closed | Outcome::Spent | Outcome::PutOff => State::Waiting,
            Outcome::Unconfirmed => State::Unconfirmed,
            Outcome::GivenUp => State::GivenUp,
            Outcome::NotInstalled => {
                match self.status.listed.as_deref().map(|listed| self.due(listed)) {
                    Some(Due::GivenUp) => State::GivenUp,
                    _ => State::Failing,
                }
            }
            Outcome::Failed => State::Failing,
        });
        outcome
    }

    pub fn due(&self, listed: &str) -> Due {
        self.journal.due(listed, self.run.install_tries)
    }

    fn failed(&mut self, failure: &Failure) -> Outcome {
        self.event(&failure.to_string());
        self.note_failure(failure.kind(), failure.to_string());
        match failure {
            // The program doesn't wait for a download that would never fit.
            Failure::Budget { needs, .. }
                if self.run.max_bytes_per_day.is_some_and(|most| *needs <= most) =>
            {
                Outcome::Spent
            }
            _ => Outcome::Failed,
        }
    }

    pub fn note_failure(&mut self, kind: &'static str, message: String) {
        let count = self.status.failure.as_ref().map_or(0, |failure| failure.count) + 1;
        self.status.failure = Some(LastFailure { kind, message, at: time(), count });
    }

    /// Reports an event in one line.
    pub fn event(&self, line: &str) {
        (self.tell)(line);
    }

    /// Sets the state in the status.
    pub fn now(&mut self, state: State) {
        if self.status.state != state {
            self.status.state = state;
            self.status.since = Some(time());
        }
        self.show();
    }

    fn show(&mut self) {
        self.supervisor.alive();
        let Status { state, target, .. } = &self.status;
        let state = serde_json::to_value(state).unwrap_or_default();
        self.supervisor.tell(&format!("STATUS={}: {target}", state.as_str().unwrap_or_default()));
        let Some(path) = &self.run.status else { return };
        let listed = self.status.listed.as_deref();
        let attempt = self
            .journal
            .attempt
            .as_ref()
            .filter(|attempt| Some(&*attempt.release.digest) == listed);
        self.status.attempts = attempt.map_or(0, |attempt| attempt.number);
        self.status.installed.clone_from(&self.journal.installed);
        self.status.bytes_today = self.journal.bytes.on(self.today()).count;
        if let Err(error) = status::write(path, &self.status) {
            self.event(&Failure::file("written", path)(error).to_string());
        }
    }

    /// Writes the journal to disk.
    pub fn save(&mut self) -> Result<(), Failure> {
        self.write(self.journal.clone())
    }

    fn save_if_changed(&mut self) -> Result<(), Failure> {
        if self.journal == self.on_disk { Ok(()) } else { self.save() }
    }

    fn write(&mut self, journal: Journal) -> Result<(), Failure> {
        let failed = Failure::file("written", &self.journal_path);
        let written = serde_json::to_vec(&journal).map_err(io::Error::from);
        written.and_then(|bytes| durable::write(&self.journal_path, &bytes)).map_err(failed)?;
        self.on_disk = journal;
        Ok(())
    }

    /// Counts the bytes received since the last call.
    fn count(&mut self, control: &Control) -> Result<(), Failure> {
        let received = control.received();
        if received > self.counted {
            self.journal.bytes = self.journal.bytes.on(self.today());
            self.journal.bytes.count += received - self.counted;
            self.counted = received;
        }
        let (bytes, on_disk) = (self.journal.bytes, self.on_disk.bytes);
        let ahead = (received / 4).clamp(LEAST_AHEAD, MOST_AHEAD);
        let is_ahead = bytes.day == on_disk.day && bytes.count + ahead / 2 <= on_disk.count;
        if self.run.max_bytes_per_day.is_none() || received == 0 || is_ahead {
            return Ok(());
        }
        let mut journal = self.journal.clone();
        journal.bytes.count += ahead;
        self.write(journal)
    }

    /// The bytes that may still come, if there is a limit.
    pub fn bytes_left(&self) -> Option<u64> {
        let came = self.journal.bytes.on(self.today()).count;
        let today = self.run.max_bytes_per_day.map(|most| most.saturating_sub(came));
        [today, self.settings.max_bytes].into_iter().flatten().min()
    }

    /// Runs `work` in another thread. Meanwhile this thread gives signs of life, counts bytes and
    /// receives signals.
    pub fn beside<T: Send + 'static>(
        &mut self,
        control: Option<&Control>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Interrupted> {
        let (sender, receiver) = mpsc::sync_channel(1);
        let worker = thread::spawn(move || _ = sender.send(work()));
        let mut ends_at: Option<Instant> = None;
        loop {
            let came = receiver.recv_timeout(TICK);
            self.supervisor.alive();
            if let Some(control) = control {
                self.count(control).inspect_err(|_| control.stop())?;
            }
            match came {
                Ok(_) if self.signals.ends() => return Err(Interrupted::Ends),
                Ok(done) => return Ok(done),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                    return Err(Interrupted::Ends);
                }
            }
            if self.signals.ends() {
                if let Some(control) = control {
                    control.stop();
                }
                if now() >= *ends_at.get_or_insert_with(|| now() + GRACE) {
                    return Err(Interrupted::Ends);
                }
            }
        }
    }

    /// Today (UTC), unless the clock is plainly wrong.
    fn today(&self) -> Option<Date> {
        self.clock().map(|now| TimeZone::UTC.to_datetime(now).date())
    }

    /// How long until the window opens; `None` while it is open. While the clock is plainly wrong,
    /// the window counts as closed.
    pub fn window_opens_in(&self) -> Option<Duration> {
        let window = self.run.window?;
        let Some(now) = self.clock() else { return Some(LONGEST_WAIT) };
        let shown: DateTime = TimeZone::system().to_datetime(now);
        (!window.is_open(shown)).then(|| window.opens_in(shown))
    }

    /// The time, unless the clock is plainly wrong.
    fn clock(&self) -> Option<Time> {
        Some(time())
            .filter(|now| self.settings.believe_clock || built().is_none_or(|built| *now >= built))
    }
}

/// The time, in whole seconds.
#[expect(
    clippy::disallowed_methods,
    reason = "the edge: windows and days go by the device's clock"
)]
pub fn time() -> Time {
    whole_seconds(Time::now())
}

fn whole_seconds(time: Time) -> Time {
    Time::from_second(time.as_second()).unwrap_or(time)
}

/// A time span for people.
pub fn told_time(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}

fn lock(path: &Path) -> Result<File, Failure> {
    let file = durable::create_or_open(path).map_err(Failure::file("written", path))?;
    file.try_lock().map_err(|error| {
        let error = match error {
            fs::TryLockError::WouldBlock => {
                io::Error::other("another `tufline-device run` works with this folder")
            }
            fs::TryLockError::Error(error) => error,
        };
        Failure::file("locked", path)(error)
    })?;
    Ok(file)
}

/// Reads the journal. Puts a damaged one aside: its knowledge is lost, and the device installs the
/// listed release, as a new device does.
fn read(path: &Path, tell: &dyn Fn(&str)) -> Result<Journal, Failure> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Journal::default()),
        Err(error) => return Err(Failure::file("read", path)(error)),
    };
    serde_json::from_slice(&bytes).or_else(|error| {
        let aside = durable::with_suffix(path, ".damaged");
        durable::rename(path, &aside).map_err(Failure::file("written", &aside))?;
        tell(&format!(
            "{} is damaged ({error}), and begun anew; it is kept as {}",
            path.display(),
            aside.display()
        ));
        Ok(Journal::default())
    })
}
