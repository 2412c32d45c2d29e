//! Objects that a thief creates in places that the stages read.

use std::collections::BTreeSet;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::Mutex;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::EcdsaKeyPair;
use bytes::Bytes;
use tough::schema::{self, Role, Signature, Targets};
use tough::sign::Sign;
use tufline_pipeline::Ports;
use tufline_pipeline::operations::delegation;
use tufline_pipeline::operations::init;
use tufline_pipeline::stages;
use tufline_pipeline::stages::Turn;
use tufline_pipeline::stages::hash;
use tufline_pipeline::state::parties::read_parties;
use tufline_pipeline::state::records::RECORD_FORMAT;
use tufline_pipeline::state::records::RecordedFault;
use tufline_pipeline::state::records::RefusedGeneration;
use tufline_store::memory::{Calm, Memory, MemoryKeys};
use tufline_store::{Hint, Key, Message, OnlineRole, Queue, VersionId};
use tufline_tuf::delegations::{Decision, PARTIES_FORMAT, PartyEdit, PartyState};
use tufline_tuf::generation::{FirstBins, SPEC_VERSION};
use tufline_tuf::{Addressed, Config, Parties, RoleName, Sha256, json, time};

use crate::common::{Holding, finish, key, ports, take_changes};
use crate::world::{World, set};

fn document(party: &EcdsaKeyPair, expires: tufline_tuf::Time) -> Bytes {
    let signed = Targets::new(SPEC_VERSION.into(), NonZeroU64::MIN, expires);
    let message = signed.canonical_form().unwrap();
    let sig = EcdsaKeyPair::sign(party, &SystemRandom::new(), &message).unwrap().as_ref().to_vec();
    let signatures = vec![Signature { keyid: party.tuf_key().key_id().unwrap(), sig: sig.into() }];
    json::to_vec(&schema::Signed { signed, signatures }).unwrap().into()
}

/// Delegates to a new party. Returns its role, and the document that it then delivers with the
/// document's version.
fn delivery_of_a_vendor(world: &World) -> (RoleName, Bytes, VersionId) {
    let (party, vendor) = (key(), "vendor".parse::<RoleName>().unwrap());
    let edit = PartyEdit::Create {
        paths: vec!["vendor/*".parse().unwrap()],
        keys: vec![party.tuf_key()],
        threshold: 1,
    };
    finish(delegation::change(
        &*world.ports.store,
        &world.ports.config,
        world.ports.clock.now(),
        &vendor,
        &edit,
    ))
    .unwrap();
    world.minutes(2);
    let file = document(&party, time::after(world.ports.clock.now(), 30 * 86_400));
    let version = world.deliveries.put_upload("vendor.json", file.clone(), None, false);
    (vendor, file, version)
}

/// rebuild / operator: a valid generation with an index page that has other bytes under the right
/// name.
#[test]
fn a_page_with_other_bytes_is_never_published() {
    let world = World::with(FirstBins::Sixteen, Config::default());
    world.put("a", "one");
    world.minutes(2);
    world.forge(&[], &["bin-0".parse().unwrap()], true, |_| {});
    world.minutes(1);
    world.put("b", "two");
    world.minutes(15);
    assert!(world.shows("b", "two"), "still not published later");
}

/// operator: a decision, and other bytes under the name of the record that would follow from it.
#[test]
fn nobody_knows_the_digest_of_a_record_of_parties() {
    let world = World::new();
    world.put("a", "one");
    world.minutes(2);
    let edit = PartyEdit::Create {
        paths: vec!["vendor/*".parse().unwrap()],
        keys: vec![key().tuf_key()],
        threshold: 1,
    };
    let role: RoleName = "vendor".parse().unwrap();
    let record =
        Addressed::try_from(Parties::default().edit(&role, edit.clone()).unwrap()).unwrap();
    world.create(&Key::Parties(record.digest()), Bytes::from_static(b"junk"));
    world.create(
        &Key::Decision(1),
        json::to_vec(&Decision { format: PARTIES_FORMAT, role, edit }).unwrap(),
    );
    // The thief is silent from here on.
    world.put("b", "two");
    world.minutes(1);
    world.put("c", "three");
    let before = world.newest();
    world.minutes(1);
    assert!(world.shows("c", "three"), "still not published");
    assert!(world.newest() - before < 5, "a loop");
}

/// rebuild: other bytes under the name of a document that a party is about to deliver.
#[test]
fn a_delivered_file_whose_place_is_taken_is_refused() {
    let world = World::new();
    world.put("a", "one");
    world.minutes(2);
    let (_, file, version) = delivery_of_a_vendor(&world);
    world.create(&Key::Delivered(Sha256::of(&file)), Bytes::from_static(b"junk"));
    // The thief is silent from here on.
    let hint = Hint { name: "vendor.json".into(), removed: false, version: Some(version) };
    finish(stages::deliver(&world.ports, &[hint])).unwrap();
    world.put("b", "two");
    world.minutes(1);
    assert!(world.shows("b", "two"), "still not published");
}

/// rebuild: a change of a name for which nobody can tell what is current, since uploads expire.
#[test]
fn a_name_whose_current_upload_is_unknown_holds_up_nothing() {
    let config: Config = serde_json::from_str(r#"{"uploads_expire_days":15}"#).unwrap();
    let world = World::with(FirstBins::One, config);
    world.put("a", "one");
    world.minutes(2);
    assert!(world.shows("a", "one"));
    world.forge(&[set("nobody/uploaded", "evil", Some("v"))], &[], false, |_| {});
    world.minutes(1);
    world.put("b", "two");
    world.minutes(15);
    assert!(world.shows("b", "two"), "still not published later");
}

/// build system: a good upload, and then a thousand refused ones before it is published.
#[test]
fn a_thousand_refused_versions_hold_up_nothing() {
    let world = World::new();
    world.put("a", "one");
    world.minutes(2);
    world.put("mine/x", "x1");
    // Hash and rebuild see the good upload.
    while let Some(index) = world.memory.first_due(Queue::Uploads) {
        let message = world.memory.take(Queue::Uploads, index).unwrap();
        let Ok(Message::Uploads(hints)) = Message::from_body(&message.body) else { continue };
        finish(hash(&world.ports, Turn::All, &hints));
    }
    finish(stages::rebuild(&world.ports, &take_changes(&world.memory))).unwrap();
    for _ in 0..1001 {
        world.memory.put_upload("mine/x", Bytes::from_static(b"x2"), Some("not JSON"), true);
    }
    world.minutes(1);
    // The build system's credentials are revoked.
    world.put("b", "two");
    world.minutes(15);
    assert!(world.shows("b", "two"), "another's upload is still not published later");
}

/// rebuild / operator: a new draft of `targets` where people sign that role.
#[test]
fn nobody_drafts_targets_where_people_sign_it() {
    let holding = Holding::new();
    let keys = Arc::new(MemoryKeys::generate().unwrap());
    let memory =
        Arc::new(Memory::new("2026-01-01T00:00:00Z".parse().unwrap(), keys, Box::new(Calm)));
    let deliveries = memory.clone();
    let config = Config { offline_targets: true, ..Config::default() };
    let ports = Ports { signer: Arc::clone(&holding) as _, ..ports(&memory, config) };
    finish(init::init(&ports, &*key(), FirstBins::Sixteen)).unwrap();
    let (requests, log) = (Arc::default(), Arc::default());
    let world = World { memory, deliveries, ports, requests, log, failures: Mutex::default() };
    world.minutes(2);
    world.put("a", "one");
    world.minutes(2);
    assert!(world.shows("a", "one"));
    // The people take their key off the servers. The servers now sign with another key, which the
    // root does not list.
    let people = holding.0.lock().unwrap()[&OnlineRole::Targets][0].tuf_key();
    holding.add(OnlineRole::Targets);
    holding.remove(OnlineRole::Targets, &[people]);
    world.put("c", "three");
    world.minutes(2);
    assert!(world.shows("c", "three"));
    world.forge(&[], &[RoleName::targets()], false, |_| {});
    world.minutes(1);
    world.put("b", "two");
    world.minutes(15);
    assert!(world.shows("b", "two"), "still not published later");
}

/// sign / publish: refusals of generations that do not exist yet.
#[test]
fn a_refusal_says_nothing_of_a_generation_to_come() {
    let world = World::new();
    world.put("a", "one");
    world.minutes(2);
    let newest = world.newest();
    let manifest = Sha256::of(b"of another");
    let refused = RefusedGeneration {
        format: RECORD_FORMAT,
        manifest,
        reason: "x".into(),
        fault: RecordedFault::Void,
    };
    for generation in newest + 1..=newest + 2_000 {
        world
            .memory
            .tamper(&Key::Refused(generation).path(), Some(json::to_vec(&refused).unwrap().into()));
    }
    world.put("b", "two");
    world.minutes(3);
    assert!(world.shows("b", "two"), "still not published");
}

/// sign / operator: as many taken document versions as one generation may skip.
#[test]
fn numbers_are_left_out_until_there_is_room() {
    let world = World::new();
    world.put("a", "one");
    world.minutes(2);
    let serial = world.manifest(world.newest()).serial;
    for version in serial + 1..=serial + 100_000 {
        world.memory.tamper(
            &Key::Metadata { role: RoleName::targets(), version }.path(),
            Some(Bytes::from_static(b"x")),
        );
    }
    world.put("b", "two");
    world.minutes(10);
    assert!(world.shows("b", "two"), "still not published");
}

/// rebuild: a generation that counts the removal of a party as decided, but does not carry it out.
#[test]
fn no_removal_of_a_party_is_waived() {
    let world = World::new();
    world.put("a", "one");
    world.minutes(2);
    let (vendor, _, version) = delivery_of_a_vendor(&world);
    finish(stages::deliver(
        &world.ports,
        &[Hint { name: "vendor.json".into(), removed: false, version: Some(version) }],
    ))
    .unwrap();
    world.minutes(2);
    let state = || {
        finish(read_parties(&*world.ports.store, &world.manifest(world.published())))
            .unwrap()
            .parties[&vendor]
            .state
    };
    assert_eq!(state(), PartyState::Listed);
    // Write what `decide` writes. The thief is faster than the stage that carries it out.
    let removal = PartyEdit::Remove { release: false };
    world.create(
        &Key::Decision(2),
        json::to_vec(&Decision { format: PARTIES_FORMAT, role: vendor.clone(), edit: removal })
            .unwrap(),
    );
    world.forge(&[], &[], false, |manifest| {
        manifest.decisions = 2;
        manifest.waived = BTreeSet::from([2]);
    });
    world.put("b", "two");
    world.minutes(30);
    assert!(world.shows("b", "two"));
    assert_eq!(state(), PartyState::Removed, "the operator's removal is lost");
}
