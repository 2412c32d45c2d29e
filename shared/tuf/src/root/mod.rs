//! Root documents (TUF specification 4.3): making one, editing its successor, signing it by several people, and what must hold
//! before it may follow the one before.
//!
//! A root that is not published yet is a [`RootFile`], which travels between people and may have any number of signatures. What
//! may be published is a [`FitRoot`], which only [`begin`] and [`succeed`] make.

mod chain;
mod diff;
mod edit;
mod error;
mod file;
mod holders;
mod keys;
mod pinned;
pub(crate) mod published;
mod rules;
mod seen;
mod tally;

use std::collections::HashMap;

use bytes::Bytes;
use tough::schema::key::Key;
use tough::schema::{RoleType, Root};
use tufline_metadata::TrustedRoot;

use crate::name::RoleName;
use crate::sha256::Sha256;
use crate::signed::{Draft, RoleKeys, Signed, VerifyError, canonical};
use crate::time::Time;

pub use chain::{Chain, FitRoot, begin, only_adds, succeed};
pub use diff::{Change, changes};
pub use edit::{
    FirstRoot, KeyName, OnlineKeys, RootKey, add_key, adopt, check_holders, next, remove_key, set_expiry, set_threshold,
};
pub use error::RootError;
pub use file::{LARGEST_ROOT, RootFile};
pub use holders::{HOLDERS_FIELD, holder};
pub use keys::{KeyId, expect_new_key, from_spki, key_id, kind, read_known_key, read_public_key, same_key, to_pem};
pub use pinned::{NotPinnedRoot, PinnedRoot};
pub use published::PublishedRoot;
pub use rules::ROLES;
pub use seen::{expect_plain, extra_fields, unused_keys};
pub use tally::{Tally, needed, tallies};

/// For so long, in seconds, a cache between devices and the repository may hide a root that was published: what devices are answered says so, and an
/// online key that a root adds signs nothing before.
pub const LONGEST_HIDDEN_SECONDS: i64 = 5;

/// Version 1 of the root, unsigned: one key a role, threshold 1. For development: a repository that devices depend on
/// wants a root of several people.
///
/// # Errors
/// [`RootError`] for keys that no client can use.
pub fn first(root: Key, online: OnlineKeys, expires: Time) -> Result<Draft<Root>, RootError> {
    let keys = vec![RootKey { holder: None, key: root }];
    let file = FirstRoot { keys, threshold: 1, online, expires }.make()?;
    Ok(Draft::new(RoleName::root(), file.root().clone()))
}

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
    canonical(&RoleName::root(), root).map(|(message, _)| Sha256::of(&message))
}

/// Reads version `version` of a root that is published and verifies it under its own keys (TUF specification 5.3.4, the new root's half).
///
/// # Errors
/// [`VerifyError`].
pub fn read(bytes: &Bytes, version: u64) -> Result<Signed<Root>, VerifyError> {
    let trusted = TrustedRoot::begin(bytes).map_err(|error| published::refused(&error))?;
    published::signed(&trusted, bytes)?.expect_version(version)
}

/// A root without keys.
fn bare(version: u64, expires: Time) -> Root {
    Root {
        spec_version: crate::generation::SPEC_VERSION.into(),
        consistent_snapshot: true,
        version: crate::generation::at_least_one(version),
        expires,
        keys: HashMap::new(),
        roles: HashMap::new(),
        _extra: HashMap::new(),
    }
}

/// The name of a top-level role.
fn name(role: RoleType) -> &'static str {
    match role {
        RoleType::Root => "root",
        RoleType::Targets => "targets",
        RoleType::Snapshot => "snapshot",
        RoleType::Timestamp => "timestamp",
        RoleType::DelegatedTargets => "delegated targets",
    }
}
