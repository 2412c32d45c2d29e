//! The small records of the ledger.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tufline_tuf::{RoleName, Sha256, TargetName, Time};

/// The format of the small records that this code writes.
pub const RECORD_FORMAT: u32 = 1;

/// `announced.json`: up to which generation events were sent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Announced {
    /// [`RECORD_FORMAT`] when it was written.
    pub format: u32,
    /// The last generation whose events were sent.
    pub generation: u64,
    /// Passed-over generations whose names hash must still look at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passed_over: Option<PassedOver>,
    /// Files in the places of roots that were announced as no roots: by the version in their name,
    /// the digest of their bytes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ignored_roots: BTreeMap<u64, Sha256>,
}

/// A range of generations, some of which no device will see. Hash must look again at the names they
/// changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassedOver {
    /// The range starts after this generation.
    pub after: u64,
    /// The last generation of the range.
    pub up_to: u64,
}

/// `hashed/…`: what hash found in a version of an upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hashed {
    /// [`RECORD_FORMAT`] when it was written.
    pub format: u32,
    /// The digest of the upload's bytes.
    pub sha256: tufline_tuf::Sha256,
    /// The length of the upload, in bytes.
    pub length: u64,
}

/// `hashing/…`: how much of a large upload has been read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// [`RECORD_FORMAT`] when it was written.
    pub format: u32,
    /// The length of the whole upload, in bytes.
    pub length: u64,
    /// How many of its bytes are hashed.
    pub offset: u64,
    /// The state of the hasher after these bytes.
    pub state: tufline_tuf::PausedHasher,
    /// A digest over everything above: see [`Progress::new`].
    pub seal: tufline_tuf::Sha256,
}

impl Progress {
    /// Makes the record for an upload of `length` bytes, the first `offset` of which are hashed.
    ///
    /// A damaged hasher state would still be a valid one, and would end in a digest that no bytes
    /// have. Devices would then refuse the target. The gate could not notice, since S3 keeps no
    /// SHA-256 of a blob that was copied in parts. The seal detects such damage. It proves nothing
    /// against somebody who may write to the ledger, since they could write a receipt as well.
    #[must_use]
    pub fn new(length: u64, offset: u64, state: tufline_tuf::PausedHasher) -> Self {
        let seal = tufline_tuf::Sha256::of(
            format!("{RECORD_FORMAT} {length} {offset} {}", state.as_hex()).as_bytes(),
        );
        Self { format: RECORD_FORMAT, length, offset, state, seal }
    }

    /// The hasher and the offset from which reading an upload of `length` bytes can go on. `None`
    /// if the record is damaged, has another format, or is about another upload.
    #[must_use]
    pub fn resume(&self, length: u64) -> Option<(tufline_tuf::Hasher, u64)> {
        let sound =
            *self == Self::new(length, self.offset, self.state.clone()) && self.offset <= length;
        sound
            .then(|| tufline_tuf::Hasher::resume(&self.state))
            .flatten()
            .map(|hasher| (hasher, self.offset))
    }
}

/// `refused/…`: why sign and publish refuse a generation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RefusedGeneration {
    /// [`RECORD_FORMAT`] when it was written.
    pub format: u32,
    /// The digest of the manifest. A record with another digest, such as one written beforehand,
    /// does not count.
    pub manifest: Sha256,
    /// Why it was rejected, in one line.
    pub reason: String,
    /// What was at fault, for rebuild.
    pub fault: RecordedFault,
}

/// What was at fault in a refused generation. Rebuild needs this to go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecordedFault {
    /// The root. Only an operator can mend that, and rebuild has nothing to make again.
    Root,
    /// The generation does not follow from its base.
    Void,
    /// Somebody else took the version of this document. For a snapshot, the version is the
    /// generation.
    Taken(RoleName, u64),
    /// The bytes of these targets are missing or wrong.
    Bytes(Vec<TargetName>),
}

/// `held/…`: removals that wait for an operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldRemovals {
    /// [`RECORD_FORMAT`] when it was written.
    pub format: u32,
    /// The names of the removed targets.
    pub names: Vec<tufline_tuf::TargetName>,
}

/// How long an operator's acceptance of removals lasts at most after it was written, in seconds.
pub const LONGEST_ACCEPTANCE: u64 = 86_400;

/// `removals-accepted.json`: an operator accepts removals of any number for a time of at most
/// [`LONGEST_ACCEPTANCE`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovalsAccepted {
    /// [`RECORD_FORMAT`] when it was written.
    pub format: u32,
    /// When the acceptance ends.
    pub until: Time,
}
