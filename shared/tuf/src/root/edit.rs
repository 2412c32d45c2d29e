//! Makes a root, and edits one that is not yet published.
//!
//! Each operation returns a root that keeps the rules, or refuses and changes nothing. An edited
//! root has no signatures: the old ones were over other content.

use std::collections::HashMap;
use std::num::NonZeroU64;

use tough::schema::key::Key;
use tough::schema::{RoleKeys, RoleType, Root};
use tufline_metadata::canonical::{self, Unalike, Why};

use super::chain::Chain;
use super::error::RootError;
use super::file::RootFile;
use super::holders::{holder, set_holder};
use super::keys::{check, key_id, short_id, written_id};
use super::published::refused;
use super::roles::name;
use crate::primitives::{RoleName, SPEC_VERSION, Time, whole_seconds};
use crate::signing::{Draft, KeyId, same_key};

/// A root key and, if known, its holder.
#[derive(Debug, Clone)]
pub struct RootKey {
    /// The holder's name, if known.
    pub holder: Option<String>,
    /// The holder's public key.
    pub key: Key,
}

/// The public keys of the online roles that the root lists.
#[derive(Debug, Clone)]
pub struct OnlineKeys {
    /// The top-level targets role's key.
    pub targets: Key,
    /// The snapshot role's key.
    pub snapshot: Key,
    /// The timestamp role's key.
    pub timestamp: Key,
}

/// The content of a first root.
#[derive(Debug, Clone)]
pub struct FirstRoot {
    /// The root role's keys.
    pub keys: Vec<RootKey>,
    /// How many of them must sign.
    pub threshold: u64,
    /// The keys of the other roles: one each, threshold 1.
    pub online: OnlineKeys,
    /// The time at which the root expires.
    pub expires: Time,
}

impl FirstRoot {
    /// Makes version 1, unsigned.
    ///
    /// # Errors
    /// [`RootError`] if there is no key, a repeated key, or a threshold that cannot be reached.
    pub fn make(self) -> Result<RootFile, RootError> {
        let mut root = bare(whole_seconds(self.expires));
        for RootKey { holder, key } in self.keys {
            insert(&mut root, RoleType::Root, key, holder.as_deref())?;
        }
        insert_online(&mut root, self.online)?;
        threshold(&mut root, RoleType::Root, self.threshold)?;
        RootFile::unsigned(root)
    }
}

/// Version 1 of a root for development, unsigned: one key for each role, threshold 1. A repository
/// that devices depend on needs a root of several people.
///
/// # Errors
/// [`RootError`] for a key that some client can't use.
pub fn first(root: Key, online: OnlineKeys, expires: Time) -> Result<Draft<Root>, RootError> {
    let keys = vec![RootKey { holder: None, key: root }];
    let file = FirstRoot { keys, threshold: 1, online, expires }.make()?;
    Ok(Draft::new(RoleName::root(), file.root().clone()))
}

/// The next version after `newest`, unsigned, with the same keys.
///
/// # Errors
/// [`RootError`] if `newest` itself doesn't keep the rules.
pub fn next(newest: &Root, expires: Time) -> Result<RootFile, RootError> {
    let version = after(newest)?;
    RootFile::unsigned(alike(Root { version, expires: whole_seconds(expires), ..newest.clone() }))
}

/// The version of the root after `newest`.
fn after(newest: &Root) -> Result<NonZeroU64, RootError> {
    let last =
        || RootError::Unreadable(format!("no version can follow version {}", newest.version));
    newest.version.checked_add(1).ok_or_else(last)
}

/// Removes the fields that have no meaning here and that clients don't read alike. A root that was
/// published with such a field may lock some devices out for ever, and the next root must not.
fn alike(mut root: Root) -> Root {
    while let Err(Unalike { place, why }) = canonical::form(&root) {
        let before = root._extra.len();
        let named = match (place.into_iter().next(), why) {
            (Some(field), _) => vec![field],
            (None, Why::Order(one, next)) => vec![one, next],
            // The name of a field is such a text.
            (None, Why::Text(name)) => vec![name],
            (None, _) => Vec::new(),
        };
        root._extra.retain(|field, _| !named.iter().any(|name| field.contains(name.as_str())));
        if root._extra.len() == before {
            break;
        }
    }
    root
}

/// Checks that every root key of the newest root works for all clients, so that a repository here
/// can continue under its holders.
///
/// # Errors
/// [`RootError::Holder`] for the first key that doesn't.
pub fn check_holders(chain: &Chain) -> Result<(), RootError> {
    let newest = chain.newest();
    for (id, key) in
        chain.trusted().root().role(name(RoleType::Root)).map_err(|error| refused(&error))?.keys()
    {
        let ours = newest.keys.iter().find(|(known, _)| hex::encode(known) == id.to_lowercase());
        let why = match ours {
            Some((_, key)) => check(key).err(),
            None => Some("clients in Rust don't support such keys".to_owned()),
        };
        if let Some(why) = why {
            let (id, kind) = (id.to_owned(), format!("{} {}", key.keytype(), key.scheme()));
            return Err(RootError::Holder { version: chain.trusted().version(), id, kind, why });
        }
    }
    Ok(())
}

/// The next version after the newest root of a repository that others made, unsigned. It makes that
/// repository this one: the root keys and their threshold stay, each other role gets one key of
/// `online` with threshold 1, and `consistent_snapshot` is set.
///
/// # Errors
/// [`RootError::Holder`] if not every client can use a root key of the newest root; other
/// [`RootError`]s if the new root breaks a rule.
pub fn adopt(chain: &Chain, online: OnlineKeys, expires: Time) -> Result<RootFile, RootError> {
    let newest = chain.newest();
    check_holders(chain)?;
    let mut root = newest.clone();
    root.version = after(newest)?;
    root.spec_version = SPEC_VERSION.into();
    root.expires = whole_seconds(expires);
    root.consistent_snapshot = true;
    root.roles.retain(|role, _| *role == RoleType::Root);
    // Drop ids without a key, and a key's second id: neither counts as a key.
    let mut holders: Vec<KeyId> = Vec::new();
    for id in root.roles.values().flat_map(|entry| &entry.keyids) {
        let Some(key) = root.keys.get(id) else { continue };
        if !holders.iter().any(|met| root.keys.get(met).is_some_and(|met| same_key(met, key))) {
            holders.push(id.clone());
        }
    }
    for entry in root.roles.values_mut() {
        entry.keyids.clone_from(&holders);
    }
    root.keys.retain(|id, _| holders.contains(id));
    insert_online(&mut root, online)?;
    RootFile::unsigned(alike(root))
}

/// Lets `key` sign for `role`.
///
/// # Errors
/// [`RootError::KeyTwice`], [`RootError::RootKeyOnline`] or [`RootError::BadKey`].
pub fn add_key(file: &RootFile, role: RoleType, key: RootKey) -> Result<RootFile, RootError> {
    let mut root = file.root().clone();
    insert(&mut root, role, key.key, key.holder.as_deref())?;
    RootFile::unsigned(root)
}

/// How a person names a key: by its holder's name, its id, or the first four or more digits of its
/// id.
#[derive(Debug, Clone)]
pub struct KeyName(pub String);

/// Removes `key` from `role`.
///
/// # Errors
/// [`RootError::NoKeys`] for the last key, [`RootError::Threshold`] if too few would be left,
/// [`RootError::WhichKey`] if `key` names none or several.
pub fn remove_key(file: &RootFile, role: RoleType, key: &KeyName) -> Result<RootFile, RootError> {
    let mut root = file.root().clone();
    let id = find(&root, role, key)?;
    if let Some(entry) = root.roles.get_mut(&role) {
        entry.keyids.retain(|other| *other != id);
    }
    if !root.roles.values().any(|entry| entry.keyids.contains(&id)) {
        root.keys.remove(&id);
        set_holder(&mut root, &id, None)?;
    }
    RootFile::unsigned(root)
}

/// Sets how many keys of `role` must sign.
///
/// # Errors
/// [`RootError::Threshold`].
pub fn set_threshold(file: &RootFile, role: RoleType, count: u64) -> Result<RootFile, RootError> {
    let mut root = file.root().clone();
    threshold(&mut root, role, count)?;
    RootFile::unsigned(root)
}

/// Sets the time at which the root expires.
///
/// # Errors
/// [`RootError`] if the root doesn't keep the rules.
pub fn set_expiry(file: &RootFile, expires: Time) -> Result<RootFile, RootError> {
    RootFile::unsigned(Root { expires: whole_seconds(expires), ..file.root().clone() })
}

fn threshold(root: &mut Root, role: RoleType, count: u64) -> Result<(), RootError> {
    let entry = root.roles.get_mut(&role).ok_or(RootError::NoKeys(name(role)))?;
    let too_few =
        RootError::Threshold { role: name(role), threshold: count, keys: entry.keyids.len() };
    entry.threshold = NonZeroU64::new(count).ok_or(too_few)?;
    Ok(())
}

fn insert(
    root: &mut Root,
    role: RoleType,
    key: Key,
    holder: Option<&str>,
) -> Result<(), RootError> {
    // A key that the root already has keeps its id, whichever tool computed it.
    let known = root.keys.iter().find(|(_, known)| same_key(known, &key)).map(|(id, _)| id.clone());
    let id = match known {
        Some(id) => id,
        None => key_id(&key)?,
    };
    let lists =
        |other: &RoleType| root.roles.get(other).is_some_and(|entry| entry.keyids.contains(&id));
    if lists(&role) {
        return Err(RootError::KeyTwice {
            role: name(role),
            first: short_id(&id),
            second: short_id(&id),
        });
    }
    let others = super::ROLES.iter().filter(|other| **other != role && lists(other));
    if others.into_iter().any(|other| role == RoleType::Root || *other == RoleType::Root) {
        return Err(RootError::RootKeyOnline(short_id(&id)));
    }
    root.keys.entry(id.clone()).or_insert(key);
    let entry = root.roles.entry(role).or_insert_with(|| RoleKeys {
        keyids: Vec::new(),
        threshold: NonZeroU64::MIN,
        _extra: std::collections::HashMap::new(),
    });
    entry.keyids.push(id.clone());
    match holder {
        Some(holder) => set_holder(root, &id, Some(holder)),
        None => Ok(()),
    }
}

fn insert_online(root: &mut Root, online: OnlineKeys) -> Result<(), RootError> {
    let OnlineKeys { targets, snapshot, timestamp } = online;
    insert(root, RoleType::Targets, targets, None)?;
    insert(root, RoleType::Snapshot, snapshot, None)?;
    insert(root, RoleType::Timestamp, timestamp, None)
}

fn find(root: &Root, role: RoleType, wanted: &KeyName) -> Result<KeyId, RootError> {
    let ids = root.roles.get(&role).map(|entry| entry.keyids.as_slice()).unwrap_or_default();
    let wanted = wanted.0.as_str();
    let digits = written_id(wanted);
    let means = |id: &&KeyId| {
        holder(root, id) == Some(wanted)
            || (digits.len() >= 4 && hex::encode(id).starts_with(&digits))
    };
    let found: Vec<&KeyId> = ids.iter().filter(means).collect();
    if let [id] = found[..] {
        return Ok(id.clone());
    }
    let describe = |id: &KeyId| match holder(root, id) {
        Some(holder) => format!("{holder} ({})", short_id(id)),
        None => short_id(id),
    };
    let keys = ids.iter().map(describe).collect::<Vec<_>>().join(", ");
    Err(RootError::WhichKey { role: name(role), wanted: wanted.into(), found: found.len(), keys })
}

/// Version 1, without keys or roles.
fn bare(expires: Time) -> Root {
    Root {
        spec_version: SPEC_VERSION.into(),
        consistent_snapshot: true,
        version: NonZeroU64::MIN,
        expires,
        keys: HashMap::new(),
        roles: HashMap::new(),
        _extra: HashMap::new(),
    }
}
