//! What a device remembers about its installations across kills and reboots. This module is pure:
//! its callers write the journal to disk.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

/// What a device remembers.
///
/// *Invariant*: a wish is the bytes that the repository lists, for as long as the device sees no
/// others. For one wish, the install command starts at most as often as allowed, and never once the
/// device knows that it worked. This holds because [`Journal::begin`] is on disk before the command starts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    /// The digest of what the device runs, if that is known.
    pub installed: Option<String>,
    /// The installation that was begun and isn't known to have worked.
    pub attempt: Option<Attempt>,
    /// The bytes received over the network today.
    #[serde(default)]
    pub bytes: Bytes,
}

/// The release that the repository lists under the target's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// The target's name.
    pub target: String,
    /// The digest that identifies it: its SHA-256, if the repository lists one.
    pub digest: String,
    /// Its SHA-256, if listed.
    pub sha256: Option<String>,
    /// Its length in bytes.
    pub length: u64,
    /// Its custom metadata as JSON.
    pub custom: Option<String>,
}

/// The attempts to install a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The release.
    pub release: Release,
    /// How often the command was started for the present wish; 0 if another release is listed.
    pub number: u32,
    /// The result of the last start.
    pub stage: Stage,
    /// The run of the kernel in which that was (`/proc/sys/kernel/random/boot_id`).
    pub boot: Option<String>,
}

/// The result of an install command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// It was started, and nobody saw it end: it is running, or was interrupted.
    Begun,
    /// It worked, and `confirm` doesn't say yet that the device runs the release.
    Written,
    /// It failed, for this reason.
    Failed(String),
}

/// How an install command ended, if it did something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// It worked.
    Done,
    /// It failed, for this reason.
    Failed(String),
}

/// The answer of `confirm` about a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirmed {
    /// The device runs it.
    Yes,
    /// It doesn't.
    No,
    /// The device can't tell yet.
    Unknown,
}

/// The next step for the listed release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// None: the device runs it.
    Nothing,
    /// None any more: it failed too often.
    GivenUp,
    /// None for now: it is installed, and the device doesn't run it yet.
    Confirmation,
    /// Install it, as the try with this number.
    Install(u32),
}

impl Journal {
    /// The next step for the listed release, with this many tries for each release.
    pub fn due(&self, listed: &str, tries: u32) -> Due {
        match &self.attempt {
            Some(attempt) if attempt.release.digest == listed => match attempt.stage {
                Stage::Written => Due::Confirmation,
                Stage::Begun | Stage::Failed(_) if attempt.number >= tries => Due::GivenUp,
                Stage::Begun | Stage::Failed(_) => Due::Install(attempt.number + 1),
            },
            // Another release may have been installed, in part or whole, so the device may no
            // longer run what it ran before.
            Some(Attempt { stage: Stage::Begun | Stage::Written, .. }) => Due::Install(1),
            Some(Attempt { stage: Stage::Failed(_), .. }) | None => {
                if self.installed.as_deref() == Some(listed) {
                    Due::Nothing
                } else {
                    Due::Install(1)
                }
            }
        }
    }

    /// Records that the repository lists this. If the release of an attempt that isn't listed any
    /// more is listed again later, that is a new wish, with tries of its own.
    pub fn see(&mut self, listed: &str) {
        let Some(attempt) = &mut self.attempt else { return };
        if attempt.release.digest == listed {
            return;
        }
        attempt.number = 0;
        if matches!(attempt.stage, Stage::Failed(_)) {
            self.attempt = None;
        }
    }

    /// Records that the command is about to start.
    pub fn begin(&mut self, release: Release, number: u32, boot: Option<String>) {
        // An earlier attempt may have worked, even at this release, so the device may no longer run
        // what it ran before.
        if self.attempt.as_ref().is_some_and(|before| !matches!(before.stage, Stage::Failed(_))) {
            self.installed = None;
        }
        self.attempt = Some(Attempt { release, number, stage: Stage::Begun, boot });
    }

    /// Records that the command did nothing, and asks to be started later: as if it had not been
    /// started. `before` is the journal before [`Journal::begin`], and may hold another release,
    /// which was cut or is still to be confirmed.
    pub fn put_off(&mut self, before: Self) {
        (self.attempt, self.installed) = (before.attempt, before.installed);
    }

    /// Records the command's end. With `confirms`, another command decides whether the device runs
    /// the release.
    pub fn ended(&mut self, ending: Ending, confirms: bool) {
        let Some(attempt) = &mut self.attempt else { return };
        match ending {
            Ending::Done if confirms => attempt.stage = Stage::Written,
            Ending::Done => self.works(),
            Ending::Failed(why) => attempt.stage = Stage::Failed(why),
        }
    }

    /// Whether `confirm` must say if the attempt worked.
    pub fn awaits_confirmation(&self) -> bool {
        self.attempt.as_ref().is_some_and(|attempt| !matches!(attempt.stage, Stage::Failed(_)))
    }

    /// Records the answer of `confirm` in this run of the kernel.
    pub fn confirmed(&mut self, confirmed: Confirmed, boot: Option<&str>) {
        let Some(attempt) = &mut self.attempt else { return };
        match (confirmed, &attempt.stage) {
            (Confirmed::Yes, Stage::Begun | Stage::Written) => self.works(),
            (Confirmed::No, Stage::Written)
                if boot.is_none() || boot != attempt.boot.as_deref() =>
            {
                let why = "the device started anew, and doesn't run it".to_owned();
                attempt.stage = Stage::Failed(why);
            }
            // The attempt may be tried again, or its reboot is still to come.
            _ => {}
        }
    }

    /// Records that the device runs the attempted release.
    fn works(&mut self) {
        if let Some(attempt) = self.attempt.take() {
            self.installed = Some(attempt.release.digest);
        }
    }
}

/// The bytes received over the network on one day (UTC).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bytes {
    /// The day; `None` before the first one.
    pub day: Option<Date>,
    /// The bytes, or a few more (`runner.rs` counts ahead).
    pub count: u64,
}

impl Bytes {
    /// Today's count. A clock that was set back doesn't start a new count. Nor does a clock that is
    /// plainly wrong, for which `today` is `None`.
    pub fn on(self, today: Option<Date>) -> Self {
        match (self.day, today) {
            (Some(day), Some(today)) if today > day => Self { day: Some(today), count: 0 },
            (_, Some(today)) => Self { day: Some(today), ..self },
            (_, None) => self,
        }
    }
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
