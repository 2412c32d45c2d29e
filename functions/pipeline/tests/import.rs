//! An import, with a fault at each of its requests in turn. The fault is a failure (to the next
//! run, a crash is the same), a lost reply, or a lost reply after which the SDK tries again.
//!
//! *Property*: devices see nothing or everything; the next run finishes the import; nothing is
//! written twice; and then the published targets are what the uploads are.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use bytes::Bytes;
use tough::schema::{RoleType, Root, Signature, Targets};
use tough::sign::Sign;
use tufline_pipeline::Ports;
use tufline_pipeline::StageError;
use tufline_pipeline::operations::import::Old;
use tufline_pipeline::operations::import::fit;
use tufline_pipeline::operations::import::import;
use tufline_pipeline::operations::init;
use tufline_pipeline::operations::init::online_keys;
use tufline_pipeline::stages;
use tufline_pipeline::state::ledger;
use tufline_store::memory::{Control, Fate, Memory, MemoryKeys, Request};
use tufline_store::{Change, Document, Key, VerifiedRoots};
use tufline_tuf::generation::{FirstBins, UsedUp};
use tufline_tuf::root::{self, OnlineKeys, PinnedRoot, RootFile, RootKey, add_key, own_keys};
use tufline_tuf::{Config, Content, Custom, Draft, RoleName, Sha256, TargetName, Time};

use common::{finish, ports};

/// The planned fault, and how many requests come before it.
struct Planned {
    fate: Fate,
    left: AtomicUsize,
}

struct Shared(Arc<Planned>);

impl Control for Shared {
    fn fate(&self, request: &Request<'_>) -> Fate {
        let counts = request.writes || self.0.fate == Fate::Failed;
        let before =
            |left: usize| Some(left.wrapping_sub(usize::from(counts && left < usize::MAX)));
        match self.0.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, before) {
            Ok(0) if counts => self.0.fate,
            _ => Fate::Done,
        }
    }
}

fn start() -> Time {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn key() -> EcdsaKeyPair {
    EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap()
}

fn sign(key: &EcdsaKeyPair, message: &[u8]) -> Vec<u8> {
    EcdsaKeyPair::sign(key, &SystemRandom::new(), message).unwrap().as_ref().to_vec()
}

fn bytes(number: usize) -> Bytes {
    format!("content {number}").into()
}

/// Another repository. The root with version `first` is the one that can be verified.
struct Others {
    holder: EcdsaKeyPair,
    old: Old,
    root: Root,
}

impl Others {
    fn new(first: u64) -> Self {
        let holder = key();
        let online = OnlineKeys {
            targets: key().tuf_key(),
            snapshot: key().tuf_key(),
            timestamp: key().tuf_key(),
        };
        let draft =
            root::first(holder.tuf_key(), online, start() + jiff::SignedDuration::from_hours(2400))
                .unwrap();
        let root = Root { version: first.try_into().unwrap(), ..draft.document().clone() };
        let draft = Draft::new(RoleName::root(), root.clone());
        let keyid = holder.tuf_key().key_id().unwrap();
        let signature = Signature { keyid, sig: sign(&holder, &draft.message().unwrap()).into() };
        let signed = draft.sign(vec![signature], &own_keys(&root).unwrap()).unwrap();
        let content = |number: usize| {
            let (bytes, mut custom) = (bytes(number), Custom::new());
            if number.is_multiple_of(2) {
                custom.insert("number".into(), number.into());
            }
            Content { sha256: Sha256::of(&bytes), length: bytes.len() as u64, custom }
        };
        let targets: BTreeMap<TargetName, Content> = (0..6)
            .map(|number| (format!("a/{number}").parse().unwrap(), content(number)))
            .collect();
        let used_up = UsedUp { timestamp: 40, snapshot: 30, targets: 20 };
        let before = (1..first)
            .map(|version| (version, format!("version {version}, of old").into()))
            .collect();
        Self {
            holder,
            old: Old { roots: vec![signed.bytes().clone()], before, used_up, targets },
            root,
        }
    }

    fn first(&self) -> PinnedRoot {
        self.old.first().unwrap()
    }

    /// The next root, signed.
    fn next(&self, ports: &Ports) -> RootFile {
        let online = finish(online_keys(&*ports.signer)).unwrap();
        self.signed(
            self.old.next_root(online, ports.clock.now(), &ports.config.expiry.root).unwrap(),
        )
    }

    fn signed(&self, mut file: RootFile) -> RootFile {
        let signature = sign(&self.holder, &file.message().unwrap());
        file.add_signature(&self.holder.tuf_key(), &signature, Some(&self.root)).unwrap();
        file
    }
}

struct World {
    memory: Arc<Memory>,
    ports: Ports,
    planned: Arc<Planned>,
}

impl World {
    fn new(keys: &Arc<MemoryKeys>, others: &Others, fate: Fate) -> Self {
        let planned = Arc::new(Planned { fate, left: AtomicUsize::new(usize::MAX) });
        let memory = Arc::new(Memory::new(
            start(),
            Arc::clone(keys),
            Box::new(Shared(Arc::clone(&planned))),
        ));
        for (number, (name, content)) in others.old.targets.iter().enumerate() {
            let custom = (!content.custom.is_empty())
                .then(|| serde_json::to_string(&content.custom).unwrap());
            memory.put_upload(name.as_str(), bytes(number), custom.as_deref(), false);
        }
        let config = Config { max_targets_per_bin: 4.try_into().unwrap(), ..Config::default() };
        let mut ports = ports(&memory, config);
        let first = others.first();
        if first.version > 1 {
            ports.store = Arc::new(VerifiedRoots::new(Arc::clone(&memory) as _, Some(first)));
        }
        Self { memory, ports, planned }
    }

    fn import(&self, others: &Others, next: &RootFile) -> Result<u64, StageError> {
        finish(async {
            let fit = fit(&self.ports, &others.old, next).await?;
            import(&self.ports, &others.old, &fit).await
        })
    }

    /// Checks what devices see, which must be nothing or all targets. Returns whether they see
    /// them.
    fn look(&self, others: &Others) -> bool {
        let Some(published) = finish(ledger::published(&*self.ports.store)).unwrap() else {
            return false;
        };
        assert_eq!((published.generation, published.version), (31, 41));
        let newest = finish(tufline_pipeline::state::roots::newest(&*self.ports.store)).unwrap();
        let first = others.first().version;
        assert_eq!(newest.version.get(), first + 1);
        for (version, bytes) in (1..).zip(others.old.before.values().chain(&others.old.roots)) {
            assert_eq!(
                self.memory.object(&Key::root(version).path()).as_ref(),
                Some(bytes),
                "version {version} of the root"
            );
        }
        let versions =
            finish(ledger::published_versions(&*self.ports.store, &newest, Some(&published)))
                .unwrap();
        assert_eq!(versions.len(), 17, "there are bins");
        let mut listed = 0;
        for (role, version) in versions {
            assert!(version > 20);
            let bytes = self
                .memory
                .object(&Key::Metadata { role, version }.path())
                .expect("what the snapshot lists");
            let document: tough::schema::Signed<Targets> = serde_json::from_slice(&bytes).unwrap();
            listed += document.signed.targets.len();
        }
        assert_eq!(listed, others.old.targets.len());
        true
    }

    /// Checks that the uploads are what is published: looking at all of them changes no document.
    fn agrees(&self, others: &Others) {
        assert!(finish(stages::reconcile(&self.ports)).unwrap() >= others.old.targets.len());
        let changes: Vec<Change> = self
            .memory
            .current_uploads()
            .into_iter()
            .filter_map(|(name, upload)| {
                Some(Change::Set { name: name.parse().unwrap(), version: upload?.version? })
            })
            .collect();
        assert_eq!(changes.len(), others.old.targets.len());
        let generation =
            finish(stages::rebuild(&self.ports, &[changes])).unwrap().generation.unwrap();
        let manifest = finish(ledger::manifest(&*self.ports.store, generation)).unwrap();
        assert!(manifest.is_fence(), "nothing changes");
        assert_eq!(manifest.changes.len(), others.old.targets.len(), "all are answered");
    }
}

#[test]
fn a_fault_at_any_request_leaves_what_the_next_run_goes_on_from() {
    let keys = Arc::new(MemoryKeys::generate().unwrap());
    for (fate, first) in
        [(Fate::Failed, 1), (Fate::Failed, 4), (Fate::ReplyLost, 4), (Fate::Retried, 1)]
    {
        let others = Others::new(first);
        let (mut failed, mut shown) = (0, 0);
        for fault in 0.. {
            let world = World::new(&keys, &others, fate);
            let next = others.next(&world.ports);
            world.planned.left.store(fault, Ordering::Relaxed);
            let first = world.import(&others, &next);
            let left = world.planned.left.swap(usize::MAX, Ordering::Relaxed);
            let seen = world.look(&others);
            failed += usize::from(first.is_err());
            shown += usize::from(first.is_err() && seen);
            assert!(first.is_err() || seen);
            // At another time, so that any document drafted again differs.
            world.memory.pass(1000);
            assert_eq!(world.import(&others, &next).unwrap(), 31);
            assert!(world.look(&others));
            world.agrees(&others);
            for (path, contents) in world.memory.history() {
                let pointer =
                    ["metadata/timestamp.json", "announced.json"].contains(&path.as_str());
                assert!(
                    pointer || contents.iter().all(|content| *content == contents[0]),
                    "{path} was written twice"
                );
            }
            if (1..1_000_000).contains(&left) {
                // There were fewer requests than that.
                assert!(fault > 50);
                break;
            }
        }
        assert!(failed > 50 || fate == Fate::Retried, "{failed}");
        assert!(shown <= 10, "after the timestamp only events and messages are left");
    }
}

#[test]
fn an_upload_that_is_not_the_listed_target_is_refused() {
    let (keys, others) = (Arc::new(MemoryKeys::generate().unwrap()), Others::new(1));
    let refused = |world: &World, why: &str| {
        let error = world.import(&others, &others.next(&world.ports)).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
        assert!(!world.look(&others));
        assert!(world.memory.object(&Key::root(1).path()).is_none(), "nothing was published");
    };
    let world = World::new(&keys, &others, Fate::Done);
    world.memory.put_upload("a/3", "other".into(), None, true);
    refused(&world, "a/3 is not the target of that name");
    let world = World::new(&keys, &others, Fate::Done);
    world.memory.put_upload("a/2", bytes(2), None, true);
    refused(&world, "a/2 is not the target of that name");
    let world = World::new(&keys, &others, Fate::Done);
    world.memory.remove_upload("a/3");
    refused(&world, "a/3 is not the target of that name");
    // Another root of the first version exists.
    let world = World::new(&keys, &others, Fate::Done);
    world.memory.tamper(&Key::root(1).path(), Some("{}".into()));
    let error = world.import(&others, &others.next(&world.ports)).unwrap_err().to_string();
    assert!(error.contains("metadata/1.root.json is there already"), "{error}");
}

/// Devices would still believe what an old key signs for a role that is handed over, and would miss
/// the roles that they saw under it.
#[test]
fn the_next_root_trusts_no_other_online_key() {
    let (keys, others) = (Arc::new(MemoryKeys::generate().unwrap()), Others::new(1));
    let world = World::new(&keys, &others, Fate::Done);
    for role in [RoleType::Targets, RoleType::Snapshot, RoleType::Timestamp] {
        let old = others.root.roles[&role].keyids[0].clone();
        let key = RootKey { key: others.root.keys[&old].clone(), holder: None };
        let next = others.signed(add_key(&others.next(&world.ports), role, key).unwrap());
        let error = world.import(&others, &next).unwrap_err().to_string();
        assert!(error.contains(&format!("{role} key alone")), "{error}");
        assert!(!world.look(&others));
    }
}

#[test]
fn nobody_stops_an_import_by_what_lies_before_its_first_root() {
    let (keys, others) = (Arc::new(MemoryKeys::generate().unwrap()), Others::new(4));
    let world = World::new(&keys, &others, Fate::Done);
    world.memory.tamper(&Key::root(3).path(), Some("{}".into()));
    let next = others.next(&world.ports);
    assert_eq!(world.import(&others, &next).unwrap(), 31);
    assert_eq!(
        world.memory.object(&Key::root(3).path()),
        Some("{}".into()),
        "what lies there stays"
    );
    let newest = finish(tufline_pipeline::state::roots::newest(&*world.ports.store)).unwrap();
    assert_eq!(newest.version.get(), 5);
    // A run that takes the repository for a new one makes no second first generation.
    finish(init::first_generation(&world.ports, FirstBins::One)).unwrap();
    assert_eq!(finish(ledger::first_generation(&*world.ports.store)).unwrap(), Some(31));
    // The place of the first root itself is another matter.
    let world = World::new(&keys, &others, Fate::Done);
    world.memory.tamper(&Key::root(4).path(), Some("{}".into()));
    let error = world.import(&others, &next).unwrap_err().to_string();
    assert!(error.contains("metadata/4.root.json is there already"), "{error}");
    assert!(!world.look(&others));
}

#[test]
fn a_place_that_would_begin_with_another_root_is_refused() {
    let (one, four) = (Others::new(1), Others::new(4));
    let (first, fourth) = (one.first(), four.first());
    for (others, pinned, good) in [
        (&one, None, true),
        (&one, Some(first), true),
        (&one, Some(fourth), false),
        (&four, None, false),
        (&four, Some(fourth), true),
        (&four, Some(PinnedRoot { version: 3, ..fourth }), false),
        (&four, Some(PinnedRoot { version: 4, ..first }), false),
    ] {
        let refused =
            others.old.expect_first(pinned, |first| format!("deploy with -c trustedRoot={first}"));
        assert_eq!(refused.is_ok(), good, "{pinned:?}");
        if let Err(error) = refused {
            let (error, first) = (error.to_string(), others.first());
            assert!(
                error.ends_with(&format!("deploy with -c trustedRoot={first}"))
                    && !error.contains('\n'),
                "{error}"
            );
        }
    }
    // A root that is stored as an older one must come before the first root.
    for (version, is_before) in [(3, true), (4, false), (5, false)] {
        assert_eq!(Document::before(fourth, version, "x".into()).is_some(), is_before);
    }
}
