//! The rules for every root that this repository publishes, whoever made it.

use std::collections::BTreeMap;

use tough::schema::{RoleType, Root};

use super::error::RootError;
use super::holders;
use super::keys::{check, check_new, key_id, short_id};
use super::roles::{ROLES, name};
use crate::primitives::whole_seconds;
use crate::signing::{public_part, same_key};

/// Checks a root against the rules.
///
/// *Invariant*: after it, each of the four roles has at least one key, and at least as many
/// distinct public keys as its threshold. All clients can use each of them.
///
/// # Errors
/// The first [`RootError`] that is found.
pub(super) fn check_rules(root: &Root) -> Result<(), RootError> {
    let unfit = |why: &str| Err(RootError::Unfit(why.into()));
    if !root.spec_version.starts_with("1.") {
        return unfit("its spec_version is not 1.x, which clients refuse");
    }
    if !root.consistent_snapshot {
        return unfit(
            "its consistent_snapshot is not true: this repository keeps every version of its \
             files under a name of its own",
        );
    }
    if root.roles.keys().any(|role| !ROLES.contains(role)) {
        return unfit(
            "it has a role besides root, timestamp, snapshot and targets, which some clients \
             refuse",
        );
    }
    if whole_seconds(root.expires) != root.expires {
        return unfit("its expiry has a fraction of a second, which some clients refuse");
    }
    for (id, key) in &root.keys {
        check(key).map_err(|why| RootError::BadKey { what: short_id(id), why })?;
    }
    for role in ROLES {
        check_role(root, role)?;
    }
    holders::check_field(root)
}

/// Checks the keys that the predecessor doesn't have. A key that it has keeps its id and its size
/// for as long as roots list it, whoever made it.
///
/// *Invariant*: after it, every client computes the same id for each new key.
///
/// # Errors
/// [`RootError::BadKey`].
pub(super) fn check_new_keys(root: &Root, previous: Option<&Root>) -> Result<(), RootError> {
    for (id, key) in &root.keys {
        if previous
            .and_then(|previous| previous.keys.get(id))
            .is_some_and(|known| same_key(known, key))
        {
            continue;
        }
        let bad = |why: String| RootError::BadKey { what: short_id(id), why };
        check_new(key).map_err(bad)?;
        if key_id(key)? != *id {
            return Err(bad(
                "its id is not the SHA-256 of its entry, as some clients compute it: add it with \
                            `tufline root add-key`"
                    .into(),
            ));
        }
    }
    Ok(())
}

fn check_role(root: &Root, role: RoleType) -> Result<(), RootError> {
    let name = name(role);
    let entry = root
        .roles
        .get(&role)
        .filter(|entry| !entry.keyids.is_empty())
        .ok_or(RootError::NoKeys(name))?;
    let mut seen = BTreeMap::new();
    for id in &entry.keyids {
        let key = root
            .keys
            .get(id)
            .ok_or_else(|| RootError::UnknownKey { role: name, id: short_id(id) })?;
        if let Some(before) = seen.insert(public_part(key), id) {
            return Err(RootError::KeyTwice {
                role: name,
                first: short_id(before),
                second: short_id(id),
            });
        }
    }
    let threshold = entry.threshold.get();
    if threshold > seen.len() as u64 {
        return Err(RootError::Threshold { role: name, threshold, keys: seen.len() });
    }
    Ok(())
}
