//! Root documents (TUF specification 4.3).

use std::collections::HashMap;

use bytes::Bytes;
use tough::schema::key::Key;
use tough::schema::{self, RoleType, Root};

use crate::generation::{SPEC_VERSION, at_least_one};
use crate::name::RoleName;
use crate::signed::{Draft, RoleKeys, Signed, VerifyError, verify};
use crate::time::Time;

/// The public keys that a first root names: one a role.
#[derive(Debug, Clone)]
pub struct FirstKeys {
    /// The offline root key.
    pub root: Key,
    /// The top-level targets role's key.
    pub targets: Key,
    /// The snapshot role's key.
    pub snapshot: Key,
    /// The timestamp role's key.
    pub timestamp: Key,
}

/// Version 1 of the root, unsigned: one key a role, threshold 1. For development: a repository that devices depend on
/// wants a root of several people.
///
/// # Errors
/// [`VerifyError::Unreadable`] for a key that has no canonical form, never in practice.
pub fn first(keys: &FirstKeys, expires: Time) -> Result<Draft<Root>, VerifyError> {
    let mut root = Root {
        spec_version: SPEC_VERSION.into(),
        consistent_snapshot: true,
        version: at_least_one(1),
        expires,
        keys: HashMap::new(),
        roles: HashMap::new(),
        _extra: HashMap::new(),
    };
    for (role, key) in [
        (RoleType::Root, &keys.root),
        (RoleType::Targets, &keys.targets),
        (RoleType::Snapshot, &keys.snapshot),
        (RoleType::Timestamp, &keys.timestamp),
    ] {
        let id =
            key.key_id().map_err(|error| VerifyError::Unreadable { role: RoleName::root(), why: error.to_string() })?;
        root.keys.insert(id.clone(), key.clone());
        let role_keys = schema::RoleKeys { keyids: vec![id], threshold: at_least_one(1), _extra: HashMap::new() };
        root.roles.insert(role, role_keys);
    }
    Ok(Draft::new(RoleName::root(), root))
}

/// The keys with which a root that signs itself is verified.
///
/// # Errors
/// [`VerifyError`].
pub fn own_keys(root: &Root) -> Result<RoleKeys, VerifyError> {
    RoleKeys::in_root(root, &RoleName::root())
}

/// Reads version `version` of the root and verifies it under its own keys (TUF specification 5.3.4, the new root's half).
///
/// # Errors
/// [`VerifyError`].
pub fn read(bytes: &Bytes, version: u64) -> Result<Signed<Root>, VerifyError> {
    let unverified: schema::Signed<Root> = serde_json::from_slice(bytes)
        .map_err(|error| VerifyError::Unreadable { role: RoleName::root(), why: error.to_string() })?;
    verify(bytes.clone(), &own_keys(&unverified.signed)?)?.expect_version(version)
}
