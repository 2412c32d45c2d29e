//! Describes to people how two versions of the root differ.

use std::collections::BTreeSet;
use std::fmt;

use tough::schema::{RoleType, Root};

use super::holders::{HOLDERS_FIELD, holder, names};
use super::keys::{kind, short_id};
use super::roles::{ROLES, name};
use crate::primitives::Time;
use crate::signing::KeyId;

/// A difference between two roots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootChange {
    /// A key may sign for a role from now on.
    KeyAdded {
        /// The name of the top-level role.
        role: &'static str,
        /// The key's holder, id and kind, as [`RootChange`] shows them.
        key: String,
    },
    /// A key may no longer sign for a role.
    KeyRemoved {
        /// The name of the top-level role.
        role: &'static str,
        /// The key's holder, id and kind.
        key: String,
    },
    /// A role requires another number of signatures.
    Threshold {
        /// The name of the top-level role.
        role: &'static str,
        /// The threshold in the older root.
        from: u64,
        /// The threshold in the newer root.
        to: u64,
    },
    /// The root expires at another time.
    Expiry {
        /// The older root's expiry.
        from: Time,
        /// The newer root's expiry.
        to: Time,
    },
    /// The name of any other field that differs.
    Other(String),
}

impl fmt::Display for RootChange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyAdded { role, key } => write!(formatter, "{role}: + {key}"),
            Self::KeyRemoved { role, key } => write!(formatter, "{role}: - {key}"),
            Self::Threshold { role, from, to } => {
                write!(formatter, "{role}: threshold {from} → {to}")
            }
            Self::Expiry { from, to } => write!(formatter, "expires: {from} → {to}"),
            Self::Other(field) => write!(formatter, "{field} differs: look at the file"),
        }
    }
}

/// All differences of `new` from `old`, except its version and the order of key ids. An empty
/// result means that nothing else differs.
#[must_use]
pub fn changes(old: &Root, new: &Root) -> Vec<RootChange> {
    let mut changes = Vec::new();
    for role in ROLES {
        let (before, after) = (keys(old, role), keys(new, role));
        let role_name = name(role);
        for id in after.difference(&before) {
            changes.push(RootChange::KeyAdded { role: role_name, key: describe(new, id) });
        }
        for id in before.difference(&after) {
            changes.push(RootChange::KeyRemoved { role: role_name, key: describe(old, id) });
        }
        let threshold =
            |root: &Root| root.roles.get(&role).map_or(0, |entry| entry.threshold.get());
        if threshold(old) != threshold(new) {
            changes.push(RootChange::Threshold {
                role: role_name,
                from: threshold(old),
                to: threshold(new),
            });
        }
    }
    if old.expires != new.expires {
        changes.push(RootChange::Expiry { from: old.expires, to: new.expires });
    }
    changes.extend(others(old, new).into_iter().map(RootChange::Other));
    changes
}

fn keys(root: &Root, role: RoleType) -> BTreeSet<KeyId> {
    root.roles.get(&role).into_iter().flat_map(|entry| entry.keyids.iter().cloned()).collect()
}

/// The fields that differ and that the lines about roles and expiry don't cover.
fn others(old: &Root, new: &Root) -> Vec<String> {
    let mut fields = Vec::new();
    let mut note = |differs: bool, field: &str| {
        if differs {
            fields.push(field.to_owned());
        }
    };
    note(old.spec_version != new.spec_version, "spec_version");
    note(old.consistent_snapshot != new.consistent_snapshot, "consistent_snapshot");
    // Keys that no role lists, and other fields of the keys that both roots have.
    let told = |id: &KeyId| {
        ROLES.iter().any(|role| keys(old, *role).contains(id) != keys(new, *role).contains(id))
    };
    let ids: BTreeSet<&KeyId> = old.keys.keys().chain(new.keys.keys()).collect();
    note(ids.into_iter().any(|id| !told(id) && old.keys.get(id) != new.keys.get(id)), "keys");
    for role in ROLES {
        let extra = |root: &Root| root.roles.get(&role).map(|entry| entry._extra.clone());
        note(extra(old) != extra(new), &format!("roles.{}", name(role)));
    }
    // The lines about added and removed keys show their holders' names, so only the other names are
    // compared here.
    let kept = |root: &Root| {
        let names = names(root).cloned().unwrap_or_default();
        let both = |id: &String| ids_of(old).contains(id) == ids_of(new).contains(id);
        names.into_iter().filter(|(id, _)| both(id)).collect::<Vec<_>>()
    };
    note(kept(old) != kept(new), HOLDERS_FIELD);
    let fields_of =
        |root: &Root| root._extra.keys().filter(|field| *field != HOLDERS_FIELD).cloned().collect();
    let extra: BTreeSet<String> = [fields_of(old), fields_of(new)]
        .into_iter()
        .flat_map(|set: BTreeSet<String>| set)
        .collect();
    for field in extra {
        note(old._extra.get(&field) != new._extra.get(&field), &field);
    }
    fields
}

fn ids_of(root: &Root) -> BTreeSet<String> {
    root.keys.keys().map(hex::encode).collect()
}

/// A key for people: its holder's name, the beginning of its id, and its kind.
fn describe(root: &Root, id: &KeyId) -> String {
    let kind = root.keys.get(id).map_or("unknown", kind);
    match holder(root, id) {
        Some(holder) => format!("{holder} {} ({kind})", short_id(id)),
        None => format!("{} ({kind})", short_id(id)),
    }
}
