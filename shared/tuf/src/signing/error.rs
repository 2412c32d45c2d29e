//! Why a document fails verification.

use std::num::NonZeroU64;

use tufline_metadata::canonical::Unalike;

use crate::primitives::{RoleName, Time};
/// Why a document fails verification.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The file is not a document of the expected type.
    #[error("{role} is not a readable role document: {why}")]
    Unreadable {
        /// The role that was expected.
        role: RoleName,
        /// The parser's message, which names the field if it knows one.
        why: String,
    },
    /// Clients don't all write the same canonical form of the document, so only some of them accept
    /// its signatures ([`crate::canonical`]).
    #[error("{role} would not be read alike by all clients: {why}")]
    Unalike {
        /// The role that the document is for.
        role: RoleName,
        /// The first difference between clients.
        why: Unalike,
    },
    /// Too few valid signatures (TUF specification 5.3.4, 5.4.2, 5.5.3, 5.6.3).
    #[error("{role} is not signed as it must be: {why}")]
    Signatures {
        /// The role that the document is for.
        role: RoleName,
        /// Which signatures are missing.
        why: String,
    },
    /// The version is not the one that the referring document lists.
    #[error("{role} has version {found} where {expected} is expected")]
    Version {
        /// The role that the document is for.
        role: RoleName,
        /// The version in the document.
        found: u64,
        /// The version that the referring document lists.
        expected: u64,
    },
    /// The document has expired (TUF specification 5.3.10, 5.4.4, 5.5.6, 5.6.5).
    #[error("{role} version {version} expired at {expires}")]
    Expired {
        /// The role that the document is for.
        role: RoleName,
        /// The version of the expired document.
        version: u64,
        /// The time at which it expired.
        expires: Time,
    },
    /// The delegating role lists no keys for this role.
    #[error("{role} has no keys in the role that delegates to it")]
    NoKeys {
        /// The role without keys.
        role: RoleName,
    },
}

impl VerifyError {
    /// The role of the document that failed.
    #[must_use]
    pub fn role(&self) -> &RoleName {
        match self {
            Self::Unreadable { role, .. }
            | Self::Unalike { role, .. }
            | Self::Signatures { role, .. }
            | Self::Version { role, .. }
            | Self::Expired { role, .. }
            | Self::NoKeys { role } => role,
        }
    }
}

/// Refuses 0: versions and thresholds count from 1 (TUF specification 4.3 and 4.4). A record with 0
/// was damaged or forged.
pub(crate) fn from_one(
    role: &RoleName,
    what: &str,
    number: u64,
) -> Result<NonZeroU64, VerifyError> {
    NonZeroU64::new(number)
        .ok_or_else(|| unreadable(role, &format!("its {what} is 0, and the first is 1")))
}

pub(super) fn unreadable(role: &RoleName, why: &dyn std::fmt::Display) -> VerifyError {
    VerifyError::Unreadable { role: role.clone(), why: why.to_string() }
}
