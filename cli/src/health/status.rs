//! The state of a repository, as `tufline status` tells it.

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
    /// When this was collected.
    pub now: Time,
    /// The generation that devices see.
    pub generation: u64,
    /// When it was made.
    pub made: Time,
    /// How many targets it has.
    pub targets: u64,
    /// Root, timestamp, snapshot, targets, and of the bins the one that expires first.
    pub roles: Vec<RoleStatus>,
    /// Published files that are missing or damaged; of a large repository a part is looked at, each time another.
    pub damaged: Vec<Damage>,
    /// What lies where roots belong and is none: it counts as absent.
    pub ignored_roots: Vec<IgnoredRoot>,
    /// Newer generations.
    pub waiting: Newer,
    /// On AWS: what waits in each queue.
    pub queues: Option<BTreeMap<Queue, Depth>>,
    /// Refused uploads.
    pub rejected: RejectedUploads,
    /// Generations that the gate refused, newer than the published one.
    pub refused_generations: Vec<RefusedNewer>,
    /// Targets whose removal waits for an operator.
    pub held_removals: BTreeSet<String>,
    /// In the embedded form, where the clock is behind what was signed last: when that was stored. Nothing is signed meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_behind: Option<Time>,
    /// In the embedded form: what its process fails at.
    #[serde(flatten)]
    pub troubles: TroublesRecord,
    /// In the embedded form: whether a process runs it. Nothing is published or renewed meanwhile, if none does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runs: Option<bool>,
    /// What of all this could not be read, one line each.
    pub unreadable: Vec<String>,
    /// Why somebody should look at it now, one line each.
    pub attention: Vec<Reason>,
}

/// A role's document.
#[derive(Debug, Serialize)]
pub struct RoleStatus {
    /// Its name.
    #[serde(rename = "role")]
    pub name: RoleName,
    /// Its version.
    pub version: u64,
    /// When it expires.
    pub expires: Time,
}

/// Generations that are newer than the published one.
#[derive(Debug, Default, Serialize)]
pub struct Newer {
    /// Not signed yet.
    pub unsigned: u64,
    /// Signed and not published yet.
    pub signed: u64,
    /// When the oldest of them was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
}

/// A queue's depth.
#[derive(Debug, Serialize)]
pub struct Depth {
    /// Messages that wait or are being handled.
    pub messages: u64,
    /// Dead letters.
    pub dead_letters: u64,
}

/// Refused uploads.
#[derive(Debug, Default, Serialize)]
pub struct RejectedUploads {
    /// How many versions of uploads were ever refused.
    pub count: usize,
    /// The last ones, newest first: five, unless all were asked for.
    pub last: Vec<RejectedUpload>,
    /// How many more there are, which are not listed.
    pub unlisted: usize,
}

/// A generation that the gate refused.
#[derive(Debug, Serialize)]
pub struct RefusedNewer {
    /// Its number.
    pub generation: u64,
    /// Why.
    pub reason: String,
}
