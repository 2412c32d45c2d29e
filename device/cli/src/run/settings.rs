//! What a device is told of what it installs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::failure::Failure;
use crate::run::schedule::Pace;
use crate::run::window::Window;

/// What a device is told of what it installs: the table `[run]` of its settings. Times are in
/// seconds.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RunSettings {
    /// The target whose bytes are installed.
    pub target: String,
    /// The program that installs a file, with its arguments, in which `{file}` stands for the
    /// file's path.
    pub install: Vec<String>,
    /// The program that says, by ending with 0, that the device runs what was installed. Without
    /// one an install command that ends with 0 is believed.
    #[serde(default)]
    pub confirm: Vec<String>,
    /// It asks so often.
    #[serde(default = "default_every")]
    pub every: u64,
    /// It waits so much longer at most, by chance; so long at most when it starts, too.
    #[serde(default = "default_jitter")]
    pub jitter: u64,
    /// When it may install, in the local time of the device. At any time, if it isn't said.
    #[serde(default)]
    pub window: Option<Window>,
    /// Whether it downloads in the window only.
    #[serde(default)]
    pub download_in_window: bool,
    /// So many bytes come on a day (UTC) at most: bodies of answers, as they are sent.
    #[serde(default)]
    pub max_bytes_per_day: Option<u64>,
    /// Where files are that wait to be installed. By default the folder `download` in that of the
    /// metadata.
    #[serde(default)]
    pub download_dir: Option<PathBuf>,
    /// Where it says how it is.
    #[serde(default)]
    pub status: Option<PathBuf>,
    /// The install command is started so often for the same bytes.
    #[serde(default = "default_install_tries")]
    pub install_tries: u32,
    /// After so long it is ended, and has failed.
    #[serde(default = "default_install_timeout")]
    pub install_timeout: u64,
    /// The digest of what the device had installed at the factory, in hexadecimal.
    #[serde(default)]
    pub installed_digest: Option<String>,
    /// Or a file with these very bytes.
    #[serde(default)]
    pub installed_file: Option<PathBuf>,
}

impl RunSettings {
    /// Whether they can be used.
    pub(crate) fn check(run: Option<Self>) -> Result<Self, Failure> {
        let no_table = || wrong("no table [run] is there: it says the target, and the command that installs it");
        let run = run.ok_or_else(no_table)?;
        if run.install.first().is_none_or(String::is_empty) {
            return Err(wrong("install names no program: install = [\"/usr/lib/firmware/install\", \"{file}\"]"));
        }
        if run.every == 0 || run.install_tries == 0 || run.install_timeout == 0 {
            return Err(wrong("every, install-tries and install-timeout are 1 at least"));
        }
        if let Some(digest) = &run.installed_digest
            && !(digest.len() >= 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()))
        {
            return Err(wrong("installed-digest is no digest: write the SHA-256 as 64 hexadecimal digits"));
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

/// Clocks count no further than this, which is 136 years.
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
