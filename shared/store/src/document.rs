//! What may be written: bytes that belong to their key by construction.

use bytes::Bytes;
use serde::Serialize;
use tough::schema::Targets;
use tufline_tuf::index::Page;
use tufline_tuf::root::PinnedRoot;
use tufline_tuf::{Addressed, AddressedDraft, Parties, RoleName, Signed, SignedDocument, json};

use crate::key::Key;

/// Bytes with the key under which they may be stored.
///
/// *Invariant*: what devices read is made from a [`Signed`] document only, under the key of its own role and version; a
/// draft or a page lies under its own digest. So nothing unsigned or unverified, and nothing under another's name, can be stored; but for the roots
/// [before](Document::before) the one with which the repository begins, which no stage looks at.
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

    /// Version `version` of a root that others published before `first`, with which the repository's chain begins: as they had it, for devices that are
    /// older. Nobody here verifies it. `None` where it doesn't come before.
    #[must_use]
    pub fn before(first: PinnedRoot, version: u64, bytes: Bytes) -> Option<Self> {
        (version < first.version).then(|| Self { key: Key::root(version), bytes })
    }

    /// An unsigned role document, for the ledger.
    #[must_use]
    pub fn draft(draft: &AddressedDraft) -> Self {
        Self { key: Key::Draft(draft.digest()), bytes: draft.bytes().clone() }
    }

    /// A page of the index, for the ledger.
    #[must_use]
    pub fn page(page: &Addressed<Page>) -> Self {
        Self { key: Key::Page(page.digest()), bytes: page.bytes().clone() }
    }

    /// What is delegated to other parties, for the ledger.
    #[must_use]
    pub fn parties(parties: &Addressed<Parties>) -> Self {
        Self { key: Key::Parties(parties.digest()), bytes: parties.bytes().clone() }
    }

    /// A document that another party signed, for the ledger.
    #[must_use]
    pub fn delivered(signed: &Signed<Targets>) -> Self {
        Self { key: Key::Delivered(signed.sha256()), bytes: signed.bytes().clone() }
    }

    /// Any other record in the ledger: a receipt or a pointer, as JSON.
    ///
    /// # Errors
    /// Where `key` is not one of a ledger's records, or `record` cannot be written as JSON.
    pub fn record<T: Serialize>(key: Key, record: &T) -> Result<Self, serde_json::Error> {
        if key.bucket() != crate::key::Bucket::Ledger
            || matches!(key, Key::Draft(_) | Key::Page(_) | Key::Parties(_) | Key::Delivered(_))
        {
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
