//! The state of a repository, as `tufline status` prints it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use tufline_pipeline::state::roots::IgnoredRoot;
use tufline_store::{Queue, RejectedUpload};
use tufline_tuf::{RoleName, Time};

use super::damage::Damage;
use super::reason::Reason;
use crate::embedded::TroublesRecord;

/// The state of a repository.
#[derive(Debug, Serialize)]
pub struct Status {
    /// When this status was collected.
    pub now: Time,
    /// The generation that devices see.
    pub generation: u64,
    /// When it was made.
    pub made: Time,
    /// How many targets it has.
    pub targets: u64,
    /// The root, the timestamp, the snapshot, targets, the bin that expires first, and other
    /// parties' roles.
    pub roles: Vec<RoleStatus>,
    /// Published files that are missing or damaged. In a large repository each run checks another
    /// part.
    pub damaged: Vec<Damage>,
    /// Files in the place of roots that are not roots: they count as absent.
    pub ignored_roots: Vec<IgnoredRoot>,
    /// Generations that are newer than the published one.
    pub waiting: Newer,
    /// On AWS: what waits in each queue.
    pub queues: Option<BTreeMap<Queue, Depth>>,
    /// Uploads that were rejected.
    pub rejected: RejectedUploads,
    /// Generations that the gate refused, newer than the published one.
    pub refused_generations: Vec<RefusedNewer>,
    /// Targets whose removal waits for an operator.
    pub held_removals: BTreeSet<String>,
    /// In the embedded form, if the clock is behind the last signature: when that was stored. Until
    /// then nothing is signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_behind: Option<Time>,
    /// In the embedded form: the failures that its process reports.
    #[serde(flatten)]
    pub troubles: TroublesRecord,
    /// In the embedded form: whether a process runs it. If none does, nothing is published or
    /// renewed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runs: Option<bool>,
    /// The parts of the status that could not be read, in one line each.
    pub unreadable: Vec<String>,
    /// The reasons for which it needs attention now.
    pub attention: Vec<Reason>,
}

/// A role's document.
#[derive(Debug, Serialize)]
pub struct RoleStatus {
    #[serde(rename = "role")]
    pub name: RoleName,
    pub version: u64,
    pub expires: Time,
}

/// Generations that are newer than the published one.
#[derive(Debug, Default, Serialize)]
pub struct Newer {
    /// The number that are not signed yet.
    pub unsigned: u64,
    /// The number that are signed but not published yet.
    pub signed: u64,
    /// When the oldest of them was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
}

/// How much a queue holds.
#[derive(Debug, Serialize)]
pub struct Depth {
    /// Messages that wait or are being processed.
    pub messages: u64,
    /// Messages that failed too often.
    pub dead_letters: u64,
}

/// Uploads that were rejected.
#[derive(Debug, Default, Serialize)]
pub struct RejectedUploads {
    /// How many versions of uploads were ever rejected.
    pub count: usize,
    /// The last ones, newest first: five, unless all were requested.
    pub last: Vec<RejectedUpload>,
    /// How many more there are.
    pub unlisted: usize,
}

/// A generation that the gate refused.
#[derive(Debug, Serialize)]
pub struct RefusedNewer {
    pub generation: u64,
    /// Why the gate refused it.
    pub reason: String,
}
