//! What may be written: bytes that belong to their key by construction.

use bytes::Bytes;
use serde::Serialize;
use tufline_tuf::index::Page;
use tufline_tuf::{Draft, RoleName, Sha256, Signed, SignedDocument, json};

use crate::key::Key;

/// Bytes with the key under which they may be stored.
///
/// *Invariant*: what devices read is made from a [`Signed`] document only, under the key of its own role and version; a
/// draft or a page lies under its own digest. So nothing unsigned or unverified, and nothing under another's name, can be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    key: Key,
    bytes: Bytes,
}

impl Document {
    /// A signed role document: `timestamp.json` for the timestamp, `<version>.<role>.json` for any other.
    #[must_use]
    pub fn signed<T: SignedDocument>(signed: &Signed<T>) -> Self {
        let key = if *signed.role() == RoleName::timestamp() {
            Key::Timestamp
        } else {
            Key::Metadata { role: signed.role().clone(), version: signed.version() }
        };
        Self { key, bytes: signed.bytes().clone() }
    }

    /// An unsigned role document, for the ledger.
    ///
    /// # Errors
    /// As [`Draft::to_bytes`].
    pub fn draft<T: SignedDocument>(draft: &Draft<T>) -> Result<Self, tufline_tuf::VerifyError> {
        let bytes = draft.to_bytes()?;
        Ok(Self { key: Key::Draft(Sha256::of(&bytes)), bytes })
    }

    /// A page of the index, for the ledger.
    ///
    /// # Errors
    /// As [`Page::to_bytes`].
    pub fn page(page: &Page) -> Result<Self, tufline_tuf::VerifyError> {
        let bytes = Bytes::from(page.to_bytes()?);
        Ok(Self { key: Key::Page(Sha256::of(&bytes)), bytes })
    }

    /// Any other record in the ledger: a receipt or a pointer, as JSON.
    ///
    /// # Errors
    /// Where `key` is not one of a ledger's records, or `record` cannot be written as JSON.
    pub fn record<T: Serialize>(key: Key, record: &T) -> Result<Self, serde_json::Error> {
        if key.bucket() != crate::key::Bucket::Ledger || matches!(key, Key::Draft(_) | Key::Page(_)) {
            return Err(serde::ser::Error::custom(format!("{key} is not a record of the ledger")));
        }
        Ok(Self { key, bytes: json::to_vec(record)?.into() })
    }

    /// Where it is stored.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// What is stored.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}
