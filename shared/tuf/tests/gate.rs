//! The gate: what passes it, and everything that must not.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use bytes::Bytes;
use common::{Generation, Keys, now, others, policy, set, sign, signature};
use tough::schema::{self, Role, Root};
use tufline_tuf::config::Expiry;
use tufline_tuf::gate::{Checked, Fault, Gate, Refused};
use tufline_tuf::generation::{Edit, FirstBins, Versions, snapshot};
use tufline_tuf::time::after;
use tufline_tuf::{Parties, RoleName, Sha256, Time, VerifyError};

const YEAR: u64 = 365 * 24 * 60 * 60;

/// A published generation and a candidate that adds the target `new` with the bytes `x`.
struct World {
    keys: Keys,
    root: Root,
    published: Generation,
    candidate: Generation,
    snapshot: Bytes,
    targets: Bytes,
}

impl World {
    fn new() -> Self {
        let keys = Keys::new();
        let root = keys.trusted(after(now(), YEAR));
        let published = Generation::first(&keys.bins, FirstBins::One);
        let candidate = published.fold(&[set("new", "x")], policy(None, now())).unwrap();
        let targets = candidate.documents[&RoleName::targets()].clone();
        let targets = sign(targets, &keys.targets, &root).bytes().clone();
        let mut world = Self { keys, root, published, candidate, snapshot: Bytes::new(), targets };
        world.sign_snapshot(&world.candidate.versions.clone());
        world
    }

    fn sign_snapshot(&mut self, versions: &Versions) {
        let snapshot = snapshot(&self.candidate.manifest, versions, &Parties::default()).unwrap();
        self.snapshot = sign(snapshot, &self.keys.snapshot, &self.root).bytes().clone();
    }

    fn open<'a>(&'a self, roots: &'a [Root], at: Time) -> Result<Gate<'a>, Refused> {
        let (since, candidate) =
            (std::slice::from_ref(&self.candidate.manifest), &self.candidate.manifest);
        Gate::open(roots, &self.published.versions, since, candidate, others(), &self.snapshot, at)
    }

    fn check(&self, at: Time, blob: Option<(u64, Option<Sha256>)>) -> Result<Checked, Refused> {
        self.check_under(std::slice::from_ref(&self.root), at, blob)
    }

    fn check_under(
        &self,
        roots: &[Root],
        at: Time,
        blob: Option<(u64, Option<Sha256>)>,
    ) -> Result<Checked, Refused> {
        let mut gate = self.open(roots, at)?;
        for (role, _) in gate.wanted_roles() {
            gate.role(&role, &self.targets, Some(self.published.documents[&role].document()))?;
        }
        for sha256 in gate.wanted_blobs() {
            gate.blob(&sha256, blob);
        }
        gate.pass()
    }

    fn fault(&self, at: Time, blob: Option<(u64, Option<Sha256>)>) -> Fault {
        let refused = self.check(at, blob).unwrap_err();
        assert_eq!(refused.generation, self.candidate.manifest.generation);
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
    let timestamp = checked.timestamp(7, after(now(), 60)).unwrap();
    let meta = &timestamp.document().meta["snapshot.json"];
    assert_eq!((timestamp.document().version.get(), meta.version.get()), (7, 2));
    assert_eq!(meta.length, Some(world.snapshot.len() as u64));
    assert_eq!(
        meta.hashes.as_ref().unwrap().sha256[..],
        Sha256::of(&world.snapshot).as_bytes()[..]
    );
}

#[test]
fn missing_short_or_wrong_bytes_are_refused_by_target_name() {
    let world = World::new();
    let other = Some((1, Some(Sha256::of(b"y"))));
    for blob in [None, Some((2, None)), other] {
        assert_eq!(world.fault(now(), blob), Fault::Targets(vec!["new".parse().unwrap()]));
    }
    assert!(world.check(now(), Some((1, Some(Sha256::of(b"x"))))).is_ok());
}

#[test]
fn an_unchecked_generation_does_not_pass() {
    let world = World::new();
    let roots = std::slice::from_ref(&world.root);
    let open = || world.open(roots, now()).unwrap();
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
    assert_eq!(world.fault(after_snapshot, GOOD), Fault::Expired(RoleName::snapshot(), 2));
    assert_eq!(world.fault(after(now(), YEAR + 1), GOOD), Fault::Root);
    let mut stale = World::new();
    stale.candidate.manifest.top.document.expires = now();
    assert_eq!(stale.fault(now(), GOOD), Fault::Expired(RoleName::targets(), 2));
}

#[test]
fn an_older_document_under_its_own_number_is_refused() {
    let mut world = World::new();
    let old = world.published.documents[&RoleName::targets()].clone();
    world.targets = sign(old, &world.keys.targets, &world.root).bytes().clone();
    assert_eq!(world.fault(now(), GOOD), role(RoleName::targets(), 2));
}

#[test]
fn a_snapshot_that_contradicts_its_manifest_is_refused() {
    let (targets, vendor): (_, RoleName) = (RoleName::targets(), "vendor".parse().unwrap());
    for versions in
        [[(targets.clone(), 9)].into(), [(targets.clone(), 2), (vendor, 1)].into(), Versions::new()]
    {
        let mut world = World::new();
        world.sign_snapshot(&versions);
        assert_eq!(world.fault(now(), GOOD), role(RoleName::snapshot(), 2));
    }
}

#[test]
fn a_snapshot_that_lasts_longer_than_its_manifest_says_is_refused() {
    let mut world = World::new();
    let honest = world.candidate.manifest.snapshot_expires;
    world.candidate.manifest.snapshot_expires = after(honest, 1_000_000);
    let versions = world.candidate.versions.clone();
    world.sign_snapshot(&versions);
    world.candidate.manifest.snapshot_expires = honest;
    assert_eq!(
        world.fault(now(), GOOD),
        role(RoleName::snapshot(), 2),
        "a thief of the key could extend its life"
    );
}

#[test]
fn what_is_signed_must_be_what_was_drafted() {
    let world = World::new();
    let roots = std::slice::from_ref(&world.root);
    let drafted = world.candidate.documents[&RoleName::targets()].clone();
    let other = world.published.documents[&RoleName::targets()].clone();
    for (expected, passes) in [(Some(drafted), true), (Some(other), false), (None, false)] {
        let mut gate = world.open(roots, now()).unwrap();
        gate.demand([RoleName::targets()]);
        if let Some(expected) = expected {
            gate.expect(expected.try_into().unwrap());
        }
        let checked = gate.role(&RoleName::targets(), &world.targets, None);
        assert_eq!(checked.is_ok(), passes, "{checked:?}");
    }
}

#[test]
fn a_role_that_is_older_or_gone_is_refused() {
    let mut world = World::new();
    world.published.versions.insert(RoleName::targets(), 3);
    assert_eq!(world.fault(now(), GOOD), role(RoleName::snapshot(), 2));
    let mut gone = World::new();
    gone.published.versions.insert("vendor".parse().unwrap(), 1);
    assert_eq!(gone.fault(now(), GOOD), role(RoleName::snapshot(), 2));
}

#[test]
fn the_published_generation_passes_again() {
    let world = World::new();
    let (roots, candidate) = (std::slice::from_ref(&world.root), &world.candidate);
    let again = |versions: &Versions| {
        Gate::open(roots, versions, &[], &candidate.manifest, others(), &world.snapshot, now())
            .map(|gate| gate.wanted_roles())
    };
    assert_eq!(
        again(&candidate.versions).unwrap(),
        [(RoleName::targets(), 2)],
        "the root lists its keys"
    );
    assert!(again(&world.published.versions).is_err());
}

#[test]
fn a_bin_without_its_ancestors_is_void() {
    // Nothing would say which document that is, or whose signature counts for it.
    let mut world = World::new();
    let bin: RoleName = "bin-0".parse().unwrap();
    let entry = world.candidate.manifest.changed[&RoleName::targets()].clone();
    world.candidate.manifest.changed = [(bin.clone(), entry)].into();
    world.published.versions = Versions::new();
    world.sign_snapshot(&[(bin, 2)].into());
    assert_eq!(world.fault(now(), GOOD), Fault::Void);
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

#[test]
fn a_document_that_clients_read_differently_is_refused_unless_published() {
    let mut world = World::new();
    let mut edit = set("new", "x");
    let Edit::Set(content) = &mut edit.edit else { unreachable!() };
    content.custom = serde_json::from_str(r#"{"a":1,"a b":2}"#).unwrap();
    world.candidate = world.published.fold(&[edit], policy(None, now())).unwrap();
    let (role, versions) = (RoleName::targets(), world.candidate.versions.clone());
    let draft = world.candidate.documents[&role].clone();
    assert!(
        matches!(draft.clone().prepare(), Err(VerifyError::Unalike { .. })),
        "we don't sign it"
    );
    // The signature as clients in Rust verify it.
    let signatures =
        vec![signature(&world.keys.targets, &draft.document().canonical_form().unwrap())];
    let signed = schema::Signed { signed: draft.document().clone(), signatures };
    world.targets = tufline_tuf::json::to_vec(&signed).unwrap().into();
    world.sign_snapshot(&versions);
    let refused = world.check(now(), GOOD).unwrap_err();
    assert!(
        matches!(refused.fault, Fault::Role(..)) && refused.reason.contains("\"a b\""),
        "{refused:?}"
    );
    let roots = std::slice::from_ref(&world.root);
    let mut again = Gate::open(
        roots,
        &versions,
        &[],
        &world.candidate.manifest,
        others(),
        &world.snapshot,
        now(),
    )
    .unwrap();
    again.role(&role, &world.targets, Some(draft.document())).unwrap();
    assert!(again.pass().is_ok());
}
