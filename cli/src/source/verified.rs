//! A repository that a client verified.

use std::collections::BTreeMap;

use tufline_metadata::{Snapshot, Targets, Timestamp, TrustedRoot};

use crate::terminal::complain;

/// A repository that a client verified.
pub struct VerifiedRepository {
    pub root: TrustedRoot,
    pub timestamp: Timestamp,
    pub snapshot: Snapshot,
    /// The targets roles by name.
    pub roles: BTreeMap<String, Targets>,
    /// All metadata files but the roots, by name.
    pub files: BTreeMap<String, Vec<u8>>,
    /// The roots by version, without a gap, from the oldest that leads to the trusted one up to the
    /// newest.
    pub roots: BTreeMap<u64, Vec<u8>>,
    /// A warning about a next root that counts as absent.
    pub passed_over: Option<String>,
}

impl VerifiedRepository {
    /// Prints that warning. Call it only after success, since an error contains it already.
    pub fn tell(&self) {
        if let Some(passed_over) = &self.passed_over {
            complain!("tufline: {passed_over}");
        }
    }
}
