//! Sign and publish come to an end whatever file is missing, and somebody reports the missing file.
//!
//! *Property*: with any one file gone while a generation waits, signed or not, the two call each
//! other at most a few times. Once the file is back, the generation is shown.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::num::NonZeroU64;
use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::EcdsaKeyPair;
use bytes::Bytes;
use tough::schema::{self, Role, Signature, Targets};
use tough::sign::Sign;
use tufline_pipeline::Ports;
use tufline_pipeline::StageError;
use tufline_pipeline::operations::delegation;
use tufline_pipeline::operations::init;
use tufline_pipeline::stages;
use tufline_pipeline::stages::Turn;
use tufline_pipeline::stages::hash;
use tufline_pipeline::stages::publish;
use tufline_pipeline::state::ledger;
use tufline_pipeline::state::pending::Tip;
use tufline_store::memory::{Calm, Memory, MemoryKeys};
use tufline_store::{Hint, Key, Queue};
use tufline_tuf::delegations::PartyEdit;
use tufline_tuf::generation::{FirstBins, SPEC_VERSION};
use tufline_tuf::{Config, RoleName, time};

use common::{finish, key, ports, settle, take_changes};

/// More calls than this count as an endless loop.
const MOST_CALLS: usize = 6;

struct World {
    memory: Arc<Memory>,
    ports: Ports,
}

impl World {
    /// A repository with sixteen bins and a party's document, and a generation that waits, `signed`
    /// or not.
    fn new(keys: &Arc<MemoryKeys>, signed: bool) -> Self {
        let memory = Arc::new(Memory::new(
            "2026-01-01T00:00:00Z".parse().unwrap(),
            keys.clone(),
            Box::new(Calm),
        ));
        let deliveries = Arc::new(Memory::new(
            "2026-01-01T00:00:00Z".parse().unwrap(),
            keys.clone(),
            Box::new(Calm),
        ));
        let ports = Ports { deliveries: deliveries.clone(), ..ports(&memory, Config::default()) };
        finish(init::init(&ports, keys.root(), FirstBins::Sixteen)).unwrap();
        let world = Self { memory, ports };
        assert!(world.pump().is_empty());
        let (party, vendor) = (key(), "vendor".parse::<RoleName>().unwrap());
        let paths = vec!["vendor/*".parse().unwrap()];
        let edit = PartyEdit::Create { paths, keys: vec![party.tuf_key()], threshold: 1 };
        let now = world.ports.clock.now();
        finish(delegation::change(&*world.ports.store, &world.ports.config, now, &vendor, &edit))
            .unwrap();
        let expires = time::after(now, 30 * 86_400);
        let version = deliveries.put_upload("vendor.json", document(&party, expires), None, false);
        let hint = Hint { name: "vendor.json".into(), removed: false, version: Some(version) };
        finish(stages::deliver(&world.ports, &[hint])).unwrap();
        world.rebuild();
        assert!(world.pump().is_empty());
        world.upload("a", "first");
        assert!(world.pump().is_empty());
        world.upload("a", "second");
        if signed {
            finish(stages::sign(&world.ports)).unwrap();
        }
        world
    }

    fn upload(&self, name: &str, bytes: &'static str) {
        let version =
            self.memory.put_upload(name, Bytes::from_static(bytes.as_bytes()), None, true);
        let hint = Hint { name: name.into(), removed: false, version: Some(version) };
        assert!(finish(hash(&self.ports, Turn::All, &[hint])).iter().all(Option::is_none));
        self.rebuild();
    }

    fn rebuild(&self) {
        let rebuilt = finish(stages::rebuild(&self.ports, &take_changes(&self.memory))).unwrap();
        assert!(rebuilt.failed.is_empty() && rebuilt.generation.is_some());
    }

    /// Calls sign and publish once, and then lets them answer each other's calls. Returns their
    /// failures. Failed calls are not repeated.
    fn pump(&self) -> Vec<StageError> {
        let (mut errors, mut calls) = (Vec::new(), 0);
        let mut note = |outcome: Result<(), StageError>| errors.extend(outcome.err());
        note(finish(stages::sign(&self.ports)));
        note(finish(publish(&self.ports)).map(drop));
        loop {
            let called = if self.memory.take(Queue::Sign, 0).is_some() {
                finish(stages::sign(&self.ports))
            } else if self.memory.take(Queue::Publish, 0).is_some() {
                finish(publish(&self.ports)).map(drop)
            } else {
                return errors;
            };
            note(called);
            calls += 1;
            assert!(calls <= MOST_CALLS, "sign and publish call each other without end");
        }
    }

    fn published(&self) -> u64 {
        finish(ledger::published(&*self.ports.store)).unwrap().unwrap().generation
    }

    fn newest(&self) -> u64 {
        finish(Tip::read(&*self.ports.store)).unwrap().newest().generation
    }
}

/// A party's document without targets.
fn document(party: &EcdsaKeyPair, expires: tufline_tuf::Time) -> Bytes {
    let signed = Targets::new(SPEC_VERSION.into(), NonZeroU64::MIN, expires);
    let message = signed.canonical_form().unwrap();
    let sig = EcdsaKeyPair::sign(party, &SystemRandom::new(), &message).unwrap().as_ref().to_vec();
    let signatures = vec![Signature { keyid: party.tuf_key().key_id().unwrap(), sig: sig.into() }];
    tufline_tuf::json::to_vec(&schema::Signed { signed, signatures }).unwrap().into()
}

#[test]
fn whatever_is_missing_sign_and_publish_come_to_an_end() {
    let keys = Arc::new(MemoryKeys::generate().unwrap());
    for signed in [true, false] {
        let whole = World::new(&keys, signed);
        let newest = whole.newest();
        let paths: Vec<String> = whole.memory.history().into_keys().collect();
        assert!(paths.iter().filter(|path| path.ends_with("vendor.json")).count() > 0);
        // Files that only older generations used are not needed any more.
        let mut needed = 0;
        for path in paths {
            // The parties' keys differ from world to world, and so do the records that are named by
            // digests.
            let world = World::new(&keys, signed);
            let Some(bytes) = world.memory.object(&path) else { continue };
            world.memory.tamper(&path, None);
            let errors = world.pump();
            if world.memory.object(&Key::Timestamp.path()).is_some() && world.published() == newest
            {
                continue;
            }
            // A generation that lacks a record of its own is refused, and rebuild makes another in
            // its place.
            if world.memory.object(&Key::Refused(newest).path()).is_some() {
                continue;
            }
            needed += 1;
            let said = errors.iter().any(|error| error.to_string().contains(&path));
            // Without its manifest, nobody knows that there is a newer generation.
            let is_unknown = path == Key::Manifest(newest).path();
            assert!(said || is_unknown, "{path} is missing, and nobody says so: {errors:?}");
            world.memory.tamper(&path, Some(bytes));
            world.pump();
            assert_eq!(world.published(), newest, "with {path} again");
        }
        assert!(needed >= 5, "timestamp, root, snapshot, targets, manifests: {needed}");
    }
}

#[test]
fn a_lost_file_of_what_is_published_is_named_and_sign_is_not_called_for_it() {
    let keys = Arc::new(MemoryKeys::generate().unwrap());
    let world = World::new(&keys, true);
    while world.memory.take(Queue::Sign, 0).is_some() {}
    let manifest = finish(ledger::manifest(&*world.ports.store, world.published())).unwrap();
    let path =
        Key::Metadata { role: RoleName::targets(), version: manifest.top.document.version }.path();
    let bytes = world.memory.object(&path).unwrap();
    world.memory.tamper(&path, None);
    let error = finish(publish(&world.ports)).unwrap_err().to_string();
    assert!(error.contains(&path) && error.contains("restore it"), "{error}");
    assert_eq!(world.memory.queued(Queue::Sign), 0);
    // Refresh names the file too.
    world.memory.pass(20 * 3600);
    let error = finish(stages::refresh(&world.ports)).unwrap_err().to_string();
    assert!(error.contains(&path), "{error}");
    world.memory.tamper(&path, Some(bytes));
    finish(publish(&world.ports)).unwrap();
    assert_eq!(world.published(), world.newest());
}

#[test]
fn where_the_newest_that_is_signed_expired_the_two_come_to_an_end() {
    let keys = Arc::new(MemoryKeys::generate().unwrap());
    let world = World::new(&keys, false);
    world.upload("b", "second");
    finish(stages::sign(&world.ports)).unwrap();
    world.memory.pass(8 * 86_400);
    world.pump();
}

/// Lambda can end a chain of some 16 invocations, but our functions switch that off. So each chain
/// must end by itself.
#[test]
fn whatever_is_missing_damaged_or_expired_all_stages_come_to_rest() {
    let keys = Arc::new(MemoryKeys::generate().unwrap());
    let mut most = 0;
    for (signed, days, damaged) in
        [(true, 0, None), (false, 0, Some("{}")), (false, 31, None), (true, 91, None)]
    {
        let paths = World::new(&keys, signed).memory.history().into_keys().enumerate();
        // There are many drafts, all alike, so a part of them is enough.
        for (_, path) in
            paths.filter(|(number, path)| !path.starts_with("drafts/") || number % 6 == 0)
        {
            let world = World::new(&keys, signed);
            if world.memory.object(&path).is_none() {
                continue;
            }
            world.memory.tamper(&path, damaged.map(Into::into));
            world.memory.pass(days * 86_400);
            for _ in 0..3 {
                let _ = finish(stages::refresh(&world.ports));
                most = settle(&world.memory, &world.ports).max(most);
                world.memory.pass(60);
            }
        }
    }
    assert!(most > 6, "{most}");
}
