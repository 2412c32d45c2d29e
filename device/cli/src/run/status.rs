//! What a device says of itself to whoever supervises it.

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
    /// It waits for the next check. What it was told to install it runs.
    #[default]
    Idle,
    /// It asks what is listed.
    Checking,
    /// It downloads.
    Downloading,
    /// What is to be installed is there, or known, and waits for the window, for bytes that may
    /// come tomorrow, or since the install command asked for that.
    Waiting,
    /// The install command runs.
    Installing,
    /// It was installed. The device doesn't run it yet, as far as `confirm` says.
    Unconfirmed,
    /// What is listed failed to install so often that it isn't tried again.
    GivenUp,
    /// The last check, download or install failed. It tries again.
    Failing,
}

/// The status file. Its fields are for programs: they keep their names, and others may be added.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Status {
    /// What it is doing.
    pub state: State,
    /// Since when.
    pub since: Option<Time>,
    /// The target.
    pub target: String,
    /// The digest of what the device runs, as far as is known.
    pub installed: Option<String>,
    /// The digest of what is listed, when it was last asked.
    pub listed: Option<String>,
    /// The custom metadata of that.
    pub custom: Option<serde_json::Value>,
    /// So often the install command was started for it, and not known to have worked.
    pub attempts: u32,
    /// When it last asked.
    pub last_check: Option<Time>,
    /// When it last asked and was answered.
    pub last_success: Option<Time>,
    /// When it asks next, if nobody sets the clock.
    pub next_check: Option<Time>,
    /// The versions of the metadata that it trusts.
    pub metadata: Versions,
    /// So many bytes came today (UTC).
    pub bytes_today: u64,
    /// What failed last, since the last success.
    pub failure: Option<LastFailure>,
}

/// What failed last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LastFailure {
    /// As `Failure::kind` has it, or `"install"`.
    pub kind: &'static str,
    /// In words.
    pub message: String,
    /// When.
    pub at: Time,
    /// So many in a row.
    pub count: u32,
}

/// The versions of documents.
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
    /// Of what is kept in this folder, which was verified when it came.
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

/// Replaces it in one step. It isn't put on disk for good: it tells of a process, and the next one
/// writes its own.
pub fn write(path: &Path, status: &Status) -> io::Result<()> {
    let unfinished = with_suffix(path, ".new");
    fs::write(&unfinished, serde_json::to_vec(status)?)?;
    fs::rename(unfinished, path)
}
