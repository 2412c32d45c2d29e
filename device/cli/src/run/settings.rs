//! The settings of installations.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::failure::Failure;
use crate::run::schedule::Pace;
use crate::run::window::Window;

/// The settings of installations: the table `[run]` of a device's settings. Times are in seconds.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RunSettings {
    /// The target to install.
    pub target: String,
    /// The program that installs a file, and its arguments, in which `{file}` stands for the file's
    /// path.
    pub install: Vec<String>,
    /// The program that exits with 0 if the device runs the installed release. Without it, the
    /// device trusts an install command that exits with 0.
    #[serde(default)]
    pub confirm: Vec<String>,
    /// The interval between checks.
    #[serde(default = "default_every")]
    pub every: u64,
    /// The most random time added to a wait, and the most random wait after a start.
    #[serde(default = "default_jitter")]
    pub jitter: u64,
    /// The window for installations, in the device's local time. Default: any time.
    #[serde(default)]
    pub window: Option<Window>,
    /// Whether it downloads only in the window.
    #[serde(default)]
    pub download_in_window: bool,
    /// The most bytes on a day (UTC): bodies of answers, as they are sent.
    #[serde(default)]
    pub max_bytes_per_day: Option<u64>,
    /// What the device runs now, as a file or a block device: it copies from there what a new
    /// release still has, and fetches the rest, if the repository makes chunks.
    #[serde(default)]
    pub seed: Option<PathBuf>,
    /// The folder for files that wait for installation. Default: the folder `download` in that of
    /// the metadata.
    #[serde(default)]
    pub download_dir: Option<PathBuf>,
    /// The path of the status file.
    #[serde(default)]
    pub status: Option<PathBuf>,
    /// How often the install command is started for the same bytes.
    #[serde(default = "default_install_tries")]
    pub install_tries: u32,
    /// The longest that the install command may take. Then it is stopped, and has failed.
    #[serde(default = "default_install_timeout")]
    pub install_timeout: u64,
    /// The digest, in hexadecimal, of the release installed at the factory.
    #[serde(default)]
    pub installed_digest: Option<String>,
    /// A file with the bytes of that release, in place of its digest.
    #[serde(default)]
    pub installed_file: Option<PathBuf>,
}

impl RunSettings {
    /// Checks that the settings can be used.
    pub(crate) fn check(run: Option<Self>) -> Result<Self, Failure> {
        let no_table = || {
            wrong("no table [run] is there: it says the target, and the command that installs it")
        };
        let run = run.ok_or_else(no_table)?;
        if run.install.first().is_none_or(String::is_empty) {
            return Err(wrong(
                "install names no program: install = [\"/usr/lib/firmware/install\", \"{file}\"]",
            ));
        }
        if run.every == 0 || run.install_tries == 0 || run.install_timeout == 0 {
            return Err(wrong("every, install-tries and install-timeout are 1 at least"));
        }
        if let Some(digest) = &run.installed_digest
            && !(digest.len() >= 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()))
        {
            return Err(wrong(
                "installed-digest is no digest: write the SHA-256 as 64 hexadecimal digits",
            ));
        }
        Ok(run)
    }

    pub(crate) fn pace(&self) -> Pace {
        Pace { every: seconds(self.every), jitter: seconds(self.jitter) }
    }

    pub(crate) fn install_timeout(&self) -> Duration {
        seconds(self.install_timeout)
    }

    pub(crate) fn download_dir(&self, metadata_dir: &Path) -> PathBuf {
        self.download_dir.clone().unwrap_or_else(|| metadata_dir.join("download"))
    }
}

/// The longest time that clocks can count: 136 years.
fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds.min(u64::from(u32::MAX)))
}

fn wrong(why: &str) -> Failure {
    Failure::Settings(format!("the settings of run can't be used: {why}"))
}

fn default_every() -> u64 {
    3600
}

fn default_jitter() -> u64 {
    600
}

fn default_install_tries() -> u32 {
    3
}

fn default_install_timeout() -> u64 {
    3600
}
