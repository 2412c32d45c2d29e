//! Other parties deliver good and bad documents while operators change the delegations, and
//! everything else goes on. One seeded scheduler runs them all, with requests that fail, replies
//! that get lost, and runs that are killed.
//!
//! *Property*: after every step, everything that is published verifies as a client verifies it, and
//! nothing of it is expired. No role disappears or goes back. A party lists only its own names,
//! with bytes that are stored, and nobody else has a name that a client looks for in a party's
//! role. In the end, each party that delivers a good document sees it published.
//!
//! `TUFLINE_SEEDS=10000` tries more schedules; `TUFLINE_SEED=7` replays one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::EcdsaKeyPair;
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tough::schema::decoded::Decoded;
use tough::schema::{
    self, DelegatedRole, Hashes, PathSet, Role, Root, Signature, Snapshot, Target, Targets,
    Timestamp,
};
use tough::sign::Sign;
use tufline_pipeline::Ports;
use tufline_pipeline::operations::delegation;
use tufline_pipeline::operations::init;
use tufline_pipeline::stages;
use tufline_pipeline::stages::Turn;
use tufline_pipeline::stages::hash;
use tufline_pipeline::state::parties::read_parties;
use tufline_pipeline::state::pending::Tip;
use tufline_store::memory::{Memory, MemoryKeys};
use tufline_store::{Change, Hint, Key, Message};
use tufline_tuf::delegations::{PartyEdit, PartyState};
use tufline_tuf::generation::{FirstBins, SPEC_VERSION};
use tufline_tuf::root::{self, key_id};
use tufline_tuf::{Config, Pattern, RoleKeys, RoleName, Sha256, Time, time, verify};

use common::schedule::{
    Schedule, Task, publishing, rebuild_to_publish, rebuilding, refreshing, sign_and_publish,
    signing,
};
use common::{Faults, finish, key, ports, seeds};

const SEEDS: u64 = 20;
const STEPS: usize = 1500;
const PARTIES: [&str; 2] = ["vendor", "maker"];

struct World {
    random: StdRng,
    memory: Arc<Memory>,
    deliveries: Arc<Memory>,
    ports: Ports,
    faults: Arc<Faults>,
    tasks: Vec<Task>,
    /// Two keys of each party.
    keys: BTreeMap<&'static str, [Arc<EcdsaKeyPair>; 2]>,
    versions: BTreeMap<&'static str, u64>,
    seen: Option<Bytes>,
    /// The repository's own targets, as devices see them.
    own: Vec<String>,
    /// The version of each role that a snapshot has ever listed.
    listed: BTreeMap<String, u64>,
}

/// The content of a document that a party makes.
struct Document {
    version: u64,
    expires: Time,
    names: Vec<String>,
}

impl Schedule for World {
    const BEGINNINGS: u32 = 20;
    const MOST_REQUESTS: usize = 12;

    fn parts(&mut self) -> (&mut StdRng, &mut Vec<Task>) {
        (&mut self.random, &mut self.tasks)
    }

    fn any_run(&mut self) -> Task {
        match self.random.random_range(0..14) {
            0..3 => refreshing(&self.ports),
            3 | 4 => publishing(&self.ports),
            5 | 6 => signing(&self.ports),
            7..9 => rebuilding(&self.ports, &self.memory),
            9 => self.operate(),
            10 | 11 => self.deliver(),
            _ => self.upload(),
        }
    }

    fn happens(&mut self, step: u32) -> bool {
        if step < 6 {
            self.memory.pass(self.random.random_range(1..600));
        }
        step < 6
    }

    /// A client (TUF specification 5.3 to 5.6) that looks at every role.
    fn look(&mut self) {
        let bytes = self.memory.object(&Key::Timestamp.path()).unwrap();
        if self.seen.as_ref() == Some(&bytes) {
            return;
        }
        self.seen = Some(bytes.clone());
        let get = |key: &Key| {
            self.memory.object(&key.path()).unwrap_or_else(|| panic!("{key} is missing"))
        };
        let root: Root = root::read(&get(&Key::root(1)), 1).unwrap().document().clone();
        let keys = |role: RoleName| RoleKeys::in_root(&root, &role).unwrap();
        let timestamp = verify::<Timestamp>(bytes, &keys(RoleName::timestamp())).unwrap();
        let generation = timestamp.document().meta["snapshot.json"].version.get();
        let snapshot =
            verify::<Snapshot>(get(&Key::snapshot(generation)), &keys(RoleName::snapshot()))
                .unwrap();
        let meta = &snapshot.document().meta;
        for (role, version) in &mut self.listed {
            let now = meta.get(role).unwrap_or_else(|| panic!("{role} disappeared")).version.get();
            assert!(now >= *version, "{role} went back");
        }
        self.listed = meta.iter().map(|(role, meta)| (role.clone(), meta.version.get())).collect();

        let file = |role: &RoleName| {
            let meta = &meta[&format!("{role}.json")];
            let bytes = get(&Key::Metadata { role: role.clone(), version: meta.version.get() });
            if let Some(hashes) = &meta.hashes {
                assert_eq!(
                    hashes.sha256.to_vec(),
                    Sha256::of(&bytes).as_bytes().to_vec(),
                    "{role}"
                );
                assert_eq!(meta.length, Some(bytes.len() as u64), "{role}");
            }
            bytes
        };
        let now = self.ports.clock.now();
        let top =
            verify::<Targets>(file(&RoleName::targets()), &keys(RoleName::targets())).unwrap();
        let mut own: Vec<String> = names(top.document());
        let mut theirs: Vec<Pattern> = Vec::new();
        let mut todo: Vec<(DelegatedRole, schema::Delegations)> = entries(top.document());
        while let Some((entry, delegations)) = todo.pop() {
            assert!(entry.terminating);
            let role: RoleName = entry.name.parse().unwrap();
            let keys = RoleKeys::in_delegations(&delegations, &role).unwrap();
            let signed = verify::<Targets>(file(&role), &keys).unwrap().expect_fresh(now).unwrap();
            todo.extend(entries(signed.document()));
            let PathSet::Paths(paths) = &entry.paths else {
                own.extend(names(signed.document()));
                continue;
            };
            let paths: Vec<Pattern> =
                paths.iter().map(|path| path.value().parse().unwrap()).collect();
            for (name, target) in &signed.document().targets {
                assert!(
                    paths.iter().any(|path| path.allows(name.raw())),
                    "{role} lists {}",
                    name.raw()
                );
                let sha256 = Sha256::from_bytes(target.hashes.sha256.to_vec().try_into().unwrap());
                assert_eq!(
                    self.memory.blob(&sha256).map(|blob| blob.len() as u64),
                    Some(target.length)
                );
            }
            theirs.extend(paths);
        }
        if let Some(name) = own.iter().find(|name| theirs.iter().any(|path| path.reserves(name))) {
            panic!("{name} is another party's");
        }
        self.own = own;
    }
}

impl World {
    fn new(seed: u64, memory_keys: &Arc<MemoryKeys>) -> Self {
        let faults = Faults::new(!seed, 5);
        let start: Time = "2026-01-01T00:00:00Z".parse().unwrap();
        let memory = Arc::new(Memory::new(start, Arc::clone(memory_keys), faults.control()));
        let deliveries =
            Arc::new(Memory::new(start, Arc::clone(memory_keys), Faults::new(0, 5).control()));
        let config = Config { nested_delegations: true, ..Config::default() };
        let ports = Ports { deliveries: Arc::clone(&deliveries) as _, ..ports(&memory, config) };
        let root_key = key();
        finish(init::init(&ports, &*root_key, FirstBins::One)).unwrap();
        sign_and_publish(&ports);
        let keys = PARTIES.into_iter().map(|party| (party, [key(), key()])).collect();
        let versions = PARTIES.into_iter().map(|party| (party, 0)).collect();
        let random = StdRng::seed_from_u64(seed);
        let (tasks, own, listed) = (Vec::new(), Vec::new(), BTreeMap::new());
        Self {
            random,
            memory,
            deliveries,
            ports,
            faults,
            tasks,
            keys,
            versions,
            seen: None,
            own,
            listed,
        }
    }

    fn party(&mut self) -> &'static str {
        PARTIES[self.random.random_range(0..PARTIES.len())]
    }

    /// An operator makes any change.
    fn operate(&mut self) -> Task {
        let party = self.party();
        let keys = self.keys[party].each_ref().map(|key| key.tuf_key());
        let threshold = self.random.random_bool(0.3).then_some(2);
        let edit = match self.random.random_range(0..8) {
            0..4 => create(party, keys[..self.random.random_range(1..=2)].to_vec()),
            4 => PartyEdit::AddKey { key: keys[1].clone(), threshold },
            5 => PartyEdit::RemoveKey {
                id: hex::encode(key_id(&keys[1]).unwrap()),
                threshold: Some(1),
            },
            6 => PartyEdit::RemoveKey {
                id: hex::encode(key_id(&keys[0]).unwrap()),
                threshold: Some(1),
            },
            _ => PartyEdit::Remove { release: self.random.random_bool(0.5) },
        };
        let ports = self.ports.clone();
        Box::pin(async move { _ = change(&ports, party, &edit).await })
    }

    /// A party delivers a document, which may be bad.
    fn deliver(&mut self) -> Task {
        let party = self.party();
        let bad = self.random.random_bool(0.3);
        let newest = self.versions[party];
        let version = if bad { self.random.random_range(1..newest + 3) } else { newest + 1 };
        let minutes = if bad {
            self.random.random_range(30..240)
        } else {
            60 * self.random.random_range(2..200)
        };
        let count = self.random.random_range(0..4);
        let mut names: Vec<String> =
            (0..count).map(|_| format!("{party}/{}", self.random.random_range(0..5))).collect();
        if bad && self.random.random_bool(0.3) {
            names.push(["own/1", "vendor/a/b", "maker/9"][self.random.random_range(0..3)].into());
        }
        let document =
            Document { version, expires: time::after(self.ports.clock.now(), minutes * 60), names };
        let signers = if bad { self.random.random_range(0..3) } else { 2 };
        let bytes = self.sign(party, document, signers);
        self.put(party, bytes)
    }

    fn sign(&mut self, party: &'static str, document: Document, signers: usize) -> Bytes {
        let mut targets = Targets::new(
            SPEC_VERSION.into(),
            NonZeroU64::new(document.version).unwrap(),
            document.expires,
        );
        for name in document.names {
            let bytes = content(&name);
            let hashes = Hashes {
                sha256: Decoded::from(Sha256::of(&bytes).as_bytes().to_vec()),
                _extra: [].into(),
            };
            let target =
                Target { length: bytes.len() as u64, hashes, custom: [].into(), _extra: [].into() };
            targets.targets.insert(tough::TargetName::new(name).unwrap(), target);
        }
        let message = targets.canonical_form().unwrap();
        let sign = |key: &Arc<EcdsaKeyPair>| {
            let sig =
                EcdsaKeyPair::sign(key, &SystemRandom::new(), &message).unwrap().as_ref().to_vec();
            Signature { keyid: key.tuf_key().key_id().unwrap(), sig: sig.into() }
        };
        let signatures = self.keys[party].iter().take(signers).map(sign).collect();
        let newest = self.versions.get_mut(party).unwrap();
        *newest = document.version.max(*newest);
        tufline_tuf::json::to_vec(&schema::Signed { signed: targets, signatures }).unwrap().into()
    }

    fn put(&mut self, party: &'static str, bytes: Bytes) -> Task {
        let name = format!("{party}.json");
        let version = self.deliveries.put_upload(&name, bytes, None, false);
        let ports = self.ports.clone();
        let hint = Hint { name, removed: false, version: Some(version) };
        Box::pin(async move { _ = stages::deliver(&ports, &[hint]).await })
    }

    fn upload(&mut self) -> Task {
        let folder = ["vendor", "maker", "own"][self.random.random_range(0..3)];
        let name = format!("{folder}/{}", self.random.random_range(0..5));
        self.upload_named(name)
    }

    fn upload_named(&mut self, name: String) -> Task {
        let version = self.memory.put_upload(&name, content(&name), None, true);
        let ports = self.ports.clone();
        let hint = Hint { name, removed: false, version: Some(version) };
        Box::pin(async move { _ = hash(&ports, Turn::All, &[hint]).await })
    }

    fn run_all(&mut self) {
        for _ in 0..3 {
            rebuild_to_publish(&self.ports, &self.memory);
            // Refresh reports whatever is published and expired, and mends it.
            _ = finish(stages::refresh(&self.ports));
            self.look();
        }
    }

    /// Stops everything else, and lets both parties deliver good documents.
    fn settle(&mut self) {
        self.faults.on.store(false, Ordering::Relaxed);
        self.tasks.clear();
        // Remove uploads that were made while a removed party's names were free.
        for name in PARTIES
            .into_iter()
            .flat_map(|party| (0..5).map(move |number| format!("{party}/{number}")))
        {
            self.memory.remove_upload(&name);
            let hint = Hint { name, removed: true, version: None };
            finish(hash(&self.ports, Turn::All, &[hint]));
        }
        self.run_all();
        for party in PARTIES {
            let tip = finish(Tip::read(&*self.ports.store)).unwrap();
            let newest = tip.newest();
            let now = finish(read_parties(&*self.ports.store, newest)).unwrap();
            let found =
                now.parties.get(&role(party)).filter(|found| found.state != PartyState::Removed);
            if found.is_none() {
                let keys = self.keys[party].each_ref().map(|key| key.tuf_key()).to_vec();
                finish(change(&self.ports, party, &create(party, keys))).unwrap();
            }
            self.run_all();
            let name = format!("{party}/0");
            finish(self.upload_named(name.clone()));
            let version = self.versions[party] + 1;
            let expires = time::after(self.ports.clock.now(), 86_400);
            let bytes = self.sign(party, Document { version, expires, names: vec![name] }, 2);
            finish(self.put(party, bytes));
            self.run_all();
            assert_eq!(
                self.listed.get(&format!("{party}.json")),
                Some(&version),
                "{party} got through"
            );
        }
        // From now on nobody delivers. That must not hold up anybody else.
        self.memory.pass(2 * 86_400);
        finish(self.upload_named("own/new".into()));
        self.run_all();
        assert!(self.own.contains(&"own/new".to_owned()), "{:?}", self.own);
    }
}

async fn change(
    ports: &Ports,
    party: &str,
    edit: &PartyEdit,
) -> Result<(), tufline_pipeline::StageError> {
    delegation::change(&*ports.store, &ports.config, ports.clock.now(), &role(party), edit).await?;
    for message in Message::changes(vec![Change::Delivery { role: role(party) }]) {
        ports.queues.send(&message, std::time::Duration::ZERO).await?;
    }
    Ok(())
}

fn create(party: &str, keys: Vec<schema::key::Key>) -> PartyEdit {
    PartyEdit::Create { paths: vec![format!("{party}/*").parse().unwrap()], keys, threshold: 1 }
}

fn role(party: &str) -> RoleName {
    party.parse().unwrap()
}

fn content(name: &str) -> Bytes {
    format!("bytes of {name}").into()
}

fn names(document: &Targets) -> Vec<String> {
    document.targets.keys().map(|name| name.raw().to_owned()).collect()
}

fn entries(document: &Targets) -> Vec<(DelegatedRole, schema::Delegations)> {
    let delegations = document.delegations.clone();
    delegations
        .into_iter()
        .flat_map(|all| all.roles.clone().into_iter().map(move |role| (role, all.clone())))
        .collect()
}

#[test]
fn what_is_published_of_others_always_verifies() {
    let keys = Arc::new(MemoryKeys::generate().unwrap());
    for seed in seeds(SEEDS) {
        println!("seed {seed}");
        let mut world = World::new(seed, &keys);
        world.faults.on.store(true, Ordering::Relaxed);
        for _ in 0..STEPS {
            world.step();
        }
        world.settle();
    }
}
