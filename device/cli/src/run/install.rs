//! Runs one install command at a time, and finds out afterwards whether it worked.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::path::Path;
use std::time::Duration;

use crate::durable;
use crate::failure::Failure;
use crate::patience::now;
use crate::run::journal::{Attempt, Confirmed, Due, Ending, Release, Stage};
use crate::run::program::{Ended, Program, told};
use crate::run::runner::{Interrupted, Outcome, Runner, TICK};
use crate::run::status::State;

/// The longest that `confirm` may take.
const LONGEST_CONFIRM: Duration = Duration::from_mins(1);

/// The exit code with which a command asks to be started later (`EX_TEMPFAIL` of `sysexits.h`).
const LATER: i32 = 75;

impl Runner<'_> {
    /// Finds out, as far as possible, whether an earlier command worked. Returns whether that is
    /// still unknown.
    pub fn look_after_attempt(&mut self) -> Result<bool, Interrupted> {
        let Some(attempt) =
            self.journal.attempt.clone().filter(|_| self.journal.awaits_confirmation())
        else {
            return Ok(false);
        };
        if attempt.stage == Stage::Begun {
            self.event(&format!("installing {} was cut", attempt.release.told()));
            self.alone()?;
        }
        if self.run.confirm.is_empty() {
            return Ok(false);
        }
        self.confirm(&attempt)
    }

    /// Runs the install command on a verified file.
    pub fn install(
        &mut self,
        release: &Release,
        number: u32,
        file: &Path,
    ) -> Result<Outcome, Interrupted> {
        let input = self.alone()?;
        let before = self.journal.clone();
        self.journal.begin(release.clone(), number, boot());
        // On disk before the command starts: after any interruption, the device knows that it may
        // have started.
        self.save().inspect_err(|_| self.journal.clone_from(&before))?;
        let tries = self.run.install_tries;
        self.event(&format!("installing {}, try {number} of {tries}", release.told()));
        self.now(State::Installing);
        let command = self.run.install.clone();
        let ended = self.start(
            &command,
            Some(file),
            release,
            number,
            Some(input),
            self.run.install_timeout(),
        );
        let ending = match &ended {
            Ended::Exit(status) if status.success() => Ending::Done,
            Ended::Exit(status) if status.code() == Some(LATER) => {
                self.journal.put_off(before);
                self.save()?;
                let told = release.told();
                self.event(&format!("{told}: the install command asks to be started later"));
                return Ok(Outcome::PutOff);
            }
            ended => Ending::Failed(told(ended)),
        };
        self.journal.ended(ending.clone(), !self.run.confirm.is_empty());
        self.save()?;
        match ending {
            Ending::Done => self.done(release),
            Ending::Failed(why) => Ok(self.not_installed(release, &why)),
        }
    }

    fn done(&mut self, release: &Release) -> Result<Outcome, Interrupted> {
        let Some(attempt) = self.journal.attempt.clone() else {
            self.event(&format!("installed {}", release.told()));
            self.tidy(None);
            return Ok(Outcome::Installed);
        };
        self.confirm(&attempt)?;
        Ok(match self.journal.attempt.as_ref().map(|attempt| &attempt.stage) {
            None => {
                self.tidy(None);
                Outcome::Installed
            }
            Some(Stage::Failed(_)) => Outcome::NotInstalled,
            Some(Stage::Begun | Stage::Written) => {
                self.event(&format!("{} is installed, and not confirmed yet", release.told()));
                Outcome::Unconfirmed
            }
        })
    }

    fn not_installed(&mut self, release: &Release, why: &str) -> Outcome {
        let next = match self.due(&release.digest) {
            Due::GivenUp => "it is not tried again",
            _ => "it is tried again",
        };
        let message = format!("installing {} failed: the command {why}; {next}", release.told());
        self.event(&message);
        self.note_failure("install", message);
        if self.due(&release.digest) == Due::GivenUp {
            self.tidy(None);
        }
        Outcome::NotInstalled
    }

    /// Asks `confirm` whether the device runs the attempted release. Returns whether that is still
    /// unknown.
    fn confirm(&mut self, attempt: &Attempt) -> Result<bool, Interrupted> {
        let command = self.run.confirm.clone();
        let Attempt { release, number, .. } = attempt;
        let ended = self.start(&command, None, release, *number, None, LONGEST_CONFIRM);
        let confirmed = match &ended {
            Ended::Exit(status) if status.success() => Confirmed::Yes,
            Ended::Exit(status) if status.code() != Some(LATER) => Confirmed::No,
            ended => {
                self.event(&format!(
                    "whether {} runs can't be said yet: confirm {}",
                    release.told(),
                    told(ended)
                ));
                Confirmed::Unknown
            }
        };
        self.journal.confirmed(confirmed, boot().as_deref());
        match self.journal.attempt.as_ref().map(|attempt| attempt.stage.clone()) {
            None => {
                // No tidying here: a newer release's verified file may be waiting.
                self.event(&format!("installed {}: it is confirmed", release.told()));
                self.save()?;
            }
            Some(Stage::Failed(why)) => {
                self.event(&format!("installing {} failed: {why}", release.told()));
                self.note_failure("install", why);
                self.save()?;
            }
            Some(Stage::Begun | Stage::Written) => {}
        }
        Ok(confirmed == Confirmed::Unknown)
    }

    fn start(
        &mut self,
        command: &[String],
        file: Option<&Path>,
        release: &Release,
        number: u32,
        input: Option<File>,
        longest: Duration,
    ) -> Ended {
        let mut variables: Vec<(&'static str, OsString)> = vec![
            ("TUFLINE_TARGET", release.target.clone().into()),
            ("TUFLINE_LENGTH", release.length.to_string().into()),
            ("TUFLINE_SHA256", release.sha256.clone().unwrap_or_default().into()),
            ("TUFLINE_CUSTOM", release.custom.clone().unwrap_or_default().into()),
            ("TUFLINE_ATTEMPT", number.to_string().into()),
        ];
        variables.extend(file.map(|file| ("TUFLINE_FILE", file.into())));
        let program =
            Program { command, file: file.unwrap_or(Path::new("")), variables, input, longest };
        // A signal to end this program waits for the command: otherwise nobody would know what the
        // command left behind.
        program.run(|| {
            self.signals.wait(TICK);
            self.supervisor.alive();
        })
    }

    /// A locked file; the lock lives as long as the returned file, or a command that inherited it.
    /// Waits for a command that an earlier process started, as long as a command may take. If that
    /// still runs by then, the file is not locked, and the caller goes on.
    fn alone(&mut self) -> Result<File, Interrupted> {
        let path = self.settings.metadata_dir.join("install.lock");
        let file = durable::create_or_open(&path).map_err(Failure::file("written", &path))?;
        let until = now() + self.run.install_timeout();
        let mut is_told = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::Error(error)) => {
                    return Err(Failure::file("locked", &path)(error).into());
                }
                Err(TryLockError::WouldBlock) if now() >= until => {
                    self.event("what an earlier install command started still runs; it isn't waited for any more");
                    return Ok(file);
                }
                Err(TryLockError::WouldBlock) => {}
            }
            if !is_told {
                self.event(
                    "an install command that was started before still runs; waiting for its end",
                );
                self.now(State::Installing);
                is_told = true;
            }
            self.signals.wait(TICK);
            self.supervisor.alive();
            if self.signals.ends() {
                return Err(Interrupted::Ends);
            }
        }
    }
}

/// Identifies one run of the kernel (`random(4)`).
fn boot() -> Option<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned())
}
