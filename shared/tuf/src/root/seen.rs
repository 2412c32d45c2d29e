//! Makes sure that people see the whole root before they sign it.

use serde_json::Value;
use tough::schema::Root;

use super::error::RootError;
use super::holders::HOLDERS_FIELD;
use super::roles::ROLES;
use crate::primitives::plain::find_hidden;
use crate::signing::KeyId;

/// Refuses a root with text that a terminal doesn't show as it is: people couldn't see what they
/// sign.
///
/// # Errors
/// [`RootError::NotPlain`] for the first such character.
pub fn expect_plain(root: &Root) -> Result<(), RootError> {
    let tree =
        serde_json::to_value(root).map_err(|error| RootError::Unreadable(error.to_string()))?;
    match find_hidden(&tree) {
        Some((place, character)) => Err(RootError::NotPlain { place, code: character.into() }),
        None => Ok(()),
    }
}

/// All fields that the TUF specification doesn't define, with their places, except the names of
/// holders.
#[must_use]
pub fn extra_fields(root: &Root) -> Vec<(String, Value)> {
    let mut fields: Vec<(String, Value)> = Vec::new();
    let top = root._extra.iter().filter(|(field, _)| *field != HOLDERS_FIELD);
    fields.extend(top.map(|(field, value)| (field.clone(), value.clone())));
    for (role, entry) in &root.roles {
        fields.extend(
            entry
                ._extra
                .iter()
                .map(|(field, value)| (format!("roles.{role}.{field}"), value.clone())),
        );
    }
    for (id, key) in &root.keys {
        let Ok(Value::Object(entry)) = serde_json::to_value(key) else { continue };
        let place = format!("keys.{}", hex::encode(id));
        for (field, value) in entry {
            match (field.as_str(), value) {
                ("keytype" | "scheme", _) => {}
                ("keyval", Value::Object(parts)) => {
                    let others = parts.into_iter().filter(|(part, _)| part != "public");
                    fields.extend(
                        others.map(|(part, value)| (format!("{place}.keyval.{part}"), value)),
                    );
                }
                (_, value) => fields.push((format!("{place}.{field}"), value)),
            }
        }
    }
    fields.sort_by(|(one, _), (other, _)| one.cmp(other));
    fields
}

/// The keys in the root that no role lists.
#[must_use]
pub fn unused_keys(root: &Root) -> Vec<&KeyId> {
    let is_used = |id: &&KeyId| {
        ROLES.iter().any(|role| root.roles.get(role).is_some_and(|entry| entry.keyids.contains(id)))
    };
    let mut unused: Vec<&KeyId> = root.keys.keys().filter(|id| !is_used(id)).collect();
    unused.sort();
    unused
}
