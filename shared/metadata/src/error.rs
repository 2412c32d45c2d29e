//! Why a file is not what a client needs.

use alloc::string::String;

use crate::canonical::Unalike;
use crate::time::Time;

/// Why a metadata file can't be read or doesn't verify: one line, which begins with the field where one is to blame. Whoever has the file's name says it before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not JSON.
    #[error("it is not JSON: {0}")]
    Json(String),
    /// A field that isn't what the specification says.
    #[error("its {place} {why}")]
    Field {
        /// The names on the way to it, with dots between them.
        place: String,
        /// What it is, and what it should be.
        why: String,
    },
    /// It has no canonical form, over which a signature could go.
    #[error("it has no canonical form: {0}")]
    Form(Unalike),
    /// Too few good signatures (TUF specification 5.3.4, 5.4.2, 5.5.3, 5.6.3).
    #[error("{judge} asks for the signatures of {needed} of its keys for {role}, and {good} of them are good")]
    Signatures {
        /// The role that should have signed.
        role: String,
        /// Whose keys these are.
        judge: String,
        /// How many keys signed.
        good: usize,
        /// How many must.
        needed: u64,
    },
    /// The delegating document doesn't know the role.
    #[error("{judge} has no role {role}")]
    NoRole {
        /// The role.
        role: String,
        /// The document that should name its keys.
        judge: String,
    },
    /// Another version than the one that was referred to.
    #[error("it is version {found}, where {expected} is expected")]
    Version {
        /// In the document.
        found: u64,
        /// By which it was asked for.
        expected: u64,
    },
    /// Past its expiry (TUF specification 5.3.10, 5.4.4, 5.5.6, 5.6.5).
    #[error("it expired at {0}")]
    Expired(Time),
    /// Not the bytes that are listed (TUF specification 5.5.2, 5.6.2).
    #[error("{0}")]
    Content(String),
}

pub(crate) type Result<T, E = Error> = core::result::Result<T, E>;
