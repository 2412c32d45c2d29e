//! What an operator decided for new generations.

use crate::config::{Expiry, RemovalLimit};
use crate::primitives::Time;
use serde::{Deserialize, Serialize};
/// What of the operator's policy decides about the documents of a generation. It stands in the manifest, since the configuration may change
/// before the generation is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedPolicy {
    /// How long a document of the targets family is in force, in seconds.
    pub targets_seconds: u64,
    /// How long the snapshot is, in seconds.
    pub snapshot_seconds: u64,
    /// A role that lists more targets than this is split.
    pub max_targets_per_bin: usize,
}

impl RecordedPolicy {
    /// What is recorded of this policy.
    #[must_use]
    pub fn new(expiry: &Expiry, max_targets_per_bin: usize) -> Self {
        Self {
            targets_seconds: expiry.targets.seconds(),
            snapshot_seconds: expiry.snapshot.seconds(),
            max_targets_per_bin,
        }
    }
}

/// What an operator decided for new generations.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// What decides about their documents.
    pub recorded: RecordedPolicy,
    /// A bin of a prefix of so many digits is not split any more: see [`DEEPEST_BIN`].
    pub deepest_bin: usize,
    /// The limit on removals; `None` once an operator accepted them.
    pub removals: Option<RemovalLimit>,
    /// The time of the new generation.
    pub now: Time,
}

/// Clients follow 32 delegations at most in a search, and tough reads every role that there is. Targets in so deep a bin
/// were named for it: digests that share 12 digits by chance are one pair in 2^48.
pub const DEEPEST_BIN: usize = 12;
