//! A root in a file that people pass to each other: an ordinary `root.json` with any number of
//! signatures.

use bytes::Bytes;
use tough::schema::key::Key;
use tough::schema::{self, Root, Signature};

use super::error::RootError;
use super::keys::short_id;
use super::rules::check_rules;
use super::signers::{is_good, root_keys};
use crate::primitives::{RoleName, json};
use crate::signing::{canonical_message, foreign, same_key};

/// The longest root that clients read, in bytes (python-tuf and go-tuf: 512,000).
pub const LARGEST_ROOT: usize = 512_000;

/// A root that may have too few signatures, or none. It cannot be published itself: see
/// [`super::begin`] and [`super::succeed`].
///
/// *Invariant*: it keeps the rules for roots, and every client reads this document in its file.
#[derive(Debug, Clone, PartialEq)]
pub struct RootFile {
    root: Root,
    signatures: Vec<Signature>,
}

impl RootFile {
    /// `root` without signatures.
    ///
    /// # Errors
    /// [`RootError`] if it doesn't keep the rules.
    pub fn unsigned(root: Root) -> Result<Self, RootError> {
        check_rules(&root)?;
        foreign::check_document(&root).map_err(RootError::Unreadable)?;
        Ok(Self { root, signatures: Vec::new() })
    }

    /// Reads a file that any tool may have written.
    ///
    /// # Errors
    /// [`RootError::Unreadable`] if some client reads the file differently or writes another
    /// canonical form of it, or if our types drop a part of it: a holder who signs it again must
    /// sign the same contents as the others. Other [`RootError`]s if it doesn't keep the rules.
    pub fn read(bytes: &[u8]) -> Result<Self, RootError> {
        expect_length(bytes)?;
        let schema::Signed { signed, signatures } =
            foreign::read(bytes).map_err(RootError::Unreadable)?;
        check_rules(&signed)?;
        Ok(Self { root: signed, signatures })
    }

    /// The file's bytes for people to read: one field a line.
    ///
    /// # Errors
    /// [`RootError::Unreadable`], never in practice.
    pub fn to_bytes(&self) -> Result<Vec<u8>, RootError> {
        let unreadable = |error: serde_json::Error| RootError::Unreadable(error.to_string());
        let mut tree = serde_json::to_value(self.envelope()).map_err(unreadable)?;
        tree.sort_all_objects();
        let mut bytes = serde_json::to_vec_pretty(&tree).map_err(unreadable)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// The file's bytes for devices: compact, with only the signatures that count.
    pub(super) fn to_published(&self, previous: Option<&Root>) -> Result<Bytes, RootError> {
        let mut published = Self { root: self.root.clone(), signatures: Vec::new() };
        published.take_signatures(self, previous);
        let bytes = json::to_vec(&published.envelope())
            .map_err(|error| RootError::Unreadable(error.to_string()))?;
        Ok(bytes.into())
    }

    fn envelope(&self) -> schema::Signed<Root> {
        schema::Signed { signed: self.root.clone(), signatures: self.signatures.clone() }
    }

    /// The document, without its signatures.
    #[must_use]
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// The version that the document states.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.root.version.get()
    }

    /// All signatures in the file, whether they count or not.
    #[must_use]
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// The message that a key signs: the canonical form (TUF specification 4.2).
    ///
    /// # Errors
    /// [`RootError::Unreadable`], never in practice.
    pub fn message(&self) -> Result<Vec<u8>, RootError> {
        let (message, _) = canonical_message(&RoleName::root(), &self.root)?;
        Ok(message)
    }

    /// Checks that `key` may sign this root: it is a root key of this version or of `previous`.
    ///
    /// # Errors
    /// [`RootError::NotASigner`].
    pub fn expect_signer(&self, key: &Key, previous: Option<&Root>) -> Result<(), RootError> {
        if self.judges(previous).any(|root| root_keys(root).any(|(_, known)| same_key(known, key)))
        {
            return Ok(());
        }
        Err(RootError::NotASigner(super::key_id(key).map(|id| short_id(&id))?))
    }

    /// Adds the signature that `key` made, in place of its older one. It is added under every id
    /// that this version and `previous` give the key.
    ///
    /// # Errors
    /// [`RootError::NotASigner`], [`RootError::BadSignature`].
    pub fn add_signature(
        &mut self,
        key: &Key,
        signature: &[u8],
        previous: Option<&Root>,
    ) -> Result<(), RootError> {
        self.expect_signer(key, previous)?;
        let judges: Vec<&Root> = self.judges(previous).collect();
        let known = judges
            .iter()
            .flat_map(|root| root_keys(root))
            .filter(|(_, known)| same_key(known, key));
        let mut added = Vec::new();
        for (id, known) in known {
            let signature = Signature { keyid: id.clone(), sig: signature.to_vec().into() };
            if !is_good(&self.root, known, &signature) {
                return Err(RootError::BadSignature(short_id(id)));
            }
            if !added.contains(&signature) {
                added.push(signature);
            }
        }
        self.signatures.retain(|old| added.iter().all(|new| new.keyid != old.keyid));
        self.signatures.extend(added);
        Ok(())
    }

    /// Adds the signatures of `other`, a copy of this root, that count under this version or under
    /// `previous`. Returns how many are new.
    ///
    /// # Errors
    /// [`RootError::OtherRoot`].
    pub fn merge(&mut self, other: &Self, previous: Option<&Root>) -> Result<usize, RootError> {
        if self.message()? != other.message()? {
            return Err(RootError::OtherRoot);
        }
        Ok(self.take_signatures(other, previous))
    }

    fn take_signatures(&mut self, other: &Self, previous: Option<&Root>) -> usize {
        let mut taken = Vec::new();
        for root in self.judges(previous) {
            for (id, key) in root_keys(root) {
                let has = |signatures: &[Signature]| {
                    signatures.iter().any(|old| old.keyid == *id && is_good(&self.root, key, old))
                };
                if has(&self.signatures) || has(&taken) {
                    continue;
                }
                let good = |signature: &&Signature| {
                    signature.keyid == *id && is_good(&self.root, key, signature)
                };
                taken.extend(other.signatures.iter().find(good).cloned());
            }
        }
        let count = taken.len();
        // A client rejects a file in which a key id signs twice.
        self.signatures.retain(|old| taken.iter().all(|new: &Signature| new.keyid != old.keyid));
        self.signatures.extend(taken);
        count
    }

    /// The roots whose keys count: the predecessor and this root (TUF specification 5.3.4).
    fn judges<'a>(&'a self, previous: Option<&'a Root>) -> impl Iterator<Item = &'a Root> {
        previous.into_iter().chain([&self.root])
    }
}

fn expect_length(bytes: &[u8]) -> Result<(), RootError> {
    // The store doesn't read longer files.
    if bytes.is_empty() || bytes.len() > LARGEST_ROOT {
        return Err(RootError::Unreadable(format!(
            "it is empty, or has more than {LARGEST_ROOT} bytes"
        )));
    }
    Ok(())
}
