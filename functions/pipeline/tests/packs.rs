//! A repository goes on publishing. Devices that are any number of generations behind update by
//! packs, which serve makes and the device client unpacks.
//!
//! *Properties*: after each update, a device that updates by packs has byte for byte the same files
//! as one that updates by names. It asks for nothing by name, except for roots that a pack has no
//! room for. Both sides have the same dictionary, whatever the device has. Damage on a device costs
//! the dictionary, and nothing else.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::EcdsaKeyPair;
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tough::sign::Sign;
use tufline_client::{Clock, FoundTarget, Limits, MemoryStorage, Need, Pack, Updater};
use tufline_pipeline::Ports;
use tufline_pipeline::operations::init;
use tufline_pipeline::operations::publish_root::{Concluded, Proposed, conclude, propose};
use tufline_pipeline::stages::{self, Turn, hash};
use tufline_pipeline::state::roots;
use tufline_serve::{Body, Packs, ServedRepository};
use tufline_store::Hint;
use tufline_store::memory::{Memory, MemoryKeys};
use tufline_tuf::generation::FirstBins;
use tufline_tuf::root::next;
use tufline_tuf::{Config, time};

use common::schedule::{rebuild_to_publish, sign_and_publish};
use common::{Faults, finish, key, ports, seeds};

const SEEDS: u64 = 10;
const STEPS: usize = 40;
const DAY: u64 = 86_400;

/// The content of a target. Some are small enough for a pack.
fn content(name: &str, revision: u32) -> Bytes {
    let repeated = if name.ends_with("large") { 2000 } else { 1 };
    format!("{name} {revision} ").repeat(repeated).into()
}

struct World {
    random: StdRng,
    memory: Arc<Memory>,
    ports: Ports,
    root_key: Arc<EcdsaKeyPair>,
    repository: ServedRepository,
    revision: u32,
}

/// Two equal devices: one updates by packs, the other by names.
#[derive(Clone)]
struct Twins {
    packs: MemoryStorage,
    names: MemoryStorage,
    wanted: Vec<String>,
}

/// The result of an update.
struct Update {
    found: Vec<Option<FoundTarget>>,
    /// The files that the device asked for by name.
    asked: Vec<String>,
}

impl World {
    fn new(seed: u64, memory_keys: &Arc<MemoryKeys>) -> Self {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let memory =
            Arc::new(Memory::new(now, Arc::clone(memory_keys), Faults::new(seed, 1).control()));
        let config = Config { max_targets_per_bin: 4.try_into().unwrap(), ..Config::default() };
        let ports = ports(&memory, config);
        let root_key = key();
        finish(init::init(&ports, &*root_key, FirstBins::One)).unwrap();
        sign_and_publish(&ports);
        let repository = ServedRepository {
            store: ports.store.clone(),
            blobs: ports.blobs.clone(),
            chunks: memory.clone(),
            redirects: None,
            packs: Some(Arc::new(Packs::new(5))),
            pauses: Vec::new(),
        };
        Self {
            random: StdRng::seed_from_u64(seed),
            memory,
            ports,
            root_key,
            repository,
            revision: 0,
        }
    }

    fn names(&mut self, count: usize) -> Vec<String> {
        let name = |number: u32| {
            format!(
                "p{}/{number}{}",
                number % 3,
                if number.is_multiple_of(4) { ".large" } else { "" }
            )
        };
        (0..count).map(|_| name(self.random.random_range(0..40))).collect()
    }

    /// Publishes a root, a new timestamp or some targets.
    fn lives(&mut self) {
        match self.random.random_range(0..8) {
            0 => self.publish_root(),
            1 => {
                self.memory.pass(self.random.random_range(1..DAY));
                finish(stages::refresh(&self.ports)).unwrap();
            }
            _ => {
                let count = self.random.random_range(1..4);
                for name in self.names(count) {
                    self.upload(&name);
                }
            }
        }
        rebuild_to_publish(&self.ports, &self.memory);
    }

    fn upload(&mut self, name: &str) {
        self.revision += 1;
        let version = self.memory.put_upload(name, content(name, self.revision), None, true);
        let hint = Hint { name: name.to_owned(), removed: false, version: Some(version) };
        finish(hash(&self.ports, Turn::All, &[hint]));
    }

    fn publish_root(&mut self) {
        let chain = finish(roots::chain(&*self.ports.store)).unwrap().unwrap();
        let newest = chain.newest();
        let mut file = next(newest, time::after(self.ports.clock.now(), 365 * DAY)).unwrap();
        let signature =
            EcdsaKeyPair::sign(&self.root_key, &SystemRandom::new(), &file.message().unwrap())
                .unwrap();
        file.add_signature(&self.root_key.tuf_key(), signature.as_ref(), Some(newest)).unwrap();
        let attempt = self.revision.to_string();
        let proposed =
            finish(propose(&*self.ports.store, &*self.ports.clock, &file, attempt)).unwrap();
        let Proposed::Now(proposal) = proposed else { return };
        while finish(conclude(&*self.ports.store, &*self.ports.clock, &proposal)).unwrap()
            == Concluded::Waiting
        {
            self.memory.pass(60);
            finish(stages::refresh(&self.ports)).unwrap();
        }
    }

    fn served(&self, path: &str) -> Option<Bytes> {
        let answer =
            finish(self.repository.answer(&http::Method::GET, path, &http::HeaderMap::new()));
        let Body::Whole(bytes) = answer.body else { return None };
        answer.status.is_success().then_some(bytes)
    }

    /// The pack for a device, with the status and the body of serve's answer.
    fn pack(
        &self,
        storage: &mut MemoryStorage,
        names: &[&str],
        small: &[&str],
    ) -> (Pack, u16, Bytes) {
        let mut updater = Updater::open(storage, self.clock(), Limits::default()).unwrap();
        let question = updater.pack_question(names, small).unwrap();
        let answer = finish(self.repository.pack(&http::Method::GET, &question.query()));
        let Body::Whole(bytes) = answer.body else { panic!("a pack is whole") };
        let pack = match answer.status.as_u16() {
            204 => question.nothing_new(),
            200 => question.unpack(&bytes).unwrap(),
            status => panic!("{status}"),
        };
        (pack, answer.status.as_u16(), bytes)
    }

    fn clock(&self) -> Clock {
        Clock { now: self.ports.clock.now(), floor: None }
    }

    fn update(&self, storage: &mut MemoryStorage, mut pack: Pack, names: &[String]) -> Update {
        let mut updater = Updater::open(storage, self.clock(), Limits::default()).unwrap();
        let mut asked = Vec::new();
        let mut answer = |path: &str| {
            if let Some(packed) = pack.take(path) {
                return packed;
            }
            asked.push(path.to_owned());
            let bytes = self.served(&format!("/metadata/{path}"));
            bytes.map_or(tufline_client::Packed::Missing, |bytes| {
                tufline_client::Packed::Bytes(bytes.into())
            })
        };
        while let Need::File(needed) = updater.need().unwrap() {
            updater.give(answer(&needed.path).answer()).unwrap();
        }
        let mut found = Vec::new();
        for name in names {
            let mut search = updater.search(name).unwrap();
            while let Need::File(needed) = search.need().unwrap() {
                search.give(answer(&needed.path).answer()).unwrap();
            }
            found.push(search.found());
        }
        Update { found, asked }
    }

    fn new_twins(&mut self) -> Twins {
        let mut storage = MemoryStorage::default();
        tufline_client::begin_with(&mut storage, &self.served("/metadata/1.root.json").unwrap())
            .unwrap();
        let count = self.random.random_range(0..4);
        Twins { packs: storage.clone(), names: storage, wanted: self.names(count) }
    }

    /// Updates both twins, one of them by a pack. Returns whether the pack used a dictionary, or
    /// was not needed.
    fn updates(&self, twins: &mut Twins) -> bool {
        let names: Vec<&str> = twins.wanted.iter().map(String::as_str).collect();
        let small = names.get(..names.len().min(2)).unwrap();
        let before = twins.packs.clone();
        let (pack, status, bytes) = self.pack(&mut twins.packs, &names, small);
        assert_eq!(before, twins.packs, "a question changes nothing");
        let by_names = self.update(&mut twins.names, Pack::default(), &twins.wanted);
        let by_pack = self.update(&mut twins.packs, pack.clone(), &twins.wanted);
        assert_eq!(by_pack.found, by_names.found);
        assert_eq!(twins.packs, twins.names);
        assert!(by_pack.asked.is_empty(), "asked by name: {:?}", by_pack.asked);
        let came = |found: &FoundTarget| {
            let is_small = small.contains(&found.name.as_str()) && found.target.length <= 16 << 10;
            let packed = pack.target(&found.path);
            assert!(packed.is_none() || is_small);
            packed.is_none_or(|packed| {
                let mut hasher = found.target.hasher();
                hasher.update(packed);
                packed.len() as u64 == found.target.length && hasher.check().is_ok()
            })
        };
        assert!(by_pack.found.iter().flatten().all(came));
        // Now nothing is new.
        let (_, again, _) = self.pack(&mut twins.packs, &names, small);
        assert_eq!(again, 204);
        status == 204 || says_dictionary(&bytes)
    }
}

/// Whether the frame's header names a dictionary (RFC 8878, section 3.1.1.1.1.6).
fn says_dictionary(frame: &[u8]) -> bool {
    assert_eq!(frame.get(..4), Some(&[0x28, 0xb5, 0x2f, 0xfd][..]));
    frame[4] & 3 != 0
}

#[test]
fn packs_lead_where_names_lead() {
    let memory_keys = Arc::new(MemoryKeys::generate().unwrap());
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for seed in seeds(SEEDS) {
        let mut world = World::new(seed, &memory_keys);
        let mut devices = vec![world.new_twins()];
        for _ in 0..STEPS {
            world.lives();
            if world.random.random_bool(0.2) {
                let twins = world.new_twins();
                devices.push(twins);
            }
            let which = world.random.random_range(0..devices.len());
            let mut twins = devices[which].clone();
            let is_known = world.updates(&mut twins);
            assert!(is_known, "seed {seed}: the same files make the same dictionary");
            *seen.entry("updates").or_default() += 1;
            // A device with damaged files gets all of them again, and trusts none of them more for
            // that.
            if world.random.random_bool(0.2) {
                let mut damaged = twins.clone();
                let names: Vec<String> =
                    damaged.packs.0.keys().filter(|name| *name != "root.json").cloned().collect();
                let name = &names[world.random.random_range(0..names.len())];
                let bytes = damaged.packs.0.get_mut(name).unwrap();
                let place = world.random.random_range(0..bytes.len());
                bytes[place] ^= 1;
                damaged.names = damaged.packs.clone();
                world.lives();
                damages(&world, &mut damaged);
                *seen.entry("damaged").or_default() += 1;
            }
            devices[which] = twins;
        }
    }
    assert!(seen.values().all(|count| *count > 10), "{seen:?}");
}

/// Checks that both twins repair the damage in the same way.
fn damages(world: &World, twins: &mut Twins) {
    let names: Vec<&str> = twins.wanted.iter().map(String::as_str).collect();
    let (pack, _, _) = world.pack(&mut twins.packs, &names, &[]);
    let by_names = world.update(&mut twins.names, Pack::default(), &twins.wanted);
    let by_pack = world.update(&mut twins.packs, pack, &twins.wanted);
    assert_eq!(by_pack.found, by_names.found);
    assert_eq!(twins.packs, twins.names);
}

#[test]
fn a_device_without_the_dictionary_gets_everything() {
    let memory_keys = Arc::new(MemoryKeys::generate().unwrap());
    let mut world = World::new(7, &memory_keys);
    world.upload("a/b");
    rebuild_to_publish(&world.ports, &world.memory);
    let ask = |query: &str| {
        let answer = finish(world.repository.pack(&http::Method::GET, query));
        let Body::Whole(bytes) = answer.body else { panic!("a pack is whole") };
        (
            answer.status.as_u16(),
            answer.headers["cache-control"].to_str().unwrap().to_owned(),
            bytes,
        )
    };
    // Versions that do not exist, and versions ahead of the repository's.
    for have in [
        "",
        "1.root",
        "1.root,1.timestamp,1.snapshot,99.targets",
        "7.root,1.snapshot,1.bin-0",
        "1.root,1.nobody",
    ] {
        let (status, age, bytes) =
            ask(&format!("have={have}&dict=0123456789abcdef&roles=ffffffff"));
        assert_eq!((status, age.as_str()), (200, "public, max-age=5"), "{have}");
        assert!(!says_dictionary(&bytes), "{have}");
    }
    // A device that has seen a newer timestamp than this server.
    assert_eq!(ask("have=1.root,99.timestamp").0, 204);
    assert_eq!(ask("have=1.root,99.timestamp").1, "no-store");
    assert_eq!(ask("have=root").0, 400);
    let answer = finish(world.repository.pack(&http::Method::POST, ""));
    assert_eq!(answer.status.as_u16(), 405);
    let none = ServedRepository { packs: None, ..world.repository.clone() };
    assert_eq!(finish(none.pack(&http::Method::GET, "")).status.as_u16(), 404);
    let private =
        ServedRepository { packs: Some(Arc::new(Packs::new(0))), ..world.repository.clone() };
    assert_eq!(finish(private.pack(&http::Method::GET, "")).headers["cache-control"], "no-store");
}
