//! What a device remembers of what it installs, over kills and reboots. Pure: whoever changes it
//! writes it down.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

/// What a device remembers.
///
/// *Invariant*: for one wish (the bytes that the repository lists, for as long as the device sees
/// no others) the install command is started so often as it may be tried, and never after it
/// worked. [`Journal::begin`] is on disk before the command starts: that is what makes it so.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    /// The digest of what the device runs, as far as is known.
    pub installed: Option<String>,
    /// What was begun, and isn't known to have worked.
    pub attempt: Option<Attempt>,
    /// What came over the network.
    #[serde(default)]
    pub bytes: Bytes,
}

/// What the repository lists under the target's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// The target's name.
    pub target: String,
    /// The digest by which it is told from others: SHA-256, where that is listed.
    pub digest: String,
    /// Its SHA-256, if listed.
    pub sha256: Option<String>,
    /// In bytes.
    pub length: u64,
    /// Its custom metadata as JSON.
    pub custom: Option<String>,
}

/// The tries to install a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// What is installed.
    pub release: Release,
    /// The command was started so often.
    pub number: u32,
    /// What became of the last start.
    pub stage: Stage,
    /// In which run of the kernel that was (`/proc/sys/kernel/random/boot_id`).
    pub boot: Option<String>,
}

/// What became of an install command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// It was started, and nobody saw it end: it runs, or it was cut.
    Begun,
    /// It worked, and `confirm` doesn't say yet that the device runs the release.
    Written,
    /// It failed, so.
    Failed(String),
}

/// How an install command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// It worked.
    Done,
    /// It asks to be started later, and did nothing.
    PutOff,
    /// It failed, so.
    Failed(String),
}

/// What `confirm` says of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirmed {
    /// The device runs it.
    Yes,
    /// It doesn't.
    No,
    /// It can't be said yet.
    Unknown,
}

/// What is to be done about what is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Nothing: the device runs it.
    Nothing,
    /// Nothing more: it failed too often.
    GivenUp,
    /// Nothing for now: it is installed, and the device doesn't run it yet.
    Confirmation,
    /// To install it. It is the try with this number.
    Install(u32),
}

impl Journal {
    /// What is to be done about what is listed, where one release is tried so often.
    pub fn due(&self, listed: &str, tries: u32) -> Due {
        match &self.attempt {
            Some(attempt) if attempt.release.digest == listed => match attempt.stage {
                Stage::Written => Due::Confirmation,
                Stage::Begun | Stage::Failed(_) if attempt.number >= tries => Due::GivenUp,
                Stage::Begun | Stage::Failed(_) => Due::Install(attempt.number + 1),
            },
            // Another release may have been installed, in part or whole. What ran before it may not
            // any more.
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

    /// The device saw that this is listed. What failed isn't wished any more where it is another
    /// release: if it is listed again later, that is a new wish.
    pub fn see(&mut self, listed: &str) {
        self.attempt.take_if(|attempt| attempt.release.digest != listed && matches!(attempt.stage, Stage::Failed(_)));
    }

    /// The command is about to be started.
    pub fn begin(&mut self, release: Release, number: u32, boot: Option<String>) {
        // What was begun before may have worked, of this release too: what ran before that may not
        // run any more.
        if self.attempt.as_ref().is_some_and(|before| !matches!(before.stage, Stage::Failed(_))) {
            self.installed = None;
        }
        self.attempt = Some(Attempt { release, number, stage: Stage::Begun, boot });
    }

    /// The command ended. With `confirms` another command says whether the device runs the release.
    pub fn ended(&mut self, ending: Ending, confirms: bool) {
        let Some(attempt) = &mut self.attempt else { return };
        match ending {
            Ending::Done if confirms => attempt.stage = Stage::Written,
            Ending::Done => self.works(),
            Ending::PutOff if attempt.number <= 1 => self.attempt = None,
            Ending::PutOff => attempt.number -= 1,
            Ending::Failed(why) => attempt.stage = Stage::Failed(why),
        }
    }

    /// Whether it is for `confirm` to say what became of the attempt.
    pub fn awaits_confirmation(&self) -> bool {
        self.attempt.as_ref().is_some_and(|attempt| !matches!(attempt.stage, Stage::Failed(_)))
    }

    /// What `confirm` says of the attempt, in this run of the kernel.
    pub fn confirmed(&mut self, confirmed: Confirmed, boot: Option<&str>) {
        let Some(attempt) = &mut self.attempt else { return };
        match (confirmed, &attempt.stage) {
            (Confirmed::Yes, Stage::Begun | Stage::Written) => self.works(),
            (Confirmed::No, Stage::Written) if boot.is_none() || boot != attempt.boot.as_deref() => {
                let why = "the device started anew, and doesn't run it".to_owned();
                attempt.stage = Stage::Failed(why);
            }
            // It is tried again, if it may be, or its reboot is still to come.
            _ => {}
        }
    }

    /// The device runs what was begun.
    fn works(&mut self) {
        if let Some(attempt) = self.attempt.take() {
            self.installed = Some(attempt.release.digest);
        }
    }
}

/// How many bytes came over the network on a day (UTC).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bytes {
    /// The day. `None` before the first.
    pub day: Option<Date>,
    /// So many, or a few more (`round.rs` counts ahead).
    pub count: u64,
}

impl Bytes {
    /// The count of today. A clock that was put back doesn't begin a new count; nor does one that
    /// is plainly wrong, which says no day (`None`).
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
