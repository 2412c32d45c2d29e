//! Documents: bytes that belong to their key by construction.

use std::ops::Deref;

use bytes::Bytes;
use serde::Serialize;
use tough::schema::{Targets, Timestamp};
use tufline_tuf::index::Page;
use tufline_tuf::root::PinnedRoot;
use tufline_tuf::{Addressed, AddressedDraft, Parties, RoleDocument, RoleName, Signed, json};

use crate::key::Key;

/// Bytes, with the key under which they may be stored.
///
/// *Invariant*: a file for devices is made only from a [`Signed`] document, under the key of its
/// own role and version; a draft or a page lies under its own digest. So nothing unsigned or
/// unverified can be stored, and nothing under another document's name. The one exception are the
/// roots [before](Document::before) the repository's first one, which no stage reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    key: Key,
    bytes: Bytes,
}

impl Document {
    /// A signed role document: `timestamp.json` for the timestamp, `<version>.<role>.json` for any
    /// other.
    #[must_use]
    pub fn signed<T: RoleDocument>(signed: &Signed<T>) -> Self {
        let key = if *signed.role() == RoleName::timestamp() {
            Key::Timestamp
        } else {
            Key::Metadata { role: signed.role().clone(), version: signed.version() }
        };
        Self { key, bytes: signed.bytes().clone() }
    }

    /// A root that others published before `first`, the root with which the repository's chain
    /// begins. It is stored as they had it, for older devices, and nobody here verifies it. `None`
    /// if `version` is not before `first`.
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

    /// A record of other parties, for the ledger.
    #[must_use]
    pub fn parties(parties: &Addressed<Parties>) -> Self {
        Self { key: Key::Parties(parties.digest()), bytes: parties.bytes().clone() }
    }

    /// A document that another party signed, for the ledger.
    #[must_use]
    pub fn delivered(signed: &Signed<Targets>) -> Self {
        Self { key: Key::Delivered(signed.sha256()), bytes: signed.bytes().clone() }
    }

    /// Any other record of the ledger, such as a receipt or a pointer, as JSON.
    ///
    /// # Errors
    /// `key` is not a record of the ledger, or `record` cannot be written as JSON.
    pub fn record<T: Serialize>(key: Key, record: &T) -> Result<Self, serde_json::Error> {
        if key.bucket() != crate::key::Bucket::Ledger
            || matches!(key, Key::Draft(_) | Key::Page(_) | Key::Parties(_) | Key::Delivered(_))
        {
            return Err(serde::ser::Error::custom(format!("{key} is not a record of the ledger")));
        }
        Ok(Self { key, bytes: json::to_vec(record)?.into() })
    }

    /// The key under which it is stored.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The bytes that are stored.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

/// A document that may replace the one before, by compare-and-swap.
///
/// *Invariant*: its key is a pointer's ([`Key::is_pointer`]), so nothing else is ever replaced. The
/// one exception is a root that replaces a file that is no root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer(Document);

impl Pointer {
    /// The timestamp. It is the pointer that devices follow.
    #[must_use]
    pub fn timestamp(signed: &Signed<Timestamp>) -> Self {
        Self(Document::signed(signed))
    }

    /// A record of the ledger that may be replaced, as JSON.
    ///
    /// # Errors
    /// `key` is not a pointer in the ledger, or `record` cannot be written as JSON.
    pub fn record<T: Serialize>(key: Key, record: &T) -> Result<Self, serde_json::Error> {
        if !key.is_pointer() {
            return Err(serde::ser::Error::custom(format!("{key} is never replaced")));
        }
        Document::record(key, record).map(Self)
    }

    /// A root that replaces a file that is no root.
    pub(crate) fn in_place_of_no_root(root: &Document) -> Self {
        Self(root.clone())
    }
}

impl Deref for Pointer {
    type Target = Document;

    fn deref(&self) -> &Document {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pointers_are_made_to_be_replaced() {
        assert!(Pointer::record(Key::Announced, &7).is_ok());
        for key in [Key::Manifest(1), Key::Decision(1)] {
            assert!(Document::record(key.clone(), &7).is_ok());
            assert!(Pointer::record(key, &7).is_err(), "it is written once");
        }
        assert!(Pointer::record(Key::Timestamp, &7).is_err(), "devices read it: it is signed");
    }
}
