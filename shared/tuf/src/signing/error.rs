//! Why a document is not what it should be.

use std::num::NonZeroU64;

use tufline_metadata::canonical::Unalike;

use crate::primitives::{RoleName, Time};
/// Why a document is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// Not a document of the expected type.
    #[error("{role} is not a readable role document: {why}")]
    Unreadable {
        /// The role that was expected.
        role: RoleName,
        /// The parser's words.
        why: String,
    },
    /// Clients don't all write its canonical form alike, so the signatures are good for some of them only ([`crate::canonical`]).
    #[error("{role} would not be read alike by all clients: {why}")]
    Unalike {
        /// The role.
        role: RoleName,
        /// The first difference.
        why: Unalike,
    },
    /// Too few good signatures (TUF specification 5.3.4, 5.4.2, 5.5.3, 5.6.3).
    #[error("{role} is not signed as it must be: {why}")]
    Signatures {
        /// The role.
        role: RoleName,
        /// What is missing.
        why: String,
    },
    /// Another version than the one that was referred to.
    #[error("{role} has version {found} where {expected} is expected")]
    Version {
        /// The role.
        role: RoleName,
        /// The version in the document.
        found: u64,
        /// The version by which it was asked for.
        expected: u64,
    },
    /// Past its expiry (TUF specification 5.3.10, 5.4.4, 5.5.6, 5.6.5).
    #[error("{role} version {version} expired at {expires}")]
    Expired {
        /// The role.
        role: RoleName,
        /// Its version.
        version: u64,
        /// When it expired.
        expires: Time,
    },
    /// The delegating role names no keys for this role.
    #[error("{role} has no keys in the role that delegates to it")]
    NoKeys {
        /// The role.
        role: RoleName,
    },
}

impl VerifyError {
    /// The role whose document it is about.
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

/// Versions and thresholds count from 1 (TUF specification 4.3 and 4.4): a record that says 0 was damaged, or made up.
pub(crate) fn from_one(role: &RoleName, what: &str, number: u64) -> Result<NonZeroU64, VerifyError> {
    NonZeroU64::new(number).ok_or_else(|| unreadable(role, &format!("its {what} is 0, and the first is 1")))
}

pub(super) fn unreadable(role: &RoleName, why: &dyn std::fmt::Display) -> VerifyError {
    VerifyError::Unreadable { role: role.clone(), why: why.to_string() }
}
