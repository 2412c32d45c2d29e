//! Keys and documents for the tests of this crate.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use tough::schema::{Root, Signature, Targets};
use tough::sign::Sign;
use tufline_tuf::config::{Expiry, RemovalLimit};
use tufline_tuf::generation::{Batch, Edit, GenerationError, Next, TargetEdit, first, next};
use tufline_tuf::root::FirstKeys;
use tufline_tuf::{Content, Custom, Draft, Manifest, RoleKeys, RoleName, Sha256, Signed, SignedDocument, Time, root};

pub fn now() -> Time {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

pub fn key() -> EcdsaKeyPair {
    EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap()
}

/// One key a role.
pub struct Keys {
    pub root: EcdsaKeyPair,
    pub targets: EcdsaKeyPair,
    pub bins: EcdsaKeyPair,
    pub snapshot: EcdsaKeyPair,
    pub timestamp: EcdsaKeyPair,
}

impl Keys {
    pub fn new() -> Self {
        Self { root: key(), targets: key(), bins: key(), snapshot: key(), timestamp: key() }
    }

    /// A root that trusts these keys until `expires`.
    pub fn trusted(&self, expires: Time) -> Root {
        let keys = FirstKeys {
            root: self.root.tuf_key(),
            targets: self.targets.tuf_key(),
            snapshot: self.snapshot.tuf_key(),
            timestamp: self.timestamp.tuf_key(),
        };
        root::first(&keys, expires).unwrap().document().clone()
    }
}

pub fn signature(key: &EcdsaKeyPair, message: &[u8]) -> Signature {
    let sig = EcdsaKeyPair::sign(key, &SystemRandom::new(), message).unwrap();
    Signature { keyid: key.tuf_key().key_id().unwrap(), sig: sig.as_ref().to_vec().into() }
}

/// `draft`, signed by `key` for the role that `root` lists it for.
pub fn sign<T: SignedDocument>(draft: Draft<T>, key: &EcdsaKeyPair, root: &Root) -> Signed<T> {
    let keys = RoleKeys::in_root(root, draft.role()).unwrap();
    let signature = signature(key, &draft.message().unwrap());
    draft.sign(vec![signature], &keys).unwrap()
}

pub fn content(bytes: &str) -> Content {
    Content { sha256: Sha256::of(bytes.as_bytes()), length: bytes.len() as u64, custom: Custom::new() }
}

pub fn set(name: &str, bytes: &str) -> TargetEdit {
    TargetEdit {
        name: name.parse().unwrap(),
        version: Some("v".into()),
        uploaded: None,
        edit: Edit::Set(content(bytes)),
    }
}

pub fn remove(name: &str) -> TargetEdit {
    TargetEdit { name: name.parse().unwrap(), version: None, uploaded: None, edit: Edit::Remove }
}

pub type Documents = BTreeMap<RoleName, Draft<Targets>>;

pub fn documents(next: &Next) -> Documents {
    next.drafts.iter().map(|draft| (draft.role().clone(), draft.clone())).collect()
}

/// A first generation whose bins anybody may sign for.
pub fn start() -> Next {
    first(now(), &Expiry::default(), key().tuf_key()).unwrap()
}

/// Folds `edits` into `base`.
pub fn fold(
    base: &Manifest,
    documents: &Documents,
    edits: &[TargetEdit],
    limit: Option<RemovalLimit>,
    now: Time,
) -> Result<Next, GenerationError> {
    let (renew, expiry) = (BTreeSet::new(), Expiry::default());
    let max_targets_per_bin = 1000;
    next(base, &Batch { edits, renew: &renew, documents, expiry: &expiry, max_targets_per_bin, limit, now })
}

/// Folds `edits` into `base`, where no role may list more than `most` targets.
pub fn fold_small(base: &Manifest, documents: &Documents, edits: &[TargetEdit], most: usize) -> Next {
    let (renew, expiry) = (BTreeSet::new(), Expiry::default());
    let batch =
        Batch { edits, renew: &renew, documents, expiry: &expiry, max_targets_per_bin: most, limit: None, now: now() };
    next(base, &batch).unwrap()
}
