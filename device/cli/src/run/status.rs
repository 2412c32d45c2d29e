//! The status that a device reports to its supervisor.

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::Path;

use serde::{Deserialize, Serialize};
use tufline_client::{Time, stored_name};

use crate::durable::with_suffix;

/// What a device is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It waits for the next check, and runs what it was told to install.
    #[default]
    Idle,
    /// It asks what the repository lists.
    Checking,
    /// It downloads.
    Downloading,
    /// The release to install is downloaded or known. It waits for the window, for tomorrow's
    /// bytes, or because the install command asked for it.
    Waiting,
    /// The install command runs.
    Installing,
    /// The release is installed, but `confirm` doesn't say yet that the device runs it.
    Unconfirmed,
    /// The listed release failed to install too often, and isn't tried again.
    GivenUp,
    /// The last check, download or install failed. It will be retried.
    Failing,
}

/// The status file. Programs read it: fields keep their names, and new ones may be added.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Status {
    /// What the device is doing.
    pub state: State,
    /// Since when it has been doing that.
    pub since: Option<Time>,
    /// The target's name.
    pub target: String,
    /// The digest of what the device runs, if that is known.
    pub installed: Option<String>,
    /// The digest that the repository listed at the last check.
    pub listed: Option<String>,
    /// The custom metadata of the listed release.
    pub custom: Option<serde_json::Value>,
    /// How often the install command was started for it without being known to have worked.
    pub attempts: u32,
    /// The time of the last check.
    pub last_check: Option<Time>,
    /// The time of the last successful check.
    pub last_success: Option<Time>,
    /// The time of the next check, if nobody sets the clock.
    pub next_check: Option<Time>,
    /// The versions of the trusted metadata.
    pub metadata: Versions,
    /// The bytes received today (UTC).
    pub bytes_today: u64,
    /// The last failure since the last success.
    pub failure: Option<LastFailure>,
}

/// The last failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LastFailure {
    /// The kind: that of `Failure::kind`, or `"install"`.
    pub kind: &'static str,
    /// The message.
    pub message: String,
    /// The time of the failure.
    pub at: Time,
    /// The number of failures in a row.
    pub count: u32,
}

/// The versions of the stored documents.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Versions {
    /// The root.
    pub root: Option<u64>,
    /// The timestamp.
    pub timestamp: Option<u64>,
    /// The snapshot.
    pub snapshot: Option<u64>,
    /// The top-level targets.
    pub targets: Option<u64>,
}

#[derive(Deserialize)]
struct Document {
    signed: Signed,
}

#[derive(Deserialize)]
struct Signed {
    version: u64,
}

impl Versions {
    /// Reads the versions from the documents in this folder, which were verified when they came.
    pub fn read(metadata_dir: &Path) -> Self {
        let version = |role| {
            let file = BufReader::new(File::open(metadata_dir.join(stored_name(role))).ok()?);
            Some(serde_json::from_reader::<_, Document>(file).ok()?.signed.version)
        };
        Self {
            root: version("root"),
            timestamp: version("timestamp"),
            snapshot: version("snapshot"),
            targets: version("targets"),
        }
    }
}

/// Replaces the status file in one step. The file needn't be durable: it describes a process, and
/// the next process writes its own.
pub fn write(path: &Path, status: &Status) -> io::Result<()> {
    let unfinished = with_suffix(path, ".new");
    fs::write(&unfinished, serde_json::to_vec(status)?)?;
    fs::rename(unfinished, path)
}
