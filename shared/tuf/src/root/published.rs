//! Roots that are published, by whomever: read as clients read them, and not judged.

use bytes::Bytes;
use serde_json::{Map, Value};
use tough::schema::key::Key;
use tough::schema::{RoleType, Root, Signature};
use tufline_metadata::{Error, File, TrustedRoot};

use super::{KeyId, RootError};
use crate::foreign::named;
use crate::name::RoleName;
use crate::sha256::Sha256;
use crate::signed::VerifyError;

/// A root that is published already, or that others will publish. What Tufline asks of its own is not asked of it.
#[derive(Debug, Clone)]
pub struct PublishedRoot {
    file: File<tufline_metadata::Root>,
    root: Root,
}

impl PublishedRoot {
    /// Reads it.
    ///
    /// # Errors
    /// [`RootError::Unreadable`].
    pub fn read(bytes: &[u8]) -> Result<Self, RootError> {
        let file = File::read(bytes).map_err(|error| RootError::Unreadable(error.to_string()))?;
        Ok(Self { file, root: in_own_types(bytes).map_err(RootError::Unreadable)? })
    }

    /// What it says, without the keys that tough has no type for: their signatures count for nothing where Tufline's own root is signed.
    #[must_use]
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// The file, with all that is in it.
    #[must_use]
    pub fn file(&self) -> &File<tufline_metadata::Root> {
        &self.file
    }

    /// Its version.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.file.common().version
    }

    /// How many more of its own keys must sign it.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.file
            .unverified()
            .role("root")
            .map_or(u64::MAX, |keys| keys.threshold().saturating_sub(self.file.signers(&keys).len() as u64))
    }

    /// The SHA-256 of what is signed, as [`super::contents`] has it of a root in our types.
    #[must_use]
    pub fn contents(&self) -> Sha256 {
        Sha256::of(self.file.message())
    }
}

/// Reads a root into tough's types. Its own reading is not used, since that computes the ids of keys, and knows no others than the kinds of keys
/// that it has.
pub(crate) fn in_own_types(bytes: &[u8]) -> Result<Root, String> {
    let mut file: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let mut signed = file.get_mut("signed").map(Value::take).unwrap_or_default();
    let Some(fields) = signed.as_object_mut() else { return Err("its signed is no object".into()) };
    let entries = fields.insert("keys".into(), Map::new().into());
    // Clients take null for what is left out.
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
    let Some(Value::Object(entries)) = entries else { return Err("its signed.keys is no object".into()) };
    let key = |(id, entry): (String, Value)| Some((key_id(&id.into())?, serde_json::from_value::<Key>(entry).ok()?));
    root.keys = entries.into_iter().filter_map(key).collect();
    Ok(root)
}

fn key_id(id: &Value) -> Option<KeyId> {
    serde_json::from_value(id.clone()).ok()
}

/// The signatures in a file.
pub(crate) fn signatures(bytes: &[u8]) -> Result<Vec<Signature>, String> {
    #[derive(serde::Deserialize)]
    struct Signatures {
        signatures: Vec<Signature>,
    }
    let file: Signatures = named(&mut serde_json::Deserializer::from_slice(bytes), "")?;
    Ok(file.signatures)
}

/// Why a root isn't one to follow, as a document of this repository.
pub(super) fn refused(error: &Error) -> VerifyError {
    let role = RoleName::root();
    match error {
        Error::Signatures { good, needed, .. } => {
            VerifyError::Signatures { role, why: format!("{good} of its signatures are good where {needed} must be") }
        }
        Error::Version { found, expected } => VerifyError::Version { role, found: *found, expected: *expected },
        Error::NoRole { .. } => VerifyError::NoKeys { role },
        Error::Expired(_) | Error::Json(_) | Error::Field { .. } | Error::Form(_) | Error::Content(_) => {
            VerifyError::Unreadable { role, why: error.to_string() }
        }
    }
}

/// The bytes of a trusted root in tough's types.
pub(super) fn signed(trusted: &TrustedRoot, bytes: &Bytes) -> Result<crate::signed::Signed<Root>, VerifyError> {
    let root = in_own_types(bytes).map_err(|why| VerifyError::Unreadable { role: RoleName::root(), why })?;
    Ok(crate::signed::Signed::of_trusted(root, bytes.clone(), trusted.file().unalike().cloned()))
}
