//! Role documents before and after signing. The types keep the rule: a [`Draft`] has no bytes to
//! publish, and only verification makes a [`Signed`].

use bytes::Bytes;
use serde::de::DeserializeOwned;
use tough::schema::{self, Root, Signature};
use tufline_metadata::canonical::{self, Unalike};

use super::document::RoleDocument;
use super::error::{VerifyError, unreadable};
use super::message::canonical_message;
use super::role_keys::RoleKeys;
use crate::primitives::{RoleName, Sha256, Time, json};
/// An unsigned role document. It has bytes for the ledger, and none to publish.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft<T> {
    role: RoleName,
    document: T,
}

impl<T: RoleDocument> Draft<T> {
    /// A draft of `document` for `role`.
    ///
    /// For top-level roles other than targets, the type determines the role's name. A targets
    /// document belongs to `targets` or to a delegated role.
    #[must_use]
    pub fn new(role: RoleName, document: T) -> Self {
        debug_assert!(T::FIXED_NAME.is_none_or(|fixed| fixed == role.as_str()));
        Self { role, document }
    }

    /// Reads back the bytes that [`Draft::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`VerifyError::Unreadable`] for other bytes.
    pub fn from_bytes(role: RoleName, bytes: &[u8]) -> Result<Self, VerifyError> {
        let document = parse(&role, bytes)?;
        Ok(Self { role, document })
    }

    /// The role to which the document belongs.
    #[must_use]
    pub fn role(&self) -> &RoleName {
        &self.role
    }

    /// The document, without signatures.
    #[must_use]
    pub fn document(&self) -> &T {
        &self.document
    }

    /// The draft's bytes in the ledger: compact sorted JSON, without signatures.
    ///
    /// # Errors
    /// [`VerifyError::Unreadable`] for a document that JSON cannot hold.
    pub fn to_bytes(&self) -> Result<Bytes, VerifyError> {
        json::to_vec(&self.document)
            .map(Bytes::from)
            .map_err(|error| unreadable(&self.role, &error))
    }

    /// The message that a key signs: the canonical form (TUF specification 4.2).
    ///
    /// # Errors
    /// [`VerifyError::Unalike`] if clients write different canonical forms of the document.
    pub fn message(&self) -> Result<Vec<u8>, VerifyError> {
        let unalike = |why| VerifyError::Unalike { role: self.role.clone(), why };
        canonical::form(&self.document).map_err(unalike)
    }

    /// The draft with the message to sign.
    ///
    /// # Errors
    /// As [`Draft::message`].
    pub fn prepare(self) -> Result<Prepared<T>, VerifyError> {
        let message = self.message()?;
        Ok(Prepared { draft: self, message })
    }

    /// The document with these signatures, if they suffice.
    ///
    /// # Errors
    /// Those of [`verify`]: new signatures are verified like any other.
    pub fn sign(
        self,
        signatures: Vec<Signature>,
        keys: &RoleKeys,
    ) -> Result<Signed<T>, VerifyError> {
        self.prepare()?.sign(signatures, keys)
    }
}

/// A draft together with the message that a key signs, which takes long to write for a large
/// document.
///
/// *Invariant*: the message is the draft's.
#[derive(Debug)]
pub struct Prepared<T> {
    draft: Draft<T>,
    message: Vec<u8>,
}

impl<T: RoleDocument> Prepared<T> {
    /// The message that a key signs: the canonical form (TUF specification 4.2).
    #[must_use]
    pub fn message(&self) -> &[u8] {
        &self.message
    }

    /// The document with these signatures, if they suffice.
    ///
    /// # Errors
    /// Those of [`verify`]: new signatures are verified like any other.
    pub fn sign(
        self,
        signatures: Vec<Signature>,
        keys: &RoleKeys,
    ) -> Result<Signed<T>, VerifyError> {
        keys.expect_enough(&self.message, &signatures)?;
        let envelope = schema::Signed { signed: self.draft.document, signatures };
        let bytes = json::to_vec(&envelope)
            .map(Bytes::from)
            .map_err(|error| unreadable(&self.draft.role, &error))?;
        Ok(Signed { role: keys.role().clone(), document: envelope.signed, bytes, unalike: None })
    }
}

/// A role document with its bytes, whose signatures reach the threshold of the keys that verified
/// it.
///
/// *Invariant*: only [`verify`], [`verify_published`], `Prepared::sign` and, for roots,
/// [`crate::root::Chain`] make one, so an unverified document cannot be published.
#[derive(Debug, Clone, PartialEq)]
pub struct Signed<T> {
    role: RoleName,
    document: T,
    bytes: Bytes,
    unalike: Option<Unalike>,
}

impl Signed<Root> {
    /// A root that was verified as clients verify it.
    pub(crate) fn of_trusted(document: Root, bytes: Bytes, unalike: Option<Unalike>) -> Self {
        Self { role: RoleName::root(), document, bytes, unalike }
    }
}

impl<T: RoleDocument> Signed<T> {
    /// The role whose keys signed.
    #[must_use]
    pub fn role(&self) -> &RoleName {
        &self.role
    }

    /// The document that was signed.
    #[must_use]
    pub fn document(&self) -> &T {
        &self.document
    }

    /// The version that the document states, from 1 on.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.document.version().get()
    }

    /// The file's bytes, as devices get them.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The SHA-256 of the file's bytes.
    #[must_use]
    pub fn sha256(&self) -> Sha256 {
        Sha256::of(&self.bytes)
    }

    /// This document, if all clients write the same canonical form of it.
    ///
    /// # Errors
    /// [`VerifyError::Unalike`].
    pub fn expect_alike(self) -> Result<Self, VerifyError> {
        expect_alike(&self.role, self.unalike.as_ref())?;
        Ok(self)
    }

    /// This document, if its version is `expected`.
    ///
    /// # Errors
    /// [`VerifyError::Version`].
    pub fn expect_version(self, expected: u64) -> Result<Self, VerifyError> {
        if self.version() == expected {
            return Ok(self);
        }
        Err(VerifyError::Version { role: self.role.clone(), found: self.version(), expected })
    }

    /// This document, if it has not expired at `now`.
    ///
    /// # Errors
    /// [`VerifyError::Expired`].
    pub fn expect_fresh(self, now: Time) -> Result<Self, VerifyError> {
        if self.document.expires() > now {
            return Ok(self);
        }
        Err(VerifyError::Expired {
            role: self.role.clone(),
            version: self.version(),
            expires: self.document.expires(),
        })
    }
}

/// Reads `bytes`, and verifies its signatures under `keys` (TUF specification 5.3.4, and 5.4.2,
/// 5.5.3 and 5.6.3 for the other roles). All clients must accept those signatures.
///
/// # Errors
/// [`VerifyError::Unreadable`], [`VerifyError::Signatures`] or [`VerifyError::Unalike`].
pub fn verify<T: RoleDocument>(bytes: Bytes, keys: &RoleKeys) -> Result<Signed<T>, VerifyError> {
    verify_published(bytes, keys)?.expect_alike()
}

/// As [`verify`], but accepts a document whose signatures only some clients accept. It may have
/// been published before that rule existed, and must not block its successors. If clients write
/// different canonical forms, the signatures are verified over that of clients in Rust.
///
/// # Errors
/// [`VerifyError::Unreadable`] or [`VerifyError::Signatures`].
pub fn verify_published<T: RoleDocument>(
    bytes: Bytes,
    keys: &RoleKeys,
) -> Result<Signed<T>, VerifyError> {
    let envelope = T::read_file(&bytes).map_err(|error| unreadable(keys.role(), &error))?;
    let (message, unalike) = canonical_message(keys.role(), &envelope.signed)?;
    keys.expect_enough(&message, &envelope.signatures)?;
    Ok(Signed { role: keys.role().clone(), document: envelope.signed, bytes, unalike })
}

fn parse<D: DeserializeOwned>(role: &RoleName, bytes: &[u8]) -> Result<D, VerifyError> {
    serde_json::from_slice(bytes).map_err(|error| unreadable(role, &error))
}

fn expect_alike(role: &RoleName, unalike: Option<&Unalike>) -> Result<(), VerifyError> {
    unalike.map_or(Ok(()), |why| Err(VerifyError::Unalike { role: role.clone(), why: why.clone() }))
}
