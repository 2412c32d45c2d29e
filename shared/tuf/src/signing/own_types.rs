//! Reads anybody's roots into tough's types.

use crate::primitives::field::named;
use crate::signing::KeyId;
use serde_json::{Map, Value};
use tough::schema::key::Key;
use tough::schema::{RoleType, Root, Signature};
/// Reads a root into tough's types. It doesn't use tough's own reader, which computes each key's id
/// itself and refuses a root with a kind of key that it doesn't know.
pub(crate) fn in_own_types(bytes: &[u8]) -> Result<Root, String> {
    let mut file: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let mut signed = file.get_mut("signed").map(Value::take).unwrap_or_default();
    let Some(fields) = signed.as_object_mut() else {
        return Err("its signed is not an object".into());
    };
    let entries = fields.insert("keys".into(), Map::new().into());
    // Clients treat null as absent.
    if fields.get("consistent_snapshot").is_none_or(Value::is_null) {
        fields.insert("consistent_snapshot".into(), false.into());
    }
    if let Some(Value::Object(roles)) = fields.get_mut("roles") {
        roles.retain(|name, _| name.parse::<RoleType>().is_ok());
        for role in roles.values_mut() {
            if let Some(Value::Array(ids)) = role.get_mut("keyids") {
                ids.retain(|id| key_id(id).is_some());
            }
        }
    }
    let mut root: Root = named(signed, "signed")?;
    let Some(Value::Object(entries)) = entries else {
        return Err("its signed.keys is not an object".into());
    };
    let key = |(id, entry): (String, Value)| {
        Some((key_id(&id.into())?, serde_json::from_value::<Key>(entry).ok()?))
    };
    root.keys = entries.into_iter().filter_map(key).collect();
    Ok(root)
}

fn key_id(id: &Value) -> Option<KeyId> {
    serde_json::from_value(id.clone()).ok()
}

/// The signatures in a signed file.
pub(crate) fn signatures(bytes: &[u8]) -> Result<Vec<Signature>, String> {
    #[derive(serde::Deserialize)]
    struct Signatures {
        signatures: Vec<Signature>,
    }
    let file: Signatures = named(&mut serde_json::Deserializer::from_slice(bytes), "")?;
    Ok(file.signatures)
}
