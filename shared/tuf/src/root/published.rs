//! Roots that are published, by whomever: read as clients read them, and not judged.

use bytes::Bytes;
use tough::schema::Root;
use tufline_metadata::{Error, File, TrustedRoot};

use super::error::RootError;
use crate::primitives::{RoleName, Sha256};
use crate::signing::own_types::in_own_types;
use crate::signing::{RoleKeys, Signed, VerifyError, canonical_message};

/// A root that is published already, or that others will publish. What Tufline asks of its own is not asked of it.
#[derive(Debug, Clone)]
pub struct PublishedRoot {
    file: File<tufline_metadata::Root>,
    root: Root,
}

impl PublishedRoot {
    /// Reads it.
    ///
    /// # Errors
    /// [`RootError::Unreadable`].
    pub fn read(bytes: &[u8]) -> Result<Self, RootError> {
        let file = File::read(bytes).map_err(|error| RootError::Unreadable(error.to_string()))?;
        Ok(Self { file, root: in_own_types(bytes).map_err(RootError::Unreadable)? })
    }

    /// What it says, without the keys that tough has no type for: their signatures count for nothing where Tufline's own root is signed.
    #[must_use]
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// The file, with all that is in it.
    #[must_use]
    pub fn file(&self) -> &File<tufline_metadata::Root> {
        &self.file
    }

    /// Its version.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.file.common().version
    }

    /// How many more of its own keys must sign it.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.file
            .unverified()
            .role("root")
            .map_or(u64::MAX, |keys| keys.threshold().saturating_sub(self.file.signers(&keys).len() as u64))
    }

    /// The SHA-256 of what is signed, as [`super::contents`] has it of a root in our types.
    #[must_use]
    pub fn contents(&self) -> Sha256 {
        Sha256::of(self.file.message())
    }
}

/// Why a root isn't one to follow, as a document of this repository.
pub(super) fn refused(error: &Error) -> VerifyError {
    let role = RoleName::root();
    match error {
        Error::Signatures { good, needed, .. } => {
            VerifyError::Signatures { role, why: format!("{good} of its signatures are good where {needed} must be") }
        }
        Error::Version { found, expected } => VerifyError::Version { role, found: *found, expected: *expected },
        Error::NoRole { .. } => VerifyError::NoKeys { role },
        Error::Expired(_) | Error::Json(_) | Error::Field { .. } | Error::Form(_) | Error::Content(_) => {
            VerifyError::Unreadable { role, why: error.to_string() }
        }
    }
}

/// The bytes of a trusted root in tough's types.
pub(super) fn signed(trusted: &TrustedRoot, bytes: &Bytes) -> Result<Signed<Root>, VerifyError> {
    let root = in_own_types(bytes).map_err(|why| VerifyError::Unreadable { role: RoleName::root(), why })?;
    Ok(Signed::of_trusted(root, bytes.clone(), trusted.file().unalike().cloned()))
}

/// For so long, in seconds, a cache between devices and the repository may hide a root that was published: what devices are answered says so, and an
/// online key that a root adds signs nothing before.
pub const LONGEST_HIDDEN_SECONDS: i64 = 5;

/// The keys with which a root that signs itself is verified.
///
/// # Errors
/// [`VerifyError`].
pub fn own_keys(root: &Root) -> Result<RoleKeys, VerifyError> {
    RoleKeys::in_root(root, &RoleName::root())
}

/// The SHA-256 of what is signed of a root, its canonical form (TUF specification 4.2): the same in every file of it, however that is written and by
/// whomever it is signed. What `tufline root show` calls its contents.
///
/// # Errors
/// [`VerifyError::Unreadable`], never in practice.
pub fn contents(root: &Root) -> Result<Sha256, VerifyError> {
    canonical_message(&RoleName::root(), root).map(|(message, _)| Sha256::of(&message))
}

/// Reads version `version` of a root that is published and verifies it under its own keys (TUF specification 5.3.4, the new root's half).
///
/// # Errors
/// [`VerifyError`].
pub fn read(bytes: &Bytes, version: u64) -> Result<Signed<Root>, VerifyError> {
    let trusted = TrustedRoot::begin(bytes).map_err(|error| refused(&error))?;
    signed(&trusted, bytes)?.expect_version(version)
}
