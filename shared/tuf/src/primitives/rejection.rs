//! Why an upload is rejected: a code for programs, a sentence for people.

use serde::{Deserialize, Serialize};

/// The kind of rule that an upload broke. The codes are part of the `Upload Rejected` event and are
/// never renamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RejectionCode {
    /// The target name breaks [`crate::TargetName`]'s policy.
    Name,
    /// The object is larger than the configured limit.
    Size,
    /// The custom metadata breaks [`crate::custom`]'s policy.
    Custom,
    /// The object has no version id: versioning is not enabled on the uploads bucket.
    Unversioned,
    /// The target's bin is full and can't be split: somebody chose the other names so that they
    /// share it.
    BinFull,
    /// In a folder only: the upload is no regular file (a link or a pipe, for example), or its name
    /// says that it is still being written.
    NotAFile,
    /// The name belongs to a delegation that doesn't allow it.
    Delegation,
}

/// A rejection: final for this version of this upload, never retried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{reason}")]
pub struct Rejection {
    /// The kind of rule that was broken.
    pub code: RejectionCode,
    /// One line: what was rejected, why, and what to do.
    pub reason: String,
}

impl Rejection {
    /// A rejection with its one-line reason.
    pub fn new(code: RejectionCode, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into() }
    }
}
