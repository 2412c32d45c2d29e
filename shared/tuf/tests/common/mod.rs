//! Keys and documents for the tests of this crate.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use tough::schema::{Root, Signature, Targets};
use tough::sign::Sign;
use tufline_tuf::config::{Expiry, RemovalLimit};
use tufline_tuf::gate::OtherParties;
use tufline_tuf::generation::{
    DEEPEST_BIN, Edit, FirstBins, Folding, GenerationError, Next, Others, Policy, TargetEdit,
    UsedUp, Versions, advance, digest_of, first, imported, target_of,
};
use tufline_tuf::index::{IndexEntry, Page, Place};
use tufline_tuf::root::OnlineKeys;
use tufline_tuf::{
    Addressed, AddressedDraft, BinsKeys, Content, Custom, Draft, Index, Manifest, Parties,
    RecordedPolicy, RoleDocument, RoleKeys, RoleName, Sha256, Signed, TargetName, Time, root,
};

pub fn now() -> Time {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

pub fn key() -> EcdsaKeyPair {
    EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap()
}

/// One key for each role.
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

    /// A root that trusts these keys and expires at `expires`.
    pub fn trusted(&self, expires: Time) -> Root {
        let online = OnlineKeys {
            targets: self.targets.tuf_key(),
            snapshot: self.snapshot.tuf_key(),
            timestamp: self.timestamp.tuf_key(),
        };
        root::first(self.root.tuf_key(), online, expires).unwrap().document().clone()
    }
}

pub fn signature(key: &EcdsaKeyPair, message: &[u8]) -> Signature {
    let sig = EcdsaKeyPair::sign(key, &SystemRandom::new(), message).unwrap();
    Signature { keyid: key.tuf_key().key_id().unwrap(), sig: sig.as_ref().to_vec().into() }
}

/// `draft`, signed by `key`, which `root` lists for its role.
pub fn sign<T: RoleDocument>(draft: Draft<T>, key: &EcdsaKeyPair, root: &Root) -> Signed<T> {
    let keys = RoleKeys::in_root(root, draft.role()).unwrap();
    let signature = signature(key, &draft.message().unwrap());
    draft.sign(vec![signature], &keys).unwrap()
}

pub fn content(bytes: &str) -> Content {
    Content {
        sha256: Sha256::of(bytes.as_bytes()),
        length: bytes.len() as u64,
        custom: Custom::new(),
    }
}

/// The content that `document` lists for `name`.
pub fn content_of(document: &Targets, name: &TargetName) -> Option<Content> {
    let target = target_of(document, name)?;
    let custom = target.custom.clone().into_iter().collect();
    Some(Content { sha256: digest_of(target).unwrap(), length: target.length, custom })
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

/// A generation with everything that the ledger has of it.
#[derive(Debug, Clone)]
pub struct Generation {
    pub manifest: Manifest,
    /// The newest document of each role.
    pub documents: Documents,
    pub pages: BTreeMap<Sha256, Page>,
    pub versions: Versions,
    /// The record of other parties for the next generation.
    pub others: Others,
}

impl Generation {
    /// A first generation whose bins `bins_key` signs.
    pub fn first(bins_key: &EcdsaKeyPair, bins: FirstBins) -> Self {
        let (next, drafts) = first(policy(None, now()), bins_key.tuf_key(), bins).unwrap();
        Self::begin(next, drafts)
    }

    /// The first generation of an imported repository, in which no role may list more than `most`
    /// targets.
    pub fn imported(used_up: &UsedUp, targets: Vec<(TargetName, Content)>, most: usize) -> Self {
        let (next, drafts) =
            imported(used_up, key().tuf_key(), targets, small(most, now())).unwrap();
        Self::begin(next, drafts)
    }

    fn begin(next: Next, drafts: Vec<AddressedDraft>) -> Self {
        let nothing = BTreeMap::new();
        let mut generation = Self {
            manifest: next.manifest.clone(),
            documents: Documents::new(),
            pages: nothing,
            versions: Versions::new(),
            others: Others::default(),
        };
        generation.store(next, drafts);
        generation
    }

    fn store(&mut self, next: Next, drafts: Vec<AddressedDraft>) {
        let drafts = drafts.into_iter().map(Addressed::into_record);
        self.documents.extend(drafts.map(|draft| (draft.role().clone(), draft)));
        self.pages.extend(
            next.pages.into_iter().map(|page| (Sha256::of(page.bytes()), page.into_record())),
        );
        advance(&mut self.versions, &next.manifest);
        self.manifest = next.manifest;
    }

    /// The index with the pages on the way to these places, and the number of those pages.
    pub fn index(&self, places: &[Place<'_>]) -> (Index, usize) {
        let (mut index, mut read) = (Index::new(self.manifest.top.clone()), 0);
        loop {
            let wanted = index.wanted(places.iter().copied());
            if wanted.is_empty() {
                return (index, read);
            }
            for (role, digest) in wanted {
                index.give(role, self.pages[&digest].clone());
                read += 1;
            }
        }
    }

    /// All entries of the index.
    pub fn entries(&self) -> BTreeMap<RoleName, IndexEntry> {
        self.whole_index().entries().map(|(role, entry)| (role, entry.clone())).collect()
    }

    /// The index with all its pages.
    pub fn whole_index(&self) -> Index {
        let mut index = Index::new(self.manifest.top.clone());
        loop {
            let wanted = index.wanted_below(|_| true);
            if wanted.is_empty() {
                return index;
            }
            for (role, digest) in wanted {
                index.give(role, self.pages[&digest].clone());
            }
        }
    }

    pub fn role_of(&self, name: &str) -> RoleName {
        let name = name.parse().unwrap();
        self.index(&[Place::Name(&name)]).0.leaf(&name).unwrap()
    }

    /// The next generation, with these changes.
    pub fn fold(&self, edits: &[TargetEdit], policy: Policy) -> Result<Self, GenerationError> {
        let (index, _) =
            self.index(&edits.iter().map(|edit| Place::Name(&edit.name)).collect::<Vec<_>>());
        self.fold_with(index, edits, &BTreeSet::new(), self.manifest.bins_keys(), policy)
    }

    /// The next generation with these changes, new versions of these roles, and these keys of the
    /// bins.
    pub fn fold_with(
        &self,
        index: Index,
        edits: &[TargetEdit],
        renew: &BTreeSet<RoleName>,
        bins: BinsKeys,
        policy: Policy,
    ) -> Result<Self, GenerationError> {
        let mut folding =
            Folding::new(&self.manifest, index, edits, renew, bins, &self.others, policy)?;
        let mut drafts = Vec::new();
        for (role, entry) in folding.wanted()? {
            let document = &self.documents[&role];
            assert_eq!(entry.draft, Sha256::of(&document.to_bytes().unwrap()));
            drafts.extend(folding.fold(document)?);
        }
        let mut next = self.clone();
        next.store(folding.finish()?, drafts);
        Ok(next)
    }

    /// The next generation, in which no role may list more than `most` targets.
    pub fn fold_small(&self, edits: &[TargetEdit], most: usize) -> Self {
        self.fold(edits, small(most, now())).unwrap()
    }
}

/// A first generation, with a new key for its bins.
pub fn start() -> Generation {
    Generation::first(&key(), FirstBins::One)
}

pub fn policy(removals: Option<RemovalLimit>, now: Time) -> Policy {
    Policy {
        recorded: RecordedPolicy::new(&Expiry::default(), 1000),
        deepest_bin: DEEPEST_BIN,
        removals,
        now,
    }
}

/// A policy under which no role may list more than `most` targets.
pub fn small(most: usize, now: Time) -> Policy {
    Policy { recorded: RecordedPolicy::new(&Expiry::default(), most), ..policy(None, now) }
}

/// No other parties, before or after.
pub fn others() -> OtherParties<'static> {
    static NOBODY: LazyLock<Parties> = LazyLock::new(Parties::default);
    OtherParties { published: &NOBODY, candidate: &NOBODY }
}
