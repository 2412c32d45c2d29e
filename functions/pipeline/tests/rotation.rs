//! Online keys are replaced again and again while everything else goes on. One seeded scheduler
//! runs the stages, and operators who do what `tufline key rotate` says, with requests that fail,
//! replies that get lost, and runs that are killed.
//!
//! *Property*: after every step, everything that is published verifies, both for a client that
//! knows the newest root and for one that a cache still tells that an older root is the newest.
//!
//! In some worlds people sign `targets`, several of them at once, and at the wrong time too.
//!
//! `TUFLINE_SEEDS=10000` tries more schedules; `TUFLINE_SEED=7` replays one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::EcdsaKeyPair;
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tough::schema::key::Key as PublicKey;
use tough::schema::{Delegations, RoleType, Root, Snapshot, Targets, Timestamp};
use tough::sign::Sign;
use tufline_pipeline::Ports;
use tufline_pipeline::StageError;
use tufline_pipeline::operations::init;
use tufline_pipeline::operations::offline_targets;
use tufline_pipeline::operations::offline_targets::ToSign;
use tufline_pipeline::operations::publish_root::Concluded;
use tufline_pipeline::operations::publish_root::Proposed;
use tufline_pipeline::operations::publish_root::conclude;
use tufline_pipeline::operations::publish_root::propose;
use tufline_pipeline::operations::publish_root::withdraw;
use tufline_pipeline::operations::publish_root::withdraw_all;
use tufline_pipeline::operations::rotation::Step;
use tufline_pipeline::operations::rotation::look;
use tufline_pipeline::operations::rotation::root_role;
use tufline_pipeline::stages;
use tufline_pipeline::state::roots;
use tufline_store::memory::{Memory, MemoryKeys};
use tufline_store::{Change, Key, OnlineRole};
use tufline_tuf::generation::FirstBins;
use tufline_tuf::root::{Chain, KeyName, RootFile, RootKey, add_key, key_id, next, remove_key};
use tufline_tuf::{Config, RoleKeys, RoleName, Time, VerifyError, time, trie, verify};

use common::schedule::{
    Schedule, Task, poll, publishing, rebuild_to_publish, rebuilding, refreshing, sign_and_publish,
    signing,
};
use common::{Faults, Holding, finish, key, ports, seeds};

const SEEDS: u64 = 12;
const STEPS: usize = 2000;
const YEAR: u64 = 365 * 86_400;
/// For how long a cache may say that there is no newer root, as `functions/serve/src/repository.rs`
/// allows it.
const HIDDEN_SECONDS: i64 = 5;

/// What operators have, and what they did.
struct Operators {
    root_key: Arc<EcdsaKeyPair>,
    attempts: Mutex<u64>,
    replaced: Mutex<BTreeMap<OnlineRole, usize>>,
    /// The signed document of `targets` for the time when a new key has signed all bins.
    last_targets: Mutex<Option<Bytes>>,
}

struct World {
    random: StdRng,
    memory: Arc<Memory>,
    holding: Arc<Holding>,
    operators: Arc<Operators>,
    ports: Ports,
    faults: Arc<Faults>,
    tasks: Vec<Task>,
    /// When each version of the root first existed.
    roots: Vec<Time>,
    /// Files that were verified, each with the file under which it was. Neither ever changes.
    verified: BTreeSet<(String, String)>,
    /// The delegations in the files of roles.
    delegations: BTreeMap<String, Option<Delegations>>,
    seen: Option<(bytes::Bytes, usize)>,
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
            7 => self.load(),
            8 | 9 => rebuilding(&self.ports, &self.memory),
            _ => {
                let role = OnlineRole::ALL[self.random.random_range(0..OnlineRole::ALL.len())];
                let (holding, operators) = (Arc::clone(&self.holding), Arc::clone(&self.operators));
                let (ports, patience) = (self.ports.clone(), self.random.random_range(1..300));
                Box::pin(
                    async move { _ = operate(&ports, &holding, &operators, role, patience).await },
                )
            }
        }
    }

    fn happens(&mut self, step: u32) -> bool {
        if step < 6 {
            self.memory.pass(self.random.random_range(1..8));
        }
        step < 6
    }

    fn look(&mut self) {
        let now = self.ports.clock.now();
        while self.memory.object(&Key::root(self.roots.len() as u64 + 1).path()).is_some() {
            self.roots.push(now);
        }
        let timestamp = self.memory.object(&Key::Timestamp.path()).unwrap();
        if self.seen.as_ref() == Some(&(timestamp.clone(), self.roots.len())) {
            return;
        }
        self.seen = Some((timestamp, self.roots.len()));
        let hides = |version: usize| {
            self.roots
                .get(version)
                .is_none_or(|came| time::seconds_between(*came, now) <= HIDDEN_SECONDS)
        };
        for newest in (1..=self.roots.len()).filter(|version| hides(*version)).collect::<Vec<_>>() {
            self.update(newest);
        }
    }
}

impl World {
    fn new(seed: u64, memory_keys: &Arc<MemoryKeys>) -> Self {
        let faults = Faults::new(!seed, 5);
        let start: Time = "2026-01-01T00:00:00Z".parse().unwrap();
        let memory = Arc::new(Memory::new(start, Arc::clone(memory_keys), faults.control()));
        let holding = Holding::new();
        let config = Config { offline_targets: seed.is_multiple_of(3), ..Config::default() };
        let bins =
            if seed.is_multiple_of(6) { FirstBins::TwoHundredFiftySix } else { FirstBins::Sixteen };
        let ports = Ports { signer: Arc::clone(&holding) as _, ..ports(&memory, config) };
        let operators = Arc::new(Operators {
            root_key: key(),
            attempts: Mutex::default(),
            replaced: Mutex::default(),
            last_targets: Mutex::default(),
        });
        let mut world = Self {
            random: StdRng::seed_from_u64(seed),
            memory,
            holding,
            operators,
            ports,
            faults,
            tasks: Vec::new(),
            roots: Vec::new(),
            verified: BTreeSet::new(),
            delegations: BTreeMap::new(),
            seen: None,
        };
        let ports = world.ports.clone();
        let root_key: &EcdsaKeyPair = &world.operators.root_key;
        finish(init::init(&ports, root_key, bins)).unwrap();
        sign_and_publish(&ports);
        world.look();
        world
    }

    /// A client that finds `newest` roots (TUF specification 5.3 to 5.6).
    fn update(&mut self, newest: usize) {
        let memory = Arc::clone(&self.memory);
        let get =
            |key: &Key| memory.object(&key.path()).unwrap_or_else(|| panic!("{key} is missing"));
        let mut chain = Chain::begin(&get(&Key::root(1))).unwrap();
        for version in 2..=newest as u64 {
            chain.extend(&get(&Key::root(version))).unwrap();
        }
        let root = chain.newest();
        let keys = |role: RoleName| RoleKeys::in_root(root, &role).unwrap();
        let verified = (|| {
            let timestamp =
                verify::<Timestamp>(get(&Key::Timestamp), &keys(RoleName::timestamp()))?;
            let generation = timestamp.document().meta["snapshot.json"].version.get();
            let snapshot =
                verify::<Snapshot>(get(&Key::snapshot(generation)), &keys(RoleName::snapshot()))?;
            let file = |role: &RoleName| {
                let version = snapshot.document().meta[&format!("{role}.json")].version.get();
                Key::Metadata { role: role.clone(), version }
            };
            let top = file(&RoleName::targets());
            let targets = verify::<Targets>(get(&top), &keys(RoleName::targets()))?;
            self.delegations.insert(top.path(), targets.document().delegations.clone());
            let mut split = vec![RoleName::targets()];
            while let Some(above) = split.pop() {
                let path = file(&above).path();
                let Some(delegations) = self.delegations[&path].clone() else { continue };
                for role in trie::children(&above) {
                    let bin = file(&role);
                    if self.verified.insert((bin.path(), path.clone())) {
                        let keys = RoleKeys::in_delegations(&delegations, &role)?;
                        let signed = verify::<Targets>(get(&bin), &keys)?;
                        self.delegations.insert(bin.path(), signed.document().delegations.clone());
                    }
                    split.push(role);
                }
            }
            Ok::<_, VerifyError>(())
        })();
        if let Err(error) = verified {
            panic!("under version {newest} of {} roots: {error}", self.roots.len());
        }
    }

    /// Makes a new version of a bin, as an upload would.
    fn load(&mut self) -> Task {
        let ports = self.ports.clone();
        let role =
            trie::children(&RoleName::targets()).swap_remove(self.random.random_range(0..16));
        Box::pin(async move {
            let Ok(tip) = tufline_pipeline::state::pending::Tip::read(&*ports.store).await else {
                return;
            };
            let newest = tip.newest();
            let Ok(index) =
                tufline_pipeline::state::index::read_index_below(&*ports.store, newest, |_| true)
                    .await
            else {
                return;
            };
            let version = index.entry(&role).unwrap().document.version;
            _ = stages::rebuild(&ports, &[vec![Change::Renew { role, version }]]).await;
        })
    }

    /// The roles whose keys are replaced. If people sign `targets`, its key is left alone.
    fn replaceable(&self) -> impl Iterator<Item = OnlineRole> + use<> {
        let offline = self.ports.config.offline_targets;
        OnlineRole::ALL.into_iter().filter(move |role| !offline || *role != OnlineRole::Targets)
    }

    /// Stops everything else, and has all keys replaced once more.
    fn settle(&mut self) {
        self.faults.on.store(false, Ordering::Relaxed);
        self.tasks.clear();
        let ports = self.ports.clone();
        finish(withdraw_all(&*ports.store)).unwrap();
        let before = self.operators.replaced.lock().unwrap().clone();
        for _ in 0..200 {
            for role in self.replaceable() {
                let (holding, operators) = (Arc::clone(&self.holding), Arc::clone(&self.operators));
                let mut operator = Box::pin(operate(&ports, &holding, &operators, role, 1000));
                let mut over = false;
                while !over {
                    over = (0..50).any(|_| poll(&mut operator));
                    finish(stages::refresh(&ports)).unwrap();
                    self.look();
                }
                finish(stages::refresh(&ports)).unwrap();
                rebuild_to_publish(&ports, &self.memory);
                self.look();
                self.memory.pass(3);
            }
            let after = self.operators.replaced.lock().unwrap().clone();
            if self.replaceable().all(|role| after.get(&role) > before.get(&role)) {
                return;
            }
        }
        panic!("not all keys are replaced");
    }
}

/// Does the next step for `role`, as `tufline key rotate` says.
async fn operate(
    ports: &Ports,
    holding: &Holding,
    operators: &Operators,
    role: OnlineRole,
    patience: usize,
) -> Result<(), StageError> {
    let (store, clock) = (&*ports.store, &*ports.clock);
    let offline = ports.config.offline_targets;
    if offline && role == OnlineRole::Targets {
        // In the second half of their time people meet. Before, they try the second document,
        // mostly too early.
        return if patience > 150 {
            meet(ports, holding, operators).await
        } else {
            publish_last(ports, operators).await
        };
    }
    let rotation = look(store, &*ports.signer, clock, &ports.config, role).await?;
    let alone = match rotation.step {
        Step::Rested => {
            holding.add(role);
            return Ok(());
        }
        Step::Unused(_) => {
            holding.remove(role, &rotation.older);
            *operators.replaced.lock().unwrap().entry(role).or_default() += 1;
            return Ok(());
        }
        Step::Settling(_) | Step::Resigning(_) => return Ok(()),
        Step::Untrusted if role == OnlineRole::Bins => {
            return meet(ports, holding, operators).await;
        }
        Step::Signed(_) if role == OnlineRole::Bins => {
            return match publish_last(ports, operators).await {
                Err(StageError::Refused(_)) => meet(ports, holding, operators).await,
                done => done,
            };
        }
        Step::Untrusted => false,
        Step::Signed(_) => true,
    };
    let chain = roots::chain(store).await?.unwrap();
    let newest = chain.newest();
    let file = root_with(newest, role, &rotation.newest, alone, ports.clock.now());
    let attempt = {
        let mut attempts = operators.attempts.lock().unwrap();
        *attempts += 1;
        attempts.to_string()
    };
    let file = signed(file, &operators.root_key, newest);
    let Proposed::Now(proposal) = propose(store, clock, &file, attempt).await? else {
        return Ok(());
    };
    for _ in 0..patience {
        match conclude(store, clock, &proposal).await {
            Ok(Concluded::Published) => return Ok(()),
            Ok(Concluded::Waiting) => {}
            // Nobody knows whether it was published.
            Err(error @ StageError::Store(_)) => return Err(error),
            Err(_) => break,
        }
    }
    withdraw(store, &proposal).await
}

/// People sign the documents of `targets` that are due, and publish the first one.
async fn meet(ports: &Ports, holding: &Holding, operators: &Operators) -> Result<(), StageError> {
    let (store, signer, now) = (&*ports.store, &*ports.signer, ports.clock.now());
    let ToSign { next, last } =
        offline_targets::next(store, signer, &ports.config, now, time::after(now, YEAR)).await?;
    let root = roots::newest(store).await?;
    let next = holding.sign_targets(&root, &next);
    *operators.last_targets.lock().unwrap() = last.map(|last| holding.sign_targets(&root, &last));
    offline_targets::publish(store, signer, &ports.config, now, next).await.map(drop)
}

/// Publishes the second document, if there is one.
async fn publish_last(ports: &Ports, operators: &Operators) -> Result<(), StageError> {
    let last = operators.last_targets.lock().unwrap().clone();
    let last = last.ok_or_else(|| StageError::Refused("there is none".into()))?;
    let (store, signer, now) = (&*ports.store, &*ports.signer, ports.clock.now());
    offline_targets::publish(store, signer, &ports.config, now, last).await.map(drop)
}

fn root_with(newest: &Root, role: OnlineRole, new: &PublicKey, alone: bool, now: Time) -> RootFile {
    let mut file = next(newest, time::after(now, YEAR)).unwrap();
    let role: RoleType = root_role(role).unwrap().as_str().parse().unwrap();
    let key = RootKey { holder: None, key: new.clone() };
    file = add_key(&file, role, key).unwrap_or(file);
    let id = key_id(new).unwrap();
    for other in newest.roles[&role].keyids.iter().filter(|other| alone && **other != id) {
        file = remove_key(&file, role, &KeyName(hex::encode(other))).unwrap();
    }
    file
}

fn signed(mut file: RootFile, key: &EcdsaKeyPair, newest: &Root) -> RootFile {
    let signature =
        EcdsaKeyPair::sign(key, &SystemRandom::new(), &file.message().unwrap()).unwrap();
    file.add_signature(&key.tuf_key(), signature.as_ref(), Some(newest)).unwrap();
    file
}

#[test]
fn no_replacement_of_a_key_leaves_a_device_that_cannot_verify() {
    let memory_keys = Arc::new(MemoryKeys::generate().unwrap());
    let seeds = seeds(SEEDS);
    let mut replaced: BTreeMap<OnlineRole, usize> = BTreeMap::new();
    for seed in seeds.clone() {
        let played = std::panic::catch_unwind(|| {
            let mut world = World::new(seed, &memory_keys);
            world.faults.on.store(!seed.is_multiple_of(4), Ordering::Relaxed);
            for _ in 0..STEPS {
                world.step();
            }
            let under_way = world.operators.replaced.lock().unwrap().clone();
            world.settle();
            under_way
        });
        let more =
            played.unwrap_or_else(|_| panic!("seed {seed} (replay with TUFLINE_SEED={seed})"));
        for (role, count) in more {
            *replaced.entry(role).or_default() += count;
        }
    }
    println!("replaced while all else went on: {replaced:?}");
    if seeds.end - seeds.start >= SEEDS {
        assert!(
            OnlineRole::ALL.iter().all(|role| replaced.get(role).is_some_and(|count| *count >= 5)),
            "{replaced:?}"
        );
    }
}
