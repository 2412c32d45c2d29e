//! A repository that a client verified.

use std::collections::BTreeMap;

use tufline_metadata::{Snapshot, Targets, Timestamp, TrustedRoot};

use crate::terminal::complain;

/// A repository that a client verified.
pub struct VerifiedRepository {
    /// The newest root.
    pub root: TrustedRoot,
    /// The timestamp.
    pub timestamp: Timestamp,
    /// The snapshot.
    pub snapshot: Snapshot,
    /// The targets roles by their names.
    pub roles: BTreeMap<String, Targets>,
    /// All metadata files by their names, but for roots.
    pub files: BTreeMap<String, Vec<u8>>,
    /// The roots by their versions, without a gap: from the oldest that leads to the trusted one to the newest.
    pub roots: BTreeMap<u64, Vec<u8>>,
    /// What to tell of a next root that counts as absent.
    pub passed_over: Option<String>,
}

impl VerifiedRepository {
    /// Tells of what counts as absent, once nothing else is to be told of it.
    pub fn tell(&self) {
        if let Some(passed_over) = &self.passed_over {
            complain!("tufline: {passed_over}");
        }
    }
}
