//! Published roots, whoever made them: read as clients read them, without Tufline's own rules.

use bytes::Bytes;
use tough::schema::Root;
use tufline_metadata::{Error, File, TrustedRoot};

use super::error::RootError;
use crate::primitives::{RoleName, Sha256};
use crate::signing::own_types::in_own_types;
use crate::signing::{RoleKeys, Signed, VerifyError, canonical_message};

/// A root that is already published, or that others will publish. Tufline's rules for its own roots
/// don't apply to it.
#[derive(Debug, Clone)]
pub struct PublishedRoot {
    file: File<tufline_metadata::Root>,
    root: Root,
}

impl PublishedRoot {
    /// Reads a root as clients do.
    ///
    /// # Errors
    /// [`RootError::Unreadable`].
    pub fn read(bytes: &[u8]) -> Result<Self, RootError> {
        let file = File::read(bytes).map_err(|error| RootError::Unreadable(error.to_string()))?;
        Ok(Self { file, root: in_own_types(bytes).map_err(RootError::Unreadable)? })
    }

    /// The root's content, without the keys for which tough has no type. Their signatures don't
    /// count for Tufline's own roots.
    #[must_use]
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// The file with all its content.
    #[must_use]
    pub fn file(&self) -> &File<tufline_metadata::Root> {
        &self.file
    }

    /// The version that the file states.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.file.common().version
    }

    /// How many more of its own keys must sign it.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.file.unverified().role("root").map_or(u64::MAX, |keys| {
            keys.threshold().saturating_sub(self.file.signers(&keys).len() as u64)
        })
    }

    /// The SHA-256 of the signed part. [`super::contents`] is the same for a root in our types.
    #[must_use]
    pub fn contents(&self) -> Sha256 {
        Sha256::of(self.file.message())
    }
}

/// Why a root can't be followed, as an error about a document of this repository.
pub(super) fn refused(error: &Error) -> VerifyError {
    let role = RoleName::root();
    match error {
        Error::Signatures { good, needed, .. } => VerifyError::Signatures {
            role,
            why: format!("{good} of its signatures are valid, and {needed} must be"),
        },
        Error::Version { found, expected } => {
            VerifyError::Version { role, found: *found, expected: *expected }
        }
        Error::NoRole { .. } => VerifyError::NoKeys { role },
        Error::Expired(_)
        | Error::Json(_)
        | Error::Field { .. }
        | Error::Form(_)
        | Error::Content(_) => VerifyError::Unreadable { role, why: error.to_string() },
    }
}

/// A trusted root with its bytes, in tough's types.
pub(super) fn signed(trusted: &TrustedRoot, bytes: &Bytes) -> Result<Signed<Root>, VerifyError> {
    let root = in_own_types(bytes)
        .map_err(|why| VerifyError::Unreadable { role: RoleName::root(), why })?;
    Ok(Signed::of_trusted(root, bytes.clone(), trusted.file().unalike().cloned()))
}

/// How long, in seconds, a cache between devices and the repository may hide a newly published
/// root. The answers to devices state this limit, and an online key that a root adds signs nothing
/// earlier.
pub const LONGEST_HIDDEN_SECONDS: i64 = 5;

/// The root keys of `root`, which verify the root itself.
///
/// # Errors
/// [`VerifyError`].
pub fn own_keys(root: &Root) -> Result<RoleKeys, VerifyError> {
    RoleKeys::in_root(root, &RoleName::root())
}

/// The SHA-256 of a root's signed part, in canonical form (TUF specification 4.2). It is the same
/// for every file with this root, however that is formatted and whoever signed it. `tufline root
/// show` calls it the contents.
///
/// # Errors
/// [`VerifyError::Unreadable`], never in practice.
pub fn contents(root: &Root) -> Result<Sha256, VerifyError> {
    canonical_message(&RoleName::root(), root).map(|(message, _)| Sha256::of(&message))
}

/// Reads a published root of version `version` and verifies it under its own keys (the second half
/// of TUF specification 5.3.4).
///
/// # Errors
/// [`VerifyError`].
pub fn read(bytes: &Bytes, version: u64) -> Result<Signed<Root>, VerifyError> {
    let trusted = TrustedRoot::begin(bytes).map_err(|error| refused(&error))?;
    signed(&trusted, bytes)?.expect_version(version)
}
