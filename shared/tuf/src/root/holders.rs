//! Who holds which key: names for people, in the root itself.
//!
//! The names are in a field of their own beside the keys. So they travel in the same file, are
//! signed, and survive other tools. They are not in the keys: a field in a key changes the id that
//! `tough` computes for it, but not the id that others compute, and `tough` would then not find the
//! signatures of that key.

use serde_json::{Map, Value};
use tough::schema::Root;

use super::error::RootError;
use crate::primitives::plain::is_plain;
use crate::signing::KeyId;

/// The root's field with the names: an object from key ids to names. Clients keep fields that they
/// don't know (TUF specification 4.1).
pub const HOLDERS_FIELD: &str = "x-tufline-keyholders";

/// The longest name, in characters.
const LONGEST: usize = 64;

/// The name of the key's holder, if the root states one.
#[must_use]
pub fn holder<'a>(root: &'a Root, id: &KeyId) -> Option<&'a str> {
    names(root)?.get(&hex::encode(id))?.as_str()
}

pub(super) fn names(root: &Root) -> Option<&Map<String, Value>> {
    root._extra.get(HOLDERS_FIELD)?.as_object()
}

/// Sets the name of the key's holder; `None` removes it.
pub(super) fn set_holder(root: &mut Root, id: &KeyId, name: Option<&str>) -> Result<(), RootError> {
    let mut names = names(root).cloned().unwrap_or_default();
    match name {
        Some(name) => {
            check(name)?;
            // This rule is new, so it covers new names only: a name in a published root must not
            // block its successor.
            if let Some(hidden) = name.chars().find(|character| !is_plain(*character)) {
                return Err(RootError::NotPlain {
                    place: "a keyholder's name".into(),
                    code: hidden.into(),
                });
            }
            names.insert(hex::encode(id), name.into());
        }
        None => _ = names.remove(&hex::encode(id)),
    }
    if names.is_empty() {
        root._extra.remove(HOLDERS_FIELD);
    } else {
        root._extra.insert(HOLDERS_FIELD.into(), names.into());
    }
    Ok(())
}

/// Checks that a name has no control characters and that all clients write one canonical form of
/// it.
fn check(name: &str) -> Result<(), RootError> {
    let bad = |why: &str| Err(RootError::BadHolder(format!("{name:?} {why}")));
    if name.trim() != name || name.is_empty() || name.chars().count() > LONGEST {
        return bad("is empty, begins or ends with a space, or is longer than 64 characters");
    }
    if name.chars().any(char::is_control) || !unicode_normalization::is_nfc(name) {
        return bad("has control characters, or is not in Unicode normal form C");
    }
    Ok(())
}

/// Checks the names in a root that anybody may have made.
pub(super) fn check_field(root: &Root) -> Result<(), RootError> {
    let Some(field) = root._extra.get(HOLDERS_FIELD) else { return Ok(()) };
    let names = field
        .as_object()
        .ok_or_else(|| RootError::BadHolder("is not in an object of names".into()))?;
    for name in names.values() {
        check(
            name.as_str().ok_or_else(|| RootError::BadHolder(format!("{name} is not a string")))?,
        )?;
    }
    Ok(())
}
