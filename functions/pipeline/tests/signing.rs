//! Which of the waiting generations are signed and shown.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use tufline_pipeline::Ports;
use tufline_pipeline::operations::init;
use tufline_pipeline::stages;
use tufline_pipeline::stages::Shown;
use tufline_pipeline::stages::Turn;
use tufline_pipeline::stages::hash;
use tufline_pipeline::stages::publish;
use tufline_pipeline::state::ledger;
use tufline_store::memory::{Calm, Memory, MemoryKeys};
use tufline_store::{Change, Hint, Key, Message, Queue};
use tufline_tuf::generation::FirstBins;
use tufline_tuf::{Config, Manifest, RoleName, Sha256, trie};

use common::{finish, ports, take_changes};

/// The bytes of every upload.
const BYTES: &str = "firmware";

struct World {
    memory: Arc<Memory>,
    ports: Ports,
}

impl World {
    /// A published repository with sixteen bins, and two generations that wait. The first sets
    /// `names[0]`, the second `names[1]`, and both set `names[2]`, which is in a bin of its own.
    fn new(names: [&str; 3]) -> Self {
        let leaves: BTreeSet<RoleName> = names.into_iter().map(Self::leaf).collect();
        assert_eq!(leaves.len(), names.len());
        let keys = Arc::new(MemoryKeys::generate().unwrap());
        let memory = Arc::new(Memory::new(
            "2026-01-01T00:00:00Z".parse().unwrap(),
            keys.clone(),
            Box::new(Calm),
        ));
        let ports = ports(&memory, Config::default());
        finish(init::init(&ports, keys.root(), FirstBins::Sixteen)).unwrap();
        let world = Self { memory, ports };
        assert_eq!((world.sign(), world.show()), (true, Shown::Now(1)));
        for name in &names[..2] {
            world.upload(name, BYTES);
            world.upload(names[2], &format!("{BYTES} beside {name}"));
            assert!(
                finish(stages::rebuild(&world.ports, &take_changes(&world.memory)))
                    .unwrap()
                    .generation
                    .is_some()
            );
        }
        world
    }

    fn upload(&self, name: &str, bytes: &str) {
        let version = self.memory.put_upload(name, Bytes::from(bytes.to_owned()), None, true);
        let hint = Hint { name: name.into(), removed: false, version: Some(version) };
        finish(hash(&self.ports, Turn::All, &[hint]));
    }

    /// Whether sign succeeded.
    fn sign(&self) -> bool {
        finish(stages::sign(&self.ports)).is_ok()
    }

    /// Runs publish. Calls for sign that wait afterwards are publish's own.
    fn show(&self) -> Shown {
        while self.memory.take(Queue::Sign, 0).is_some() {}
        finish(publish(&self.ports)).unwrap()
    }

    fn manifest(&self, generation: u64) -> Manifest {
        finish(ledger::manifest(&*self.ports.store, generation)).unwrap()
    }

    /// The roles whose documents of a generation are signed.
    fn signed(&self, generation: u64) -> Vec<RoleName> {
        let changed = self.manifest(generation).changed.into_iter();
        let key = |role: &RoleName, version| Key::Metadata { role: role.clone(), version };
        changed
            .filter(|(role, entry)| self.memory.object(&key(role, entry.version).path()).is_some())
            .map(|(role, _)| role)
            .collect()
    }

    fn has_snapshot(&self, generation: u64) -> bool {
        self.memory.object(&Key::snapshot(generation).path()).is_some()
    }

    /// The role of a target.
    fn leaf(name: &str) -> RoleName {
        trie::leaf(&name.parse().unwrap(), |role| trie::depth(role) < 2)
    }

    /// Loses the published document of a role, and its draft. Returns these files and what they
    /// contained.
    fn lose_published(&self, role: &RoleName) -> Vec<(String, Bytes)> {
        let entry = self.manifest(1).changed[role].clone();
        let keys =
            [Key::Draft(entry.draft), Key::Metadata { role: role.clone(), version: entry.version }];
        let lost: Vec<_> =
            keys.iter().map(|key| (key.path(), self.memory.object(&key.path()).unwrap())).collect();
        for (path, _) in &lost {
            self.memory.tamper(path, None);
        }
        lost
    }
}

const NAMES: [&str; 3] = ["a", "b", "d"];

#[test]
fn of_those_that_wait_only_the_newest_is_signed() {
    let world = World::new(NAMES);
    assert!(world.sign());
    assert!(!world.has_snapshot(2), "nobody would see it");
    assert_eq!(world.signed(2), [World::leaf(NAMES[0])], "what both changed has a newer document");
    assert_eq!(world.signed(3).len(), 2);
    assert_eq!(world.show(), Shown::Now(3));
    assert_eq!(world.memory.queued(Queue::Sign), 0, "publish asks for nothing more");
}

#[test]
fn where_the_newest_can_t_be_signed_the_one_before_is_shown() {
    let world = World::new(NAMES);
    let lost = world.lose_published(&World::leaf(NAMES[1]));
    assert!(!world.sign(), "it says what failed");
    assert!(world.has_snapshot(2) && !world.has_snapshot(3));
    assert_eq!(world.show(), Shown::Now(2));
    for (path, bytes) in lost {
        world.memory.tamper(&path, Some(bytes));
    }
    assert!(world.sign());
    assert_eq!(world.show(), Shown::Now(3));
}

#[test]
fn what_rebuild_drafted_is_not_needed_and_not_read() {
    let world = World::new(NAMES);
    for generation in [1, 2, 3] {
        for entry in world.manifest(generation).changed.into_values() {
            world.memory.tamper(&Key::Draft(entry.draft).path(), None);
        }
    }
    assert!(world.sign(), "it makes them of what is published");
    assert_eq!(world.show(), Shown::Now(3));
}

/// Nobody can delete it, so it is counted and left out.
#[test]
fn a_decision_that_can_t_be_read_holds_up_nothing() {
    let world = World::new(NAMES);
    assert_eq!((world.sign(), world.show()), (true, Shown::Now(3)));
    take_changes(&world.memory);
    world.memory.tamper(&Key::Decision(1).path(), Some(Bytes::from_static(b"{\"format\":1}")));
    world.upload("e", BYTES);
    let mut changes = take_changes(&world.memory);
    changes.push(vec![Change::Decision]);
    let rebuilt = finish(stages::rebuild(&world.ports, &changes)).unwrap();
    assert_eq!((rebuilt.generation, rebuilt.failed.len()), (Some(4), 0));
    let manifest = world.manifest(4);
    assert_eq!((manifest.decisions, manifest.waived), (1, BTreeSet::from([1])));
    assert_eq!((world.sign(), world.show()), (true, Shown::Now(4)));
}

#[test]
fn where_the_newest_is_refused_the_one_before_is_shown() {
    let world = World::new(NAMES);
    world.upload("lost", "lost");
    assert!(
        finish(stages::rebuild(&world.ports, &take_changes(&world.memory)))
            .unwrap()
            .generation
            .is_some()
    );
    world.memory.lose_blob(&Sha256::of(b"lost"));
    assert!(world.sign());
    assert!(world.has_snapshot(4) && !world.has_snapshot(3));
    assert_eq!(world.show(), Shown::AlreadyNewest(Some(1)));
    assert!(world.memory.take(Queue::Sign, 0).is_some(), "publish asks for the one before");
    assert!(world.sign());
    assert!(world.has_snapshot(3));
    assert_eq!(world.show(), Shown::Now(3));
}

#[test]
fn sign_and_publish_end_though_nothing_can_be_signed() {
    let world = World::new(NAMES);
    world.lose_published(&World::leaf(NAMES[2]));
    while world.memory.take(Queue::Publish, 0).is_some() {}
    assert!(!world.sign());
    assert_eq!(
        world.memory.queued(Queue::Publish),
        0,
        "a call would be answered by one of publish"
    );
    assert_eq!(world.show(), Shown::AlreadyNewest(Some(1)));
    let body = world.memory.take(Queue::Sign, 0).unwrap().body;
    assert_eq!(Message::from_body(&body).unwrap(), Message::Sign);
}
