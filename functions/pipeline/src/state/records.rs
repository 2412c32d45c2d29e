//! What the small records of the ledger say.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tufline_tuf::{RoleName, Sha256, TargetName, Time};

/// The format of the small records that this code writes.
pub const RECORD_FORMAT: u32 = 1;

/// `announced.json`: up to which generation events were sent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Announced {
    /// [`RECORD_FORMAT`].
    pub format: u32,
    /// The generation.
    pub generation: u64,
    /// Generations among which some were passed over, and must still be looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passed_over: Option<PassedOver>,
    /// What lies where roots belong, and was told of, by the versions in its names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ignored_roots: BTreeMap<u64, Sha256>,
}

/// Generations of which some will be seen by nobody: what they change is to be looked at again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassedOver {
    /// Up to this one it was.
    pub after: u64,
    /// The last.
    pub up_to: u64,
}

/// `hashed/…`: what hash found in a version of an upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hashed {
    /// [`RECORD_FORMAT`].
    pub format: u32,
    /// The digest of all of its bytes.
    pub sha256: tufline_tuf::Sha256,
    /// In bytes.
    pub length: u64,
}

/// `hashing/…`: how far the reading of a large upload has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// [`RECORD_FORMAT`].
    pub format: u32,
    /// Of the whole upload, in bytes.
    pub length: u64,
    /// So many of its bytes are hashed.
    pub offset: u64,
    /// The state of the hasher after them.
    pub state: tufline_tuf::PausedHasher,
    /// Over all of the above: see [`Progress::new`].
    pub seal: tufline_tuf::Sha256,
}

impl Progress {
    /// The record for an upload of `length` bytes after `offset` of them.
    ///
    /// A damaged state would still be some state, and end in a digest that no bytes have: devices would refuse the target,
    /// and the gate could not tell, since S3 keeps no SHA-256 of a blob that was copied in parts. Hence the seal. It
    /// proves nothing against somebody who may write to the ledger, who could write a receipt as well.
    #[must_use]
    pub fn new(length: u64, offset: u64, state: tufline_tuf::PausedHasher) -> Self {
        let seal = tufline_tuf::Sha256::of(format!("{RECORD_FORMAT} {length} {offset} {}", state.as_hex()).as_bytes());
        Self { format: RECORD_FORMAT, length, offset, state, seal }
    }

    /// The hasher and the offset to go on from with an upload of `length` bytes; `None` where the record is damaged, of
    /// another format, or about something else.
    #[must_use]
    pub fn resume(&self, length: u64) -> Option<(tufline_tuf::Hasher, u64)> {
        let sound = *self == Self::new(length, self.offset, self.state.clone()) && self.offset <= length;
        sound.then(|| tufline_tuf::Hasher::resume(&self.state)).flatten().map(|hasher| (hasher, self.offset))
    }
}

/// `refused/…`: why a generation is neither signed nor shown.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RefusedGeneration {
    /// [`RECORD_FORMAT`].
    pub format: u32,
    /// Of the manifest: a record of another, such as one that was still to come, says nothing.
    pub manifest: Sha256,
    /// One line.
    pub reason: String,
    /// What was at fault.
    pub fault: RecordedFault,
}

/// What was at fault in a refused generation, as rebuild must know it to go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecordedFault {
    /// The root: only an operator can mend it, and then nothing need be made anew.
    Root,
    /// It doesn't follow from its base.
    Void,
    /// The number of this document (for a snapshot, of the generation) was taken by somebody else.
    Taken(RoleName, u64),
    /// The bytes of these targets are missing or wrong.
    Bytes(Vec<TargetName>),
}

/// `held/…`: removals that wait for an operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldRemovals {
    /// [`RECORD_FORMAT`].
    pub format: u32,
    /// The targets.
    pub names: Vec<tufline_tuf::TargetName>,
}

/// For so long after it was written an operator's acceptance of removals holds at most, in seconds.
pub const LONGEST_ACCEPTANCE: u64 = 86_400;

/// `removals-accepted.json`: an operator accepts removals of any number until then, [`LONGEST_ACCEPTANCE`] at most.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovalsAccepted {
    /// [`RECORD_FORMAT`].
    pub format: u32,
    /// The end of the permission.
    pub until: Time,
}
