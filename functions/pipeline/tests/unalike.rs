//! A target that an older release listed before it knew what clients read differently. It hides
//! every target beside it, so it must leave, but it must hold up nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use tough::schema::decoded::Decoded;
use tough::schema::{self, Hashes, Metafile, Root, Signature, Targets, Timestamp};
use tufline_pipeline::Ports;
use tufline_pipeline::operations::init;
use tufline_pipeline::stages;
use tufline_pipeline::stages::Shown;
use tufline_pipeline::stages::Turn;
use tufline_pipeline::stages::hash;
use tufline_pipeline::stages::publish;
use tufline_pipeline::state::ledger;
use tufline_pipeline::state::roots;
use tufline_store::memory::{Calm, Memory, MemoryKeys};
use tufline_store::{Document, Event, Hint, Key, Message, OnlineRole, Queue, Written};
use tufline_tuf::generation::{
    DEEPEST_BIN, Edit, FirstBins, Folding, Others, Policy, SPEC_VERSION, TargetEdit, snapshot,
    target_of,
};
use tufline_tuf::time::after;
use tufline_tuf::{
    Config, Content, Draft, Index, Parties, RecordedPolicy, RoleDocument, RoleKeys, RoleName,
    Sha256, custom, verify_published,
};

use common::{finish, ports, take_changes};

const UNALIKE: &str = r#"{"a":1,"a b":2}"#;

struct World {
    memory: Arc<Memory>,
    ports: Ports,
    events: RefCell<Vec<Event>>,
}

impl World {
    /// Generation 1 is published. Generation 3, made by an older release and not signed, lists
    /// `old` with its custom metadata.
    fn new() -> Self {
        let keys = Arc::new(MemoryKeys::generate().unwrap());
        let memory = Arc::new(Memory::new(
            "2026-01-01T00:00:00Z".parse().unwrap(),
            keys.clone(),
            Box::new(Calm),
        ));
        let ports = ports(&memory, Config::default());
        finish(init::init(&ports, keys.root(), FirstBins::One)).unwrap();
        let world = Self { memory, ports, events: RefCell::default() };
        assert_eq!((world.sign(), world.show()), (true, Shown::Now(1)));
        world.upload("good");
        assert_eq!(world.rebuild(), Some(2));
        world.older_release_lists_old();
        assert_eq!(world.memory.queued(Queue::Uploads), 0);
        world
    }

    /// The same, after the older release published that generation.
    fn published() -> Self {
        let world = Self::new();
        world.older_release_shows(3);
        world
    }

    fn older_release_lists_old(&self) {
        self.memory.put_upload("old", Bytes::from("old"), Some(UNALIKE), true);
        let custom = serde_json::from_str(UNALIKE).unwrap();
        assert!(custom::check(&custom).is_err());
        let content = Content { sha256: Sha256::of(b"old"), length: 3, custom };
        let edit = TargetEdit {
            name: "old".parse().unwrap(),
            version: Some("v".into()),
            uploaded: None,
            edit: Edit::Set(content),
        };
        let base = finish(ledger::manifest(&*self.ports.store, 2)).unwrap();
        let (edits, nothing, others) = ([edit], BTreeSet::new(), Others::default());
        let config = &self.ports.config;
        let policy = Policy {
            recorded: RecordedPolicy::new(&config.expiry, config.max_targets_per_bin.get()),
            deepest_bin: DEEPEST_BIN,
            removals: None,
            now: base.created,
        };
        let index = Index::new(base.top.clone());
        let mut folding =
            Folding::new(&base, index, &edits, &nothing, base.bins_keys(), &others, policy)
                .unwrap();
        for (role, entry) in folding.wanted().unwrap() {
            let bytes = self.memory.object(&Key::Draft(entry.draft).path()).unwrap();
            for draft in folding.fold(&Draft::from_bytes(role, &bytes).unwrap()).unwrap() {
                assert_eq!(
                    finish(ledger::create_same(&*self.ports.store, &Document::draft(&draft)))
                        .unwrap(),
                    Written::Done
                );
            }
        }
        let next = folding.finish().unwrap().manifest;
        assert_eq!(
            finish(ledger::create_manifest(&*self.ports.store, &next)).unwrap(),
            Written::Done
        );
        // Store its bytes.
        self.memory.put_upload("copy", Bytes::from("old"), None, true);
        self.look("copy");
        let _ = take_changes(&self.memory);
    }

    /// Signs and shows a generation as a release did before the rule existed.
    fn older_release_shows(&self, generation: u64) {
        let store = &*self.ports.store;
        let root = finish(roots::newest(store)).unwrap();
        let manifest = finish(ledger::manifest(store, generation)).unwrap();
        let (role, entry) = (RoleName::targets(), &manifest.top.document);
        let targets = self.memory.object(&Key::Draft(entry.draft).path()).unwrap();
        let targets = Draft::<Targets>::from_bytes(role.clone(), &targets).unwrap();
        self.older_release_signs(
            &root,
            &targets,
            OnlineRole::Targets,
            &Key::Metadata { role: role.clone(), version: entry.version },
        );
        let snapshot =
            snapshot(&manifest, &[(role, entry.version)].into(), &Parties::default()).unwrap();
        let bytes = self.older_release_signs(
            &root,
            &snapshot,
            OnlineRole::Snapshot,
            &Key::snapshot(generation),
        );
        let published = finish(ledger::published(store)).unwrap().unwrap();
        let version = (published.version + 1).try_into().unwrap();
        let mut timestamp =
            Timestamp::new(SPEC_VERSION.into(), version, after(self.ports.clock.now(), 86_400));
        let hashes = Hashes {
            sha256: Decoded::from(Sha256::of(&bytes).as_bytes().to_vec()),
            _extra: HashMap::new(),
        };
        timestamp.meta.insert(
            "snapshot.json".into(),
            Metafile {
                length: Some(bytes.len() as u64),
                hashes: Some(hashes),
                version: generation.try_into().unwrap(),
                _extra: HashMap::new(),
            },
        );
        let timestamp = Draft::new(RoleName::timestamp(), timestamp);
        self.older_release_signs(&root, &timestamp, OnlineRole::Timestamp, &Key::Timestamp);
    }

    /// Signs the form that clients in Rust read, and stores it.
    fn older_release_signs<T: RoleDocument>(
        &self,
        root: &Root,
        draft: &Draft<T>,
        role: OnlineRole,
        place: &Key,
    ) -> Bytes {
        let keys = RoleKeys::in_root(root, draft.role()).unwrap();
        let key = finish(self.ports.signer.public_keys(role)).unwrap().remove(0);
        let sig =
            finish(self.ports.signer.sign(role, &key, &draft.document().canonical_form().unwrap()))
                .unwrap();
        let signatures =
            vec![Signature { keyid: keys.id_of(&key).unwrap().clone(), sig: sig.into() }];
        let signed = schema::Signed { signed: draft.document().clone(), signatures };
        let bytes = Bytes::from(tufline_tuf::json::to_vec(&signed).unwrap());
        verify_published::<T>(bytes.clone(), &keys).unwrap();
        self.memory.tamper(&place.path(), Some(bytes.clone()));
        bytes
    }

    fn upload(&self, name: &str) {
        self.memory.put_upload(name, Bytes::from(name.to_owned()), None, true);
        self.look(name);
    }

    fn look(&self, name: &str) {
        let hint = Hint { name: name.into(), removed: false, version: None };
        assert!(
            finish(hash(&self.ports, Turn::All, &[hint]))
                .into_iter()
                .all(|failure| failure.is_none())
        );
    }

    /// Hash handles the hints that rebuild sent.
    fn look_again(&self) {
        while let Some(message) = self.memory.take(Queue::Uploads, 0) {
            let Message::Uploads(hints) = Message::from_body(&message.body).unwrap() else {
                unreachable!()
            };
            for hint in &hints {
                self.look(&hint.name);
            }
        }
    }

    fn rebuild(&self) -> Option<u64> {
        finish(stages::rebuild(&self.ports, &take_changes(&self.memory))).unwrap().generation
    }

    fn sign(&self) -> bool {
        finish(stages::sign(&self.ports)).is_ok()
    }

    fn show(&self) -> Shown {
        finish(publish(&self.ports)).unwrap()
    }

    /// Whether devices in Rust, which can read the document, see this target.
    fn lists(&self, name: &str) -> bool {
        let store = &*self.ports.store;
        let published = finish(ledger::published(store)).unwrap().unwrap();
        let manifest = finish(ledger::manifest(store, published.generation)).unwrap();
        let draft = self.memory.object(&Key::Draft(manifest.top.document.draft).path()).unwrap();
        let draft = Draft::from_bytes(RoleName::targets(), &draft).unwrap();
        target_of(draft.document(), &name.parse().unwrap()).is_some()
    }

    fn told(&self, wanted: impl Fn(&Event) -> bool) -> bool {
        self.events.borrow_mut().extend(self.memory.take_events());
        self.events.borrow().iter().any(wanted)
    }

    fn rejection_is_told(&self) -> bool {
        self.told(|event| {
            matches!(event, Event::UploadRejected(rejected) if rejected.name == "old" && rejected.reason.contains("\"a b\""))
        })
    }
}

#[test]
fn what_waits_is_passed_over() {
    let world = World::new();
    let mut shown = Shown::AlreadyNewest(Some(1));
    for _ in 0..5 {
        assert!(world.sign(), "it holds up nothing");
        shown = world.show();
        if shown != Shown::AlreadyNewest(Some(1)) {
            break;
        }
        world.rebuild();
    }
    assert!(matches!(shown, Shown::Now(_)), "{shown:?}");
    assert!(world.lists("good") && !world.lists("old"));
    world.look("old");
    assert!(world.rejection_is_told());
}

#[test]
fn what_is_published_stays_fresh_and_leaves_with_the_next_change() {
    let world = World::published();
    assert!(world.lists("old"));
    // Half of the timestamp's life is over, and nothing else changes.
    world.memory.pass(13 * 3600);
    let before = finish(ledger::published(&*world.ports.store)).unwrap().unwrap();
    finish(stages::refresh(&world.ports)).unwrap();
    let after = finish(ledger::published(&*world.ports.store)).unwrap().unwrap();
    assert_eq!(
        (after.version, after.generation),
        (before.version + 1, 3),
        "the timestamp is renewed"
    );
    let _ = take_changes(&world.memory);
    world.upload("new");
    assert_eq!(world.rebuild(), Some(4));
    assert!(world.sign());
    assert_eq!(world.show(), Shown::Now(4));
    assert!(world.lists("good") && world.lists("new") && !world.lists("old"));
    let left = |event: &Event| matches!(event, Event::TargetsPublished { removed, .. } if removed.iter().any(|name| name.as_str() == "old"));
    assert!(world.told(left));
    world.look_again();
    assert!(world.rejection_is_told());
    assert_eq!(world.rebuild(), None, "that's all");
}
