//! The types of documents that can be signed.

use super::own_types;
use serde::de::DeserializeOwned;
use tough::schema::{self, Role, Root, Snapshot, Targets, Timestamp};

/// A role document that can be signed: root, targets (top-level or delegated), snapshot or
/// timestamp.
pub trait RoleDocument: Role + DeserializeOwned + Clone + PartialEq + Send + Sync {
    /// The name of the only role with documents of this type. `None` for targets, whose documents
    /// belong to `targets` or to a delegated role.
    const FIXED_NAME: Option<&'static str>;

    /// Reads a signed file of this type.
    ///
    /// # Errors
    /// The parser's message.
    fn read_file(bytes: &[u8]) -> Result<schema::Signed<Self>, String> {
        serde_json::from_slice(bytes).map_err(|error| error.to_string())
    }
}

impl RoleDocument for Root {
    const FIXED_NAME: Option<&'static str> = Some("root");

    /// Keeps each key's id as the root states it: a root that follows another tool's root keeps
    /// that tool's ids.
    fn read_file(bytes: &[u8]) -> Result<schema::Signed<Self>, String> {
        Ok(schema::Signed {
            signed: own_types::in_own_types(bytes)?,
            signatures: own_types::signatures(bytes)?,
        })
    }
}

impl RoleDocument for Timestamp {
    const FIXED_NAME: Option<&'static str> = Some("timestamp");
}

impl RoleDocument for Snapshot {
    const FIXED_NAME: Option<&'static str> = Some("snapshot");
}

impl RoleDocument for Targets {
    const FIXED_NAME: Option<&'static str> = None;
}
