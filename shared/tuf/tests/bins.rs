//! The gate on a trie: it checks the path of a client to every changed bin, and no other bin.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeMap;

use bytes::Bytes;
use common::{Generation, Keys, now, others, set, signature};
use proptest::prelude::*;
use tough::schema::{Root, Targets};
use tough::sign::Sign;
use tufline_tuf::gate::{Checked, Fault, Gate, Refused, VerifiedRole};
use tufline_tuf::generation::{FirstBins, TargetEdit, snapshot};
use tufline_tuf::time::after;
use tufline_tuf::{Draft, RoleKeys, RoleName, trie};

const YEAR: u64 = 365 * 24 * 60 * 60;

/// Two generations, and the files of the newer one as sign signs them.
struct World {
    keys: Keys,
    root: Root,
    published: Generation,
    candidate: Generation,
    files: BTreeMap<RoleName, Bytes>,
    snapshot: Bytes,
}

fn edits(names: &[&str]) -> Vec<TargetEdit> {
    names.iter().map(|name| set(name, "x")).collect()
}

impl World {
    /// Publishes `before`, then makes a generation that adds `added`. A role lists `most` targets
    /// at most.
    fn new(before: &[&str], added: &[&str], most: usize) -> Self {
        let keys = Keys::new();
        let root = keys.trusted(after(now(), YEAR));
        let published =
            Generation::first(&keys.bins, FirstBins::One).fold_small(&edits(before), most);
        let candidate = published.fold_small(&edits(added), most);
        let (files, snapshot) = (BTreeMap::new(), Bytes::new());
        let mut world = Self { keys, root, published, candidate, files, snapshot };
        world.sign();
        world
    }

    fn sign(&mut self) {
        let snapshot =
            snapshot(&self.candidate.manifest, &self.candidate.versions, others().candidate)
                .unwrap();
        self.snapshot = common::sign(snapshot, &self.keys.snapshot, &self.root).bytes().clone();
        for role in self.candidate.documents.keys().cloned().collect::<Vec<_>>() {
            self.sign_role(&role);
        }
    }

    fn sign_role(&mut self, role: &RoleName) {
        let draft = self.candidate.documents[role].clone();
        let signed = match trie::parent(role) {
            None => common::sign(draft, &self.keys.targets, &self.root),
            Some(parent) => {
                let delegations = trie::delegations(&parent, &[self.keys.bins.tuf_key()]).unwrap();
                let keys = RoleKeys::in_delegations(&delegations, role).unwrap();
                let signature = signature(&self.keys.bins, &draft.message().unwrap());
                draft.sign(vec![signature], &keys).unwrap()
            }
        };
        self.files.insert(role.clone(), signed.bytes().clone());
    }

    /// Replaces the document of `role`, and signs it.
    fn change(&mut self, role: &RoleName, change: impl FnOnce(&mut Targets)) {
        let mut document = self.candidate.documents[role].document().clone();
        change(&mut document);
        self.candidate.documents.insert(role.clone(), Draft::new(role.clone(), document));
        self.sign_role(role);
    }

    fn open(&self) -> Result<Gate<'_>, Refused> {
        let (roots, candidate) = (std::slice::from_ref(&self.root), &self.candidate.manifest);
        let since = std::slice::from_ref(candidate);
        Gate::open(
            roots,
            &self.published.versions,
            since,
            candidate,
            others(),
            &self.snapshot,
            now(),
        )
    }

    /// Checks the generation. Also returns the roles that the gate wanted.
    fn check(&self) -> Result<(Checked, Vec<RoleName>), Refused> {
        let mut gate = self.open()?;
        let mut looked = Vec::new();
        loop {
            let wanted = gate.wanted_roles();
            if wanted.is_empty() {
                break;
            }
            for (role, version) in wanted {
                assert_eq!(version, self.candidate.versions[&role]);
                let seen = trie::nearest(&role, |role| self.published.versions.contains_key(role))
                    .unwrap();
                let (file, seen) =
                    (&self.files[&role], Some(self.published.documents[&seen].document()));
                match gate.keys(&role) {
                    Some(keys) => {
                        gate.verified_role(&role, VerifiedRole::new(file.clone(), keys), seen)?;
                    }
                    None => gate.role(&role, file, seen)?,
                }
                looked.push(role);
            }
        }
        for sha256 in gate.wanted_blobs() {
            gate.blob(&sha256, Some((1, None)));
        }
        Ok((gate.pass()?, looked))
    }

    fn fault(&self) -> Fault {
        self.check().map(|_| ()).unwrap_err().fault
    }
}

/// Names in different bins of the first level.
const NAMES: [&str; 4] = ["a", "b", "c", "d"];

#[test]
fn a_split_passes_and_only_what_is_new_needs_its_bytes() {
    let world = World::new(&NAMES[..2], &NAMES[2..3], 2);
    let (_, looked) = world.check().unwrap();
    assert_eq!(looked.len(), 17);
    let mut gate = world.open().unwrap();
    let top = RoleName::targets();
    gate.role(&top, &world.files[&top], Some(world.published.documents[&top].document())).unwrap();
    for (role, _) in gate.wanted_roles() {
        gate.role(&role, &world.files[&role], Some(world.published.documents[&top].document()))
            .unwrap();
    }
    assert_eq!(gate.wanted_blobs().len(), 1, "what only moved was there before");
}

#[test]
fn the_path_to_a_changed_bin_is_looked_at_and_no_other_bin() {
    let world = World::new(&NAMES[..3], &NAMES[3..], 2);
    let leaf = world.candidate.role_of(NAMES[3]);
    assert_eq!(world.check().unwrap().1, [RoleName::targets(), leaf]);
}

#[test]
fn a_bin_of_a_stranger_is_refused() {
    let mut world = World::new(&NAMES[..3], &NAMES[3..], 2);
    let leaf = world.candidate.role_of(NAMES[3]);
    world.keys.bins = common::key();
    let delegations =
        trie::delegations(&RoleName::targets(), &[world.keys.bins.tuf_key()]).unwrap();
    let keys = RoleKeys::in_delegations(&delegations, &leaf).unwrap();
    let draft = world.candidate.documents[&leaf].clone();
    let signature = signature(&world.keys.bins, &draft.message().unwrap());
    let forged = draft.sign(vec![signature], &keys).unwrap();
    world.files.insert(leaf.clone(), forged.bytes().clone());
    assert_eq!(world.fault(), Fault::Role(leaf.clone(), world.candidate.versions[&leaf]));

    let mut gate = world.open().unwrap();
    let top = RoleName::targets();
    gate.role(&top, &world.files[&top], Some(world.published.documents[&top].document())).unwrap();
    let under_its_own_keys = VerifiedRole::new(forged.bytes().clone(), keys);
    let refused = gate.verified_role(&leaf, under_its_own_keys, None).unwrap_err();
    assert_eq!(refused.fault, Fault::Role(leaf.clone(), world.candidate.versions[&leaf]));
}

#[test]
fn a_bin_in_the_place_of_another_is_refused() {
    let mut world = World::new(&NAMES[..2], &NAMES[2..3], 2);
    let (one, other): (RoleName, RoleName) = ("bin-0".parse().unwrap(), "bin-1".parse().unwrap());
    let file = world.files[&other].clone();
    world.files.insert(one.clone(), file);
    assert_eq!(world.fault(), Fault::Role(one.clone(), world.candidate.versions[&one]));
}

#[test]
fn targets_in_a_bin_where_no_client_looks_are_refused() {
    let mut world = World::new(&NAMES[..3], &NAMES[3..], 2);
    let leaf = world.candidate.role_of(NAMES[3]);
    let stray = tough::TargetName::new(NAMES[0]).unwrap();
    let target =
        world.candidate.documents[&leaf].document().targets.values().next().unwrap().clone();
    world.change(&leaf, |document| _ = document.targets.insert(stray, target));
    assert_eq!(world.fault(), Fault::Role(leaf.clone(), world.candidate.versions[&leaf]));
}

#[test]
fn delegations_that_are_not_those_of_bins_are_refused() {
    let top = RoleName::targets();
    let changes: [fn(&mut Targets); 5] = [
        |document| document.delegations.as_mut().unwrap().roles[0].terminating = false,
        |document| _ = document.delegations.as_mut().unwrap().roles.pop(),
        |document| document.delegations.as_mut().unwrap().roles.swap(0, 1),
        |document| document.delegations.as_mut().unwrap().keys.clear(),
        |document| document.delegations = None,
    ];
    for change in changes {
        let mut world = World::new(&NAMES[..2], &NAMES[2..3], 2);
        world.change(&top, change);
        assert_eq!(world.fault(), Fault::Role(top.clone(), world.candidate.versions[&top]));
    }
    let mut world = World::new(&NAMES[..2], &NAMES[2..3], 2);
    let target = world.published.documents[&top].document().targets.clone();
    world.change(&top, |document| document.targets = target);
    assert_eq!(world.fault(), Fault::Role(top.clone(), world.candidate.versions[&top]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    /// Whatever is added to any generation, the gate passes the documents that sign signs, and
    /// wants each changed role.
    #[test]
    fn honest_generations_pass(
        before in proptest::collection::btree_set("[a-z]{1,2}", 0..40),
        added in proptest::collection::btree_set("[a-z]{1,2}", 1..20),
        most in 1..6_usize,
    ) {
        let as_slices = |names: &std::collections::BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>();
        let (before, added) = (as_slices(&before), as_slices(&added));
        let world = World::new(
            &before.iter().map(String::as_str).collect::<Vec<_>>(),
            &added.iter().map(String::as_str).collect::<Vec<_>>(),
            most,
        );
        let (_, looked) = world.check().unwrap();
        for role in world.candidate.manifest.changed.keys() {
            prop_assert!(looked.contains(role), "{} was not looked at", role);
        }
    }
}
