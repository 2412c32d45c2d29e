//! Verifies signatures for the gate.

use bytes::Bytes;
use tough::schema::{Root, Targets};

use crate::primitives::RoleName;
use crate::signing::{RoleDocument, RoleKeys, Signed, VerifyError, verify_published};

/// A role document whose signatures were checked ahead of the gate's other checks, perhaps on
/// another processor.
///
/// *Invariant*: `document` is the result of verifying it under `keys`.
#[derive(Debug)]
pub struct VerifiedRole {
    pub(super) keys: RoleKeys,
    pub(super) document: Result<Signed<Targets>, VerifyError>,
}

impl VerifiedRole {
    /// Checks the signatures of `bytes` under `keys`, which come from
    /// [`Gate::keys`](super::Gate::keys).
    #[must_use]
    pub fn new(bytes: Bytes, keys: RoleKeys) -> Self {
        Self { document: verify_published(bytes, &keys), keys }
    }
}

pub(super) fn verify_under_all<T: RoleDocument>(
    roots: &[Root],
    role: &RoleName,
    bytes: &Bytes,
) -> Result<Signed<T>, VerifyError> {
    let mut signed = Err(VerifyError::NoKeys { role: role.clone() });
    for root in roots {
        signed = Ok(verify_published(bytes.clone(), &RoleKeys::in_root(root, role)?)?);
    }
    signed
}
