//! Role documents before and after signing. The types carry the safety: a [`Draft`] has no bytes to publish, and only
//! verification makes a [`Signed`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroU64;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tough::schema::decoded::{Decoded, Hex};
use tough::schema::key::Key;
use tough::schema::{self, Delegations, Role, RoleType, Root, Signature, Snapshot, Targets, Timestamp};

use crate::canonical::{self, Unalike};
use crate::json;
use crate::name::RoleName;
use crate::root::published;
use crate::sha256::Sha256;
use crate::signature;
use crate::time::Time;

/// A role document that can be signed: root, targets (and delegated ones), snapshot, timestamp.
pub trait Document: Role + DeserializeOwned + Clone + PartialEq + Send + Sync {
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

impl Document for Root {
    const FIXED_NAME: Option<&'static str> = Some("root");

    /// A key has the id that the root gives it: a root that goes on with one of others keeps theirs.
    fn read_file(bytes: &[u8]) -> Result<schema::Signed<Self>, String> {
        Ok(schema::Signed { signed: published::in_own_types(bytes)?, signatures: published::signatures(bytes)? })
    }
}
impl Document for Timestamp {
    const FIXED_NAME: Option<&'static str> = Some("timestamp");
}
impl Document for Snapshot {
    const FIXED_NAME: Option<&'static str> = Some("snapshot");
}
impl Document for Targets {
    const FIXED_NAME: Option<&'static str> = None;
}

/// Why a document is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// Not a document of the expected type.
    #[error("{role} is not a readable role document: {why}")]
    Unreadable {
        /// The role that was expected.
        role: RoleName,
        /// The parser's words.
        why: String,
    },
    /// Clients don't all write its canonical form alike, so the signatures are good for some of them only ([`crate::canonical`]).
    #[error("{role} would not be read alike by all clients: {why}")]
    Unalike {
        /// The role.
        role: RoleName,
        /// The first difference.
        why: Unalike,
    },
    /// Too few good signatures (TUF specification 5.3.4, 5.4.2, 5.5.3, 5.6.3).
    #[error("{role} is not signed as it must be: {why}")]
    Signatures {
        /// The role.
        role: RoleName,
        /// What is missing.
        why: String,
    },
    /// Another version than the one that was referred to.
    #[error("{role} has version {found} where {expected} is expected")]
    Version {
        /// The role.
        role: RoleName,
        /// The version in the document.
        found: u64,
        /// The version by which it was asked for.
        expected: u64,
    },
    /// Past its expiry (TUF specification 5.3.10, 5.4.4, 5.5.6, 5.6.5).
    #[error("{role} version {version} expired at {expires}")]
    Expired {
        /// The role.
        role: RoleName,
        /// Its version.
        version: u64,
        /// When it expired.
        expires: Time,
    },
    /// The delegating role names no keys for this role.
    #[error("{role} has no keys in the role that delegates to it")]
    NoKeys {
        /// The role.
        role: RoleName,
    },
}

impl VerifyError {
    /// The role whose document it is about.
    #[must_use]
    pub fn role(&self) -> &RoleName {
        match self {
            Self::Unreadable { role, .. }
            | Self::Unalike { role, .. }
            | Self::Signatures { role, .. }
            | Self::Version { role, .. }
            | Self::Expired { role, .. }
            | Self::NoKeys { role } => role,
        }
    }
}

/// The keys that may sign for a role, and how many of them must (TUF specification 4.3, ROLES).
///
/// *Invariant*: no public key stands in it twice, so a threshold counts distinct keys and not key ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleKeys {
    role: RoleName,
    keys: BTreeMap<Decoded<Hex>, Key>,
    threshold: NonZeroU64,
}

impl RoleKeys {
    /// The keys that `root` names for a top-level role.
    ///
    /// # Errors
    /// [`VerifyError::NoKeys`] where `root` doesn't know the role.
    pub fn in_root(root: &Root, role: &RoleName) -> Result<Self, VerifyError> {
        let no_keys = || VerifyError::NoKeys { role: role.clone() };
        let role_type: RoleType = role.as_str().parse().map_err(|_| no_keys())?;
        let entry = root.roles.get(&role_type).ok_or_else(no_keys)?;
        Ok(Self::listed(role, &entry.keyids, &root.keys, entry.threshold))
    }

    /// The keys that a targets role names for a role that it delegates to (TUF specification 4.5, DELEGATIONS).
    ///
    /// # Errors
    /// [`VerifyError::NoKeys`] where `delegations` don't name the role.
    pub fn in_delegations(delegations: &Delegations, role: &RoleName) -> Result<Self, VerifyError> {
        let no_keys = || VerifyError::NoKeys { role: role.clone() };
        let entry = delegations.roles.iter().find(|entry| entry.name == role.as_str()).ok_or_else(no_keys)?;
        Ok(Self::listed(role, &entry.keyids, &delegations.keys, entry.threshold))
    }

    /// An id without a key counts for nobody.
    fn listed(
        role: &RoleName,
        ids: &[Decoded<Hex>],
        known: &HashMap<Decoded<Hex>, Key>,
        threshold: NonZeroU64,
    ) -> Self {
        let (mut public_keys, mut keys) = (BTreeSet::new(), BTreeMap::new());
        for id in ids {
            if let Some(key) = known.get(id)
                && public_keys.insert(public_part(key))
            {
                keys.insert(id.clone(), key.clone());
            }
        }
        Self { role: role.clone(), keys, threshold }
    }

    /// The role that these keys sign for.
    #[must_use]
    pub fn role(&self) -> &RoleName {
        &self.role
    }

    /// How many of the keys must sign.
    #[must_use]
    pub fn threshold(&self) -> u64 {
        self.threshold.get()
    }

    /// Of these keys only `key`: what verifies under that was signed by it. `None` where it isn't among them.
    #[must_use]
    pub fn only(&self, key: &Key) -> Option<Self> {
        let id = self.id_of(key)?;
        let keys = self.keys.get(id).map(|key| (id.clone(), key.clone())).into_iter().collect();
        Some(Self { role: self.role.clone(), keys, threshold: NonZeroU64::MIN })
    }

    /// The keys.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.keys.values()
    }

    /// The id under which `key` may sign for this role, if it may.
    #[must_use]
    pub fn id_of(&self, key: &Key) -> Option<&Decoded<Hex>> {
        let wanted = public_part(key);
        self.keys.iter().find(|(_, candidate)| public_part(candidate) == wanted).map(|(id, _)| id)
    }

    /// Whether enough of the keys signed `message`, as `tough` counts them: an id that signs twice is refused, a signature by anybody
    /// else is passed over (TUF specification 4.2, SIGNATURES).
    fn expect_enough(&self, message: &[u8], signatures: &[Signature]) -> Result<(), VerifyError> {
        let refuse = |why: String| VerifyError::Signatures { role: self.role.clone(), why };
        let mut ids = BTreeSet::new();
        if let Some(twice) = signatures.iter().find(|signature| !ids.insert(&signature.keyid)) {
            return Err(refuse(format!("key {} signs twice", hex::encode(&twice.keyid))));
        }
        let is_good = |signature: &&Signature| {
            self.keys.get(&signature.keyid).is_some_and(|key| signature::is_good(key, message, &signature.sig))
        };
        let (good, needed) = (signatures.iter().filter(is_good).count(), self.threshold());
        if (good as u64) < needed {
            return Err(refuse(format!("{good} of its signatures are good where {needed} must be")));
        }
        Ok(())
    }
}

/// The public key without what surrounds it: two entries that differ only in other fields are one key.
pub(crate) fn public_part(key: &Key) -> Vec<u8> {
    match key {
        Key::Rsa { keyval, .. } => keyval.public.to_vec(),
        Key::Ed25519 { keyval, .. } => keyval.public.to_vec(),
        Key::Ecdsa { keyval, .. } | Key::EcdsaOld { keyval, .. } => keyval.public.to_vec(),
    }
}

/// A role document that nobody has signed. It has no bytes to publish, only bytes to keep as a draft.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft<T> {
    role: RoleName,
    document: T,
}

impl<T: Document> Draft<T> {
    /// A draft of a top-level role's document.
    ///
    /// The role's name is the type's own; a targets document belongs to `targets` or to the delegated role `role`.
    #[must_use]
    pub fn new(role: RoleName, document: T) -> Self {
        debug_assert!(T::FIXED_NAME.is_none_or(|fixed| fixed == role.as_str()));
        Self { role, document }
    }

    /// Reads back what [`Draft::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`VerifyError::Unreadable`].
    pub fn from_bytes(role: RoleName, bytes: &[u8]) -> Result<Self, VerifyError> {
        let document = parse(&role, bytes)?;
        Ok(Self { role, document })
    }

    /// The role to which the document belongs.
    #[must_use]
    pub fn role(&self) -> &RoleName {
        &self.role
    }

    /// The unsigned document.
    #[must_use]
    pub fn document(&self) -> &T {
        &self.document
    }

    /// The document as it is kept in the ledger until it is signed: compact sorted JSON, without signatures.
    ///
    /// # Errors
    /// [`VerifyError::Unreadable`] for a document that JSON cannot hold.
    pub fn to_bytes(&self) -> Result<Bytes, VerifyError> {
        json::to_vec(&self.document).map(Bytes::from).map_err(|error| unreadable(&self.role, &error))
    }

    /// What a key signs: the canonical form (TUF specification 4.2).
    ///
    /// # Errors
    /// [`VerifyError::Unalike`] for a document of which clients don't all write the same canonical form.
    pub fn message(&self) -> Result<Vec<u8>, VerifyError> {
        let unalike = |why| VerifyError::Unalike { role: self.role.clone(), why };
        canonical::form(&self.document).map_err(unalike)
    }

    /// With its message, to be signed.
    ///
    /// # Errors
    /// As [`Draft::message`].
    pub fn prepare(self) -> Result<Prepared<T>, VerifyError> {
        let message = self.message()?;
        Ok(Prepared { draft: self, message })
    }

    /// The document with its signatures, if they are enough.
    ///
    /// # Errors
    /// As [`Prepared::sign`].
    pub fn sign(self, signatures: Vec<Signature>, keys: &RoleKeys) -> Result<Signed<T>, VerifyError> {
        self.prepare()?.sign(signatures, keys)
    }
}

/// A draft with what a key signs of it, which takes long to write for a large one.
///
/// *Invariant*: the message is the draft's.
#[derive(Debug)]
pub struct Prepared<T> {
    draft: Draft<T>,
    message: Vec<u8>,
}

impl<T: Document> Prepared<T> {
    /// What a key signs: the canonical form (TUF specification 4.2).
    #[must_use]
    pub fn message(&self) -> &[u8] {
        &self.message
    }

    /// The document with its signatures, if they are enough.
    ///
    /// # Errors
    /// As [`verify`]: signing is only believed after verification.
    pub fn sign(self, signatures: Vec<Signature>, keys: &RoleKeys) -> Result<Signed<T>, VerifyError> {
        keys.expect_enough(&self.message, &signatures)?;
        let envelope = schema::Signed { signed: self.draft.document, signatures };
        let bytes = json::to_vec(&envelope).map(Bytes::from).map_err(|error| unreadable(&self.draft.role, &error))?;
        Ok(Signed { role: keys.role.clone(), document: envelope.signed, bytes, unalike: None })
    }
}

/// A role document with its bytes, whose signatures reach the threshold of the keys it was verified with.
///
/// *Invariant*: only [`verify`], [`verify_published`], [`Prepared::sign`] and, for roots, [`crate::root::Chain`] make one, so what is not verified cannot be published.
#[derive(Debug, Clone, PartialEq)]
pub struct Signed<T> {
    role: RoleName,
    document: T,
    bytes: Bytes,
    unalike: Option<Unalike>,
}

impl Signed<Root> {
    /// A root that was verified as clients do it.
    pub(crate) fn of_trusted(document: Root, bytes: Bytes, unalike: Option<Unalike>) -> Self {
        Self { role: RoleName::root(), document, bytes, unalike }
    }
}

impl<T: Document> Signed<T> {
    /// The role whose keys signed.
    #[must_use]
    pub fn role(&self) -> &RoleName {
        &self.role
    }

    /// What was signed.
    #[must_use]
    pub fn document(&self) -> &T {
        &self.document
    }

    /// The document's version.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.document.version().get()
    }

    /// The file as devices get it.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The file's digest.
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

    /// This document, if it is the version that was asked for.
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
        Err(VerifyError::Expired { role: self.role.clone(), version: self.version(), expires: self.document.expires() })
    }
}

/// Reads `bytes` and checks its signatures against `keys` (TUF specification 5.3.4 and its likes for the other roles), and that they are good
/// for all clients.
///
/// # Errors
/// [`VerifyError::Unreadable`], [`VerifyError::Signatures`] or [`VerifyError::Unalike`].
pub fn verify<T: Document>(bytes: Bytes, keys: &RoleKeys) -> Result<Signed<T>, VerifyError> {
    verify_published(bytes, keys)?.expect_alike()
}

/// The same for what devices may have already, from a time before there was the rule: whatever must go on from it is not held up. Clients in
/// Rust are those that wrote the form which was signed.
///
/// # Errors
/// [`VerifyError::Unreadable`] or [`VerifyError::Signatures`].
pub fn verify_published<T: Document>(bytes: Bytes, keys: &RoleKeys) -> Result<Signed<T>, VerifyError> {
    let envelope = T::read_file(&bytes).map_err(|error| unreadable(&keys.role, &error))?;
    let (message, unalike) = canonical(&keys.role, &envelope.signed)?;
    keys.expect_enough(&message, &envelope.signatures)?;
    Ok(Signed { role: keys.role.clone(), document: envelope.signed, bytes, unalike })
}

fn parse<D: DeserializeOwned>(role: &RoleName, bytes: &[u8]) -> Result<D, VerifyError> {
    serde_json::from_slice(bytes).map_err(|error| unreadable(role, &error))
}

/// What a key signs: the canonical form (TUF specification 4.2). Where clients don't all write the same, why, and that of clients in Rust.
pub(crate) fn canonical<T: Role + Serialize>(
    role: &RoleName,
    document: &T,
) -> Result<(Vec<u8>, Option<Unalike>), VerifyError> {
    match canonical::form(document) {
        Ok(form) => Ok((form, None)),
        Err(unalike) => {
            let form = document.canonical_form().map_err(|error| unreadable(role, &error))?;
            Ok((form, Some(unalike)))
        }
    }
}

fn expect_alike(role: &RoleName, unalike: Option<&Unalike>) -> Result<(), VerifyError> {
    unalike.map_or(Ok(()), |why| Err(VerifyError::Unalike { role: role.clone(), why: why.clone() }))
}

fn unreadable(role: &RoleName, why: &dyn std::fmt::Display) -> VerifyError {
    VerifyError::Unreadable { role: role.clone(), why: why.to_string() }
}
