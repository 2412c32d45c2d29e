//! The documents that can be signed.

use super::own_types;
use serde::de::DeserializeOwned;
use tough::schema::{self, Role, Root, Snapshot, Targets, Timestamp};

/// A role document that can be signed: root, targets (and delegated ones), snapshot, timestamp.
pub trait RoleDocument: Role + DeserializeOwned + Clone + PartialEq + Send + Sync {
    /// The top-level role of this type; `None` for targets, whose documents belong to `targets` or to a delegated role.
    const FIXED_NAME: Option<&'static str>;

    /// Reads a file of it.
    ///
    /// # Errors
    /// The parser's words.
    fn read_file(bytes: &[u8]) -> Result<schema::Signed<Self>, String> {
        serde_json::from_slice(bytes).map_err(|error| error.to_string())
    }
}

impl RoleDocument for Root {
    const FIXED_NAME: Option<&'static str> = Some("root");

    /// A key has the id that the root gives it: a root that goes on with one of others keeps theirs.
    fn read_file(bytes: &[u8]) -> Result<schema::Signed<Self>, String> {
        Ok(schema::Signed { signed: own_types::in_own_types(bytes)?, signatures: own_types::signatures(bytes)? })
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
