//! Why a metadata file can't be read or doesn't verify.

use alloc::string::String;

use crate::canonical::Unalike;
use crate::time::Time;

/// Why a metadata file can't be read or doesn't verify. The message is one line, and begins with
/// the field if one is at fault. The caller puts the file's name before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The file is not JSON.
    #[error("it is not JSON: {0}")]
    Json(String),
    /// A field has a value that the specification doesn't allow.
    #[error("its {place} {why}")]
    Field {
        /// The path of the field, with dots between the names.
        place: String,
        /// What the value is, and what it should be.
        why: String,
    },
    /// The document has no canonical form, so nothing can be signed or verified.
    #[error("it has no canonical form: {0}")]
    Form(Unalike),
    /// Too few valid signatures (TUF specification 5.3.4, 5.4.2, 5.5.3, 5.6.3).
    #[error(
        "{judge} requires the signatures of {needed} of its keys for {role}, and {good} of them \
         are valid"
    )]
    Signatures {
        /// The role of the document.
        role: String,
        /// The document that lists the role's keys.
        judge: String,
        /// How many of these keys signed.
        good: usize,
        /// How many of these keys must sign.
        needed: u64,
    },
    /// The delegating document doesn't list the role.
    #[error("{judge} has no role {role}")]
    NoRole {
        /// The role that is not listed.
        role: String,
        /// The document that should list its keys.
        judge: String,
    },
    /// The version is not the one that the referring document lists.
    #[error("it is version {found}, where {expected} is expected")]
    Version {
        /// The version in the document.
        found: u64,
        /// The version that the referring document lists.
        expected: u64,
    },
    /// The document has expired (TUF specification 5.3.10, 5.4.4, 5.5.6, 5.6.5).
    #[error("it expired at {0}")]
    Expired(Time),
    /// The bytes are not those that the referring document lists (TUF specification 5.5.2, 5.6.2).
    #[error("{0}")]
    Content(String),
}

pub(crate) type Result<T, E = Error> = core::result::Result<T, E>;
