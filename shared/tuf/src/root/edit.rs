//! Making a root, and editing one that is not published yet.
//!
//! Every operation answers a root that keeps the rules, or refuses and changes nothing. Whatever changes drops the signatures:
//! they were over something else.

use std::collections::HashMap;
use std::num::NonZeroU64;

use tough::schema::key::Key;
use tough::schema::{RoleKeys, RoleType, Root};
use tufline_metadata::canonical::{self, Unalike, Why};

use super::chain::Chain;
use super::error::RootError;
use super::file::RootFile;
use super::holders::{holder, set_holder};
use super::keys::{check, key_id, short_id};
use super::published::refused;
use super::roles::name;
use crate::primitives::{RoleName, SPEC_VERSION, Time, whole_seconds};
use crate::signing::{Draft, KeyId, same_key};

/// A root key and, where that is said, who holds it.
#[derive(Debug, Clone)]
pub struct RootKey {
    /// The holder's name.
    pub holder: Option<String>,
    /// The public key.
    pub key: Key,
}

/// The public keys of the online roles that stand in the root.
#[derive(Debug, Clone)]
pub struct OnlineKeys {
    /// The top-level targets role's key.
    pub targets: Key,
    /// The snapshot role's key.
    pub snapshot: Key,
    /// The timestamp role's key.
    pub timestamp: Key,
}

/// What a first root is made of.
#[derive(Debug, Clone)]
pub struct FirstRoot {
    /// The root keys.
    pub keys: Vec<RootKey>,
    /// How many of them must sign.
    pub threshold: u64,
    /// The keys of the other roles: one each, threshold 1.
    pub online: OnlineKeys,
    /// When it expires.
    pub expires: Time,
}

impl FirstRoot {
    /// Version 1, unsigned.
    ///
    /// # Errors
    /// [`RootError`]: no key, a threshold that cannot be reached, a key twice.
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

/// The next version after `newest`, unsigned, with the same keys.
///
/// # Errors
/// [`RootError`] where `newest` itself doesn't keep the rules.
pub fn next(newest: &Root, expires: Time) -> Result<RootFile, RootError> {
    let version = after(newest)?;
    RootFile::unsigned(alike(Root { version, expires: whole_seconds(expires), ..newest.clone() }))
}

/// The version of the root after `newest`.
fn after(newest: &Root) -> Result<NonZeroU64, RootError> {
    let last = || RootError::Unreadable(format!("after version {} there is no next one", newest.version));
    newest.version.checked_add(1).ok_or_else(last)
}

/// The root without those fields of no meaning here which clients don't read alike: one that was published with them may keep some
/// devices from it for ever, and the next one must not.
fn alike(mut root: Root) -> Root {
    while let Err(Unalike { place, why }) = canonical::form(&root) {
        let before = root._extra.len();
        let named = match (place.into_iter().next(), why) {
            (Some(field), _) => vec![field],
            (None, Why::Order(one, next)) => vec![one, next],
            // A field that is called so.
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

/// Whether a repository here can go on under the people who hold the newest root.
///
/// # Errors
/// [`RootError::Holder`].
pub fn check_holders(chain: &Chain) -> Result<(), RootError> {
    let newest = chain.newest();
    for (id, key) in chain.trusted().root().role(name(RoleType::Root)).map_err(|error| refused(&error))?.keys() {
        let ours = newest.keys.iter().find(|(known, _)| hex::encode(known) == id.to_lowercase());
        let why = match ours {
            Some((_, key)) => check(key).err(),
            None => Some("clients in Rust know no such keys".to_owned()),
        };
        if let Some(why) = why {
            let (id, kind) = (id.to_owned(), format!("{} {}", key.keytype(), key.scheme()));
            return Err(RootError::Holder { version: chain.trusted().version(), id, kind, why });
        }
    }
    Ok(())
}

/// The next version after the newest, unsigned, by which a repository that others made becomes this one: its root keys and their threshold
/// stay, the other roles get the keys `online`, one each with threshold 1, and files keep every version under a name of its own.
///
/// # Errors
/// [`RootError::Holder`] where a root key of the newest is none that every client can use; other [`RootError`]s.
pub fn adopt(chain: &Chain, online: OnlineKeys, expires: Time) -> Result<RootFile, RootError> {
    let newest = chain.newest();
    check_holders(chain)?;
    let mut root = newest.clone();
    root.version = after(newest)?;
    root.spec_version = SPEC_VERSION.into();
    root.expires = whole_seconds(expires);
    root.consistent_snapshot = true;
    root.roles.retain(|role, _| *role == RoleType::Root);
    // An id without a key counts for nobody, and a key under two ids once.
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
/// [`RootError::KeyTwice`], [`RootError::RootKeyOnline`], [`RootError::BadKey`].
pub fn add_key(file: &RootFile, role: RoleType, key: RootKey) -> Result<RootFile, RootError> {
    let mut root = file.root().clone();
    insert(&mut root, role, key.key, key.holder.as_deref())?;
    RootFile::unsigned(root)
}

/// How a key is asked for: its holder's name, its id, or how its id begins (four digits or more).
#[derive(Debug, Clone)]
pub struct KeyName(pub String);

/// Lets the key no longer sign for `role`.
///
/// # Errors
/// [`RootError::NoKeys`] for the last one, [`RootError::Threshold`] where too few would be left, [`RootError::WhichKey`].
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

/// Sets when the root expires.
///
/// # Errors
/// [`RootError`] where the root doesn't keep the rules.
pub fn set_expiry(file: &RootFile, expires: Time) -> Result<RootFile, RootError> {
    RootFile::unsigned(Root { expires: whole_seconds(expires), ..file.root().clone() })
}

fn threshold(root: &mut Root, role: RoleType, count: u64) -> Result<(), RootError> {
    let entry = root.roles.get_mut(&role).ok_or(RootError::NoKeys(name(role)))?;
    let too_few = RootError::Threshold { role: name(role), threshold: count, keys: entry.keyids.len() };
    entry.threshold = NonZeroU64::new(count).ok_or(too_few)?;
    Ok(())
}

fn insert(root: &mut Root, role: RoleType, key: Key, holder: Option<&str>) -> Result<(), RootError> {
    // A key that the root has already keeps its id, whoever computed that.
    let known = root.keys.iter().find(|(_, known)| same_key(known, &key)).map(|(id, _)| id.clone());
    let id = match known {
        Some(id) => id,
        None => key_id(&key)?,
    };
    let lists = |other: &RoleType| root.roles.get(other).is_some_and(|entry| entry.keyids.contains(&id));
    if lists(&role) {
        return Err(RootError::KeyTwice { role: name(role), first: short_id(&id), second: short_id(&id) });
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
    let means = |id: &&KeyId| {
        let digits = hex::encode(id);
        holder(root, id) == Some(wanted) || (wanted.len() >= 4 && digits.starts_with(&wanted.to_lowercase()))
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

/// Version 1, without keys.
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
