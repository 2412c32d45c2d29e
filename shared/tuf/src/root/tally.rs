//! Which signatures of a root count, under its predecessor and under itself (TUF specification
//! 5.3.4).

use std::collections::BTreeSet;

use tough::schema::{RoleType, Root};

use super::error::RootError;
use super::file::RootFile;
use super::signers::{is_good, root_keys};
use crate::signing::{KeyId, public_part};

/// Which root keys of one version of the root signed a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    /// The version of the root whose keys these are.
    pub judge: u64,
    /// How many of its keys must sign.
    pub threshold: u64,
    /// The keys whose signature verifies. No public key occurs twice.
    pub signed: Vec<KeyId>,
    /// The keys that haven't signed.
    pub missing: Vec<KeyId>,
}

impl Tally {
    /// How many more keys must sign.
    #[must_use]
    pub fn needed(&self) -> u64 {
        self.threshold.saturating_sub(self.signed.len() as u64)
    }

    /// [`RootError::TooFewSignatures`] unless the threshold is reached.
    pub(super) fn expect_enough(&self) -> Result<(), RootError> {
        match self.needed() {
            0 => Ok(()),
            missing => Err(RootError::TooFewSignatures {
                judge: self.judge,
                threshold: self.threshold,
                found: self.signed.len(),
                missing,
            }),
        }
    }
}

/// The tallies of a file under `previous`, if there is one, and under itself. Both thresholds must
/// be reached.
#[must_use]
pub fn tallies(file: &RootFile, previous: Option<&Root>) -> Vec<Tally> {
    previous.into_iter().chain([file.root()]).map(|judge| tally(file, judge)).collect()
}

/// The fewest people who must still sign. It takes more if no missing signer holds a key of both
/// versions.
#[must_use]
pub fn needed(file: &RootFile, previous: Option<&Root>) -> u64 {
    tallies(file, previous).iter().map(Tally::needed).max().unwrap_or(0)
}

fn tally(file: &RootFile, judge: &Root) -> Tally {
    let (mut signed, mut missing, mut seen) = (Vec::new(), Vec::new(), BTreeSet::new());
    for (id, key) in root_keys(judge) {
        if !seen.insert(public_part(key)) {
            continue;
        }
        let mut own = file.signatures().iter().filter(|signature| signature.keyid == *id);
        let side = if own.any(|signature| is_good(file.root(), key, signature)) {
            &mut signed
        } else {
            &mut missing
        };
        side.push(id.clone());
    }
    let threshold =
        judge.roles.get(&RoleType::Root).map_or(u64::MAX, |entry| entry.threshold.get());
    Tally { judge: judge.version.get(), threshold, signed, missing }
}
