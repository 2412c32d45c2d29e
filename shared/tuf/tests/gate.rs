//! The gate: what passes, and everything that must not.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use bytes::Bytes;
use common::{Keys, documents, fold, now, set, sign, start};
use tough::schema::{Root, Targets};
use tufline_tuf::config::Expiry;
use tufline_tuf::gate::{Checked, Fault, Gate, Refused};
use tufline_tuf::generation::snapshot;
use tufline_tuf::time::after;
use tufline_tuf::{Manifest, RoleName, Sha256, Time};

const YEAR: u64 = 365 * 24 * 60 * 60;

/// A published generation and a candidate that adds the target `new` with the bytes `x`.
struct World {
    keys: Keys,
    root: Root,
    published: Manifest,
    published_targets: Targets,
    candidate: Manifest,
    snapshot: Bytes,
    targets: Bytes,
}

impl World {
    fn new() -> Self {
        let keys = Keys::new();
        let root = keys.trusted(after(now(), YEAR));
        let published = start();
        let candidate = fold(&published.manifest, &documents(&published), &[set("new", "x")], None, now()).unwrap();
        Self {
            snapshot: sign(snapshot(&candidate.manifest), &keys.snapshot, &root).bytes().clone(),
            targets: sign(candidate.drafts[0].clone(), &keys.targets, &root).bytes().clone(),
            published_targets: published.drafts[0].document().clone(),
            published: published.manifest,
            candidate: candidate.manifest,
            keys,
            root,
        }
    }

    fn check(&self, at: Time, blob: Option<(u64, Option<Sha256>)>) -> Result<Checked, Refused> {
        self.check_under(std::slice::from_ref(&self.root), at, blob)
    }

    fn check_under(&self, roots: &[Root], at: Time, blob: Option<(u64, Option<Sha256>)>) -> Result<Checked, Refused> {
        let mut gate = Gate::open(roots, Some(&self.published), &self.candidate, &self.snapshot, at)?;
        for (role, _) in gate.wanted_roles() {
            gate.role(&role, &self.targets, Some(&self.published_targets))?;
        }
        for sha256 in gate.wanted_blobs() {
            gate.blob(&sha256, blob);
        }
        gate.pass()
    }

    fn fault(&self, at: Time, blob: Option<(u64, Option<Sha256>)>) -> Fault {
        let refused = self.check(at, blob).unwrap_err();
        assert_eq!(refused.generation, self.candidate.generation);
        assert!(!refused.reason.is_empty() && !refused.reason.contains('\n'), "{}", refused.reason);
        refused.fault
    }
}

const GOOD: Option<(u64, Option<Sha256>)> = Some((1, None));

fn role(name: RoleName, version: u64) -> Fault {
    Fault::Role(name, version)
}

#[test]
fn a_sound_generation_passes_and_its_timestamp_states_the_snapshot() {
    let world = World::new();
    let checked = world.check(now(), GOOD).unwrap();
    assert_eq!(checked.generation(), 2);
    let timestamp = checked.timestamp(7, after(now(), 60));
    let meta = &timestamp.document().meta["snapshot.json"];
    assert_eq!((timestamp.document().version.get(), meta.version.get()), (7, 2));
    assert_eq!(meta.length, Some(world.snapshot.len() as u64));
    assert_eq!(meta.hashes.as_ref().unwrap().sha256[..], Sha256::of(&world.snapshot).as_bytes()[..]);
}

#[test]
fn bytes_that_are_missing_short_or_others_are_refused_by_name() {
    let world = World::new();
    let other = Some((1, Some(Sha256::of(b"y"))));
    for blob in [None, Some((2, None)), other] {
        assert_eq!(world.fault(now(), blob), Fault::Targets(vec!["new".parse().unwrap()]));
    }
    assert!(world.check(now(), Some((1, Some(Sha256::of(b"x"))))).is_ok());
}

#[test]
fn what_was_not_looked_at_does_not_pass() {
    let world = World::new();
    let roots = std::slice::from_ref(&world.root);
    let open = || Gate::open(roots, Some(&world.published), &world.candidate, &world.snapshot, now()).unwrap();
    assert!(matches!(open().pass().unwrap_err().fault, Fault::Role(..)));
    let mut without_blob = open();
    without_blob.role(&RoleName::targets(), &world.targets, None).unwrap();
    assert!(matches!(without_blob.pass().unwrap_err().fault, Fault::Targets(_)));
}

#[test]
fn documents_of_strangers_are_refused() {
    let (mut world, stranger) = (World::new(), World::new());
    world.targets.clone_from(&stranger.targets);
    assert_eq!(world.fault(now(), GOOD), role(RoleName::targets(), 2));
    world.snapshot = stranger.snapshot;
    assert_eq!(world.fault(now(), GOOD), role(RoleName::snapshot(), 2));
    world.snapshot = Bytes::from_static(b"{}");
    assert_eq!(world.fault(now(), GOOD), role(RoleName::snapshot(), 2));
}

#[test]
fn expired_documents_and_roots_are_refused() {
    let world = World::new();
    let expiry = Expiry::default();
    let after_snapshot = after(now(), expiry.snapshot.seconds() + 1);
    assert_eq!(world.fault(after_snapshot, GOOD), role(RoleName::snapshot(), 2));
    assert_eq!(world.fault(after(now(), YEAR + 1), GOOD), Fault::Root);
    let mut stale = World::new();
    stale.candidate.roles.get_mut(&RoleName::targets()).unwrap().expires = now();
    assert_eq!(stale.fault(now(), GOOD), role(RoleName::targets(), 2));
}

#[test]
fn an_older_document_under_its_own_number_is_refused() {
    let mut world = World::new();
    let old = start();
    world.targets = sign(old.drafts[0].clone(), &world.keys.targets, &world.root).bytes().clone();
    assert_eq!(world.fault(now(), GOOD), role(RoleName::targets(), 2));
}

#[test]
fn a_snapshot_that_says_something_else_than_its_manifest_is_refused() {
    let mut world = World::new();
    let mut other = world.candidate.clone();
    other.roles.get_mut(&RoleName::targets()).unwrap().version = 9;
    world.snapshot = sign(snapshot(&other), &world.keys.snapshot, &world.root).bytes().clone();
    assert_eq!(world.fault(now(), GOOD), role(RoleName::snapshot(), 2));
}

#[test]
fn a_role_that_is_older_or_gone_is_refused() {
    let mut world = World::new();
    world.published.roles.get_mut(&RoleName::targets()).unwrap().version = 3;
    assert_eq!(world.fault(now(), GOOD), role(RoleName::snapshot(), 2));
    let mut gone = World::new();
    let entry = gone.published.roles[&RoleName::targets()].clone();
    gone.published.roles.insert("vendor".parse().unwrap(), entry);
    assert_eq!(gone.fault(now(), GOOD), role(RoleName::snapshot(), 2));
}

#[test]
fn a_root_about_to_be_published_must_accept_it_too() {
    let world = World::new();
    let next = World::new().root;
    let roots = [world.root.clone(), next];
    assert!(world.check_under(&roots, now(), GOOD).is_err());
    assert!(world.check_under(&[world.root.clone(), world.root.clone()], now(), GOOD).is_ok());
    assert_eq!(world.check_under(&[], now(), GOOD).unwrap_err().fault, Fault::Root);
}
