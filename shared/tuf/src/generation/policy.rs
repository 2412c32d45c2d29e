//! The operator's policy for new generations.

use crate::config::{Expiry, RemovalLimit};
use crate::primitives::Time;
use serde::{Deserialize, Serialize};
/// The part of the operator's policy that determines a generation's documents. The manifest records
/// it, since the configuration may change before the generation is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedPolicy {
    /// The lifetime of a document of the targets family, in seconds.
    pub targets_seconds: u64,
    /// The lifetime of a snapshot, in seconds.
    pub snapshot_seconds: u64,
    /// A role that lists more targets than this is split.
    pub max_targets_per_bin: usize,
}

impl RecordedPolicy {
    /// The recorded part of this policy.
    #[must_use]
    pub fn new(expiry: &Expiry, max_targets_per_bin: usize) -> Self {
        Self {
            targets_seconds: expiry.targets.seconds(),
            snapshot_seconds: expiry.snapshot.seconds(),
            max_targets_per_bin,
        }
    }
}

/// The operator's policy for a new generation, and its time.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// The part that the manifest records.
    pub recorded: RecordedPolicy,
    /// The number of digits of the deepest bins, which are not split any further: see
    /// [`DEEPEST_BIN`].
    pub deepest_bin: usize,
    /// The limit on removals; `None` once an operator accepted the removals.
    pub removals: Option<RemovalLimit>,
    /// The time at which the new generation is made.
    pub now: Time,
}

/// The most digits of a bin's prefix. Clients follow at most 32 delegations in a search, and tough
/// reads every role. By chance, two names share 12 digits with a probability of 2^-48. So if many
/// do, somebody chose them for it.
pub const DEEPEST_BIN: usize = 12;
