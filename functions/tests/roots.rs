//! Roots are published while everything else goes on: stages and operators under one seeded scheduler, with requests that fail,
//! replies that get lost, and runs that are killed. The online keys change all the time, in the roots and in the signer.
//!
//! *Property*: after every step, a client that knows only the first root verifies all that is published.
//!
//! `TUFLINE_SEEDS=100000` tries more schedules; `TUFLINE_SEED=7` replays one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};

use async_trait::async_trait;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tough::editor::signed::SignedRole;
use tough::key_source::KeySource;
use tough::schema::key::Key as PublicKey;
use tough::schema::{KeyHolder, RoleType, Root, Snapshot, Targets, Timestamp};
use tough::sign::{Sign, parse_keypair};
use tufline_functions::publish_root::{
    Concluded, Proposal, Proposed, conclude, propose, publish_first, withdraw, withdraw_all,
};
use tufline_functions::{Ports, StageError, init, publish, rebuild, refresh, roots, sign};
use tufline_store::memory::{Memory, MemoryKeys};
use tufline_store::{Change, Key, OnlineRole, Signer, StoreError};
use tufline_tuf::generation::FirstBins;
use tufline_tuf::root::{
    Chain, FirstRoot, KeyName, OnlineKeys, RootFile, RootKey, add_key, key_id, next, remove_key, set_expiry,
    set_threshold,
};
use tufline_tuf::{Config, RoleKeys, RoleName, Time, time, verify};

use common::{Faults, finish, ports, seeds};

const SEEDS: u64 = 100;
const STEPS: usize = 400;
const DAY: u64 = 86_400;

fn start() -> Time {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn key() -> EcdsaKeyPair {
    EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap()
}

/// Two keys for each online role; the one in use changes.
struct Keys {
    root: EcdsaKeyPair,
    people: Vec<EcdsaKeyPair>,
    online: BTreeMap<OnlineRole, [EcdsaKeyPair; 2]>,
}

impl Keys {
    fn new() -> Self {
        let roles = [OnlineRole::Targets, OnlineRole::Bins, OnlineRole::Snapshot, OnlineRole::Timestamp];
        Self {
            root: key(),
            people: (0..3).map(|_| key()).collect(),
            online: roles.into_iter().map(|role| (role, [key(), key()])).collect(),
        }
    }
}

/// The signer, as somebody configures it.
struct Switching {
    keys: Arc<Keys>,
    used: BTreeMap<OnlineRole, AtomicUsize>,
}

impl Switching {
    fn new(keys: &Arc<Keys>) -> Self {
        let used = keys.online.keys().map(|role| (*role, AtomicUsize::new(0))).collect();
        Self { keys: Arc::clone(keys), used }
    }

    fn key(&self, role: OnlineRole) -> &EcdsaKeyPair {
        &self.keys.online[&role][self.used[&role].load(Ordering::Relaxed)]
    }
}

#[async_trait]
impl Signer for Switching {
    async fn public_keys(&self, role: OnlineRole) -> Result<Vec<PublicKey>, StoreError> {
        Ok(vec![self.key(role).tuf_key()])
    }

    async fn sign(&self, role: OnlineRole, _key: &PublicKey, message: &[u8]) -> Result<Vec<u8>, StoreError> {
        Ok(EcdsaKeyPair::sign(self.key(role), &SystemRandom::new(), message).unwrap().as_ref().to_vec())
    }
}

type Task = Pin<Box<dyn Future<Output = ()>>>;

struct World {
    random: StdRng,
    memory: Arc<Memory>,
    signer: Arc<Switching>,
    keys: Arc<Keys>,
    ports: Ports,
    faults: Arc<Faults>,
    tasks: Vec<Task>,
    attempts: u64,
    /// How many roots were published, and what the client saw last.
    seen: (u64, Option<bytes::Bytes>),
    /// What operators were told.
    published: Arc<AtomicUsize>,
    refused: Arc<AtomicUsize>,
}

impl World {
    fn new(seed: u64, keys: &Arc<Keys>, memory_keys: &Arc<MemoryKeys>) -> Self {
        let faults = Faults::new(!seed, 10);
        let memory = Arc::new(Memory::new(start(), Arc::clone(memory_keys), faults.control()));
        let signer = Arc::new(Switching::new(keys));
        let ports = Ports { signer: Arc::clone(&signer) as _, ..ports(&memory, Config::default()) };
        let (published, refused) = Default::default();
        let (random, keys) = (StdRng::seed_from_u64(seed), Arc::clone(keys));
        Self {
            random,
            memory,
            signer,
            keys,
            ports,
            faults,
            tasks: Vec::new(),
            attempts: 0,
            seen: (0, None),
            published,
            refused,
        }
    }

    fn begin(&mut self) {
        let ports = self.ports.clone();
        finish(init::init(&ports, &self.keys.root, FirstBins::One)).unwrap();
        finish(sign::sign(&ports)).unwrap();
        finish(publish::publish(&ports)).unwrap();
        self.look();
    }

    /// The client: walks all roots from the first, and verifies what the newest is asked for (TUF specification 5.3 to 5.6).
    fn look(&mut self) {
        let timestamp = self.memory.object("metadata/timestamp.json");
        let count =
            (1..=u64::MAX).find(|version| self.memory.object(&Key::root(version + 1).path()).is_none()).unwrap();
        if self.seen == (count, timestamp.clone()) {
            return;
        }
        let get = |key: Key| self.memory.object(&key.path()).unwrap_or_else(|| panic!("{key} is missing"));
        let mut chain = Chain::begin(&get(Key::root(1))).unwrap();
        for version in 2..=count {
            chain.extend(&get(Key::root(version))).unwrap();
        }
        let newest = chain.newest();
        let keys = |role: RoleName| RoleKeys::in_root(newest, &role).unwrap();
        let verified = (|| {
            let timestamp = verify::<Timestamp>(timestamp.clone().unwrap(), &keys(RoleName::timestamp()))?;
            let generation = timestamp.document().meta["snapshot.json"].version.get();
            let snapshot = verify::<Snapshot>(get(Key::snapshot(generation)), &keys(RoleName::snapshot()))?;
            let version = snapshot.document().meta["targets.json"].version.get();
            let role = RoleName::targets();
            verify::<Targets>(get(Key::Metadata { role: role.clone(), version }), &keys(role))
        })();
        if let Err(error) = verified {
            panic!("under version {} of the root: {error}", newest.version);
        }
        self.seen = (count, timestamp);
    }

    fn step(&mut self) {
        match self.random.random_range(0..100) {
            _ if self.tasks.is_empty() => self.start_something(),
            0..6 if self.tasks.len() < 8 => self.start_something(),
            // A run is killed.
            6 => drop(self.tasks.swap_remove(self.random.random_range(0..self.tasks.len()))),
            7 => {
                // Somebody configures another key.
                let role =
                    [OnlineRole::Targets, OnlineRole::Snapshot, OnlineRole::Timestamp][self.random.random_range(0..3)];
                self.signer.used[&role].store(self.random.random_range(0..2), Ordering::Relaxed);
            }
            8 => self.memory.pass(self.random.random_range(1..DAY / 2)),
            _ => {
                let index = self.random.random_range(0..self.tasks.len());
                // Some run on for a while, others pause.
                for _ in 0..self.random.random_range(1..6) {
                    if self.tasks[index].as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
                        drop(self.tasks.swap_remove(index));
                        break;
                    }
                    self.look();
                }
            }
        }
        self.look();
    }

    fn start_something(&mut self) {
        let ports = self.ports.clone();
        let task: Task = match self.random.random_range(0..10) {
            0..3 => Box::pin(async move { _ = refresh::refresh(&ports).await }),
            3 | 4 => Box::pin(async move { _ = publish::publish(&ports).await }),
            5 => Box::pin(async move { _ = sign::sign(&ports).await }),
            6 => Box::pin(async move { _ = renew(&ports).await }),
            _ => self.operator(),
        };
        self.tasks.push(task);
    }

    /// Somebody publishes a root that lists any of the keys.
    fn operator(&mut self) -> Task {
        self.attempts += 1;
        let (attempt, seed) = (self.attempts.to_string(), self.random.random());
        let (ports, keys) = (self.ports.clone(), Arc::clone(&self.keys));
        let (published, refused) = (Arc::clone(&self.published), Arc::clone(&self.refused));
        Box::pin(async move {
            let mut random = StdRng::seed_from_u64(seed);
            let outcome = publish_any(&ports, &keys, attempt, &mut random).await;
            match outcome {
                Ok(true) => _ = published.fetch_add(1, Ordering::Relaxed),
                Err(StageError::Refused(_) | StageError::Root(_)) => _ = refused.fetch_add(1, Ordering::Relaxed),
                _ => {}
            }
        })
    }
}

/// Asks for a new version of the top-level targets.
async fn renew(ports: &Ports) -> Result<(), StageError> {
    let Some(published) = tufline_functions::ledger::published(&*ports.store).await? else { return Ok(()) };
    let stored = ports.store.get(&Key::snapshot(published.generation)).await?.unwrap();
    let snapshot: tough::schema::Signed<Snapshot> = serde_json::from_slice(&stored.bytes).unwrap();
    let version = snapshot.signed.meta["targets.json"].version.get();
    rebuild::rebuild(ports, &[vec![Change::Renew { role: RoleName::targets(), version }]]).await?;
    Ok(())
}

/// Whether it was published.
async fn publish_any(ports: &Ports, keys: &Keys, attempt: String, random: &mut StdRng) -> Result<bool, StageError> {
    let chain = roots::chain(&*ports.store).await?.unwrap();
    let newest = chain.newest();
    let file =
        signed(edited(&next(newest, time::after(ports.clock.now(), 365 * DAY)).unwrap(), keys, random), keys, newest);
    let proposal = match propose(&*ports.store, &*ports.clock, &file, attempt).await? {
        Proposed::Already => return Ok(false),
        Proposed::Now(proposal) => proposal,
    };
    for _ in 0..random.random_range(1..200) {
        match conclude(&*ports.store, &*ports.clock, &proposal).await {
            Ok(Concluded::Published) => return Ok(true),
            Ok(Concluded::Waiting) => {}
            Err(error @ StageError::Store(_)) => return Err(error),
            Err(error) => {
                withdraw(&*ports.store, &proposal).await?;
                return Err(error);
            }
        }
    }
    withdraw(&*ports.store, &proposal).await?;
    Ok(false)
}

fn edited(file: &RootFile, keys: &Keys, random: &mut StdRng) -> RootFile {
    let mut file = file.clone();
    for (role, online) in [
        (RoleType::Targets, OnlineRole::Targets),
        (RoleType::Snapshot, OnlineRole::Snapshot),
        (RoleType::Timestamp, OnlineRole::Timestamp),
    ] {
        // The first key, the second, or, mostly, both: else what is published hardly ever verifies under it.
        let wanted = random.random_range(1..8).min(3);
        for (index, key) in keys.online[&online].iter().enumerate() {
            if wanted & (1 << index) != 0 {
                let key = RootKey { holder: None, key: key.tuf_key() };
                file = add_key(&file, role, key).unwrap_or(file);
            }
        }
        for (index, key) in keys.online[&online].iter().enumerate() {
            if wanted & (1 << index) == 0 {
                file = remove_key(&file, role, &KeyName(id(key))).unwrap_or(file);
            }
        }
    }
    for person in &keys.people {
        let changed = match random.random_range(0..3) {
            0 => add_key(&file, RoleType::Root, RootKey { holder: None, key: person.tuf_key() }),
            1 => remove_key(&file, RoleType::Root, &KeyName(id(person))),
            _ => set_threshold(&file, RoleType::Root, random.random_range(0..4)),
        };
        file = changed.unwrap_or(file);
    }
    file
}

fn id(key: &EcdsaKeyPair) -> String {
    hex::encode(key_id(&key.tuf_key()).unwrap())
}

fn signed(mut file: RootFile, keys: &Keys, newest: &tough::schema::Root) -> RootFile {
    for key in keys.people.iter().chain([&keys.root]) {
        let signature = EcdsaKeyPair::sign(key, &SystemRandom::new(), &file.message().unwrap()).unwrap();
        let _ = file.add_signature(&key.tuf_key(), signature.as_ref(), Some(newest));
    }
    file
}

fn play(seed: u64, keys: &Arc<Keys>, memory_keys: &Arc<MemoryKeys>) -> (usize, usize) {
    let mut world = World::new(seed, keys, memory_keys);
    world.begin();
    world.faults.on.store(!seed.is_multiple_of(4), Ordering::Relaxed);
    for _ in 0..STEPS {
        world.step();
    }
    // And it can always go on: a root that lists all keys is published, while refresh runs.
    world.faults.on.store(false, Ordering::Relaxed);
    world.tasks.clear();
    let ports = world.ports.clone();
    let chain = finish(roots::chain(&*ports.store)).unwrap().unwrap();
    let newest = chain.newest();
    let mut file = next(newest, time::after(ports.clock.now(), 365 * DAY)).unwrap();
    for (role, online) in [
        (RoleType::Targets, OnlineRole::Targets),
        (RoleType::Snapshot, OnlineRole::Snapshot),
        (RoleType::Timestamp, OnlineRole::Timestamp),
    ] {
        for (index, key) in keys.online[&online].iter().enumerate() {
            let listed = newest.roles[&role].keyids.contains(&key_id(&key.tuf_key()).unwrap());
            if listed {
                // A key that devices trust is in use again.
                world.signer.used[&online].store(index, Ordering::Relaxed);
            }
            file = add_key(&file, role, RootKey { holder: None, key: key.tuf_key() }).unwrap_or(file);
        }
    }
    let file = signed(file, keys, newest);
    // What the killed runs meant to publish may stand in the way: it may not list the keys that are in use now.
    finish(withdraw_all(&*ports.store)).unwrap();
    // The published timestamp may be from before the last change of a key.
    finish(refresh::refresh(&ports)).unwrap();
    let Proposed::Now(proposal) = finish(propose(&*ports.store, &*ports.clock, &file, "last".into())).unwrap() else {
        panic!("it is new");
    };
    finish(refresh::refresh(&ports)).unwrap();
    let concluded = finish(conclude(&*ports.store, &*ports.clock, &proposal)).unwrap();
    assert_eq!(concluded, Concluded::Published);
    world.look();
    (world.published.load(Ordering::Relaxed), world.refused.load(Ordering::Relaxed))
}

#[test]
fn no_sequence_of_roots_leaves_what_is_published_unverifiable() {
    let (keys, memory_keys) = (Arc::new(Keys::new()), Arc::new(MemoryKeys::generate().unwrap()));
    let seeds = seeds(SEEDS);
    let (mut published, mut refused) = (0, 0);
    for seed in seeds.clone() {
        let played = std::panic::catch_unwind(|| play(seed, &keys, &memory_keys));
        let (more, less) = played.unwrap_or_else(|_| panic!("seed {seed} (replay with TUFLINE_SEED={seed})"));
        published += more;
        refused += less;
    }
    println!("{published} roots published, {refused} refused");
    if seeds.end - seeds.start >= 100 {
        assert!(
            published > 100 && refused > 100,
            "{published} published, {refused} refused: the schedules try too little"
        );
    }
}

/// The next root, with these timestamp keys of the two, signed by all.
fn next_with(world: &World, timestamp: &[usize]) -> RootFile {
    let chain = finish(roots::chain(&*world.ports.store)).unwrap().unwrap();
    let mut file = next(chain.newest(), time::after(world.ports.clock.now(), 365 * DAY)).unwrap();
    let keys = &world.keys.online[&OnlineRole::Timestamp];
    for (index, key) in keys.iter().enumerate().filter(|(index, _)| timestamp.contains(index)) {
        let holder = Some(format!("key {index}"));
        file = add_key(&file, RoleType::Timestamp, RootKey { holder, key: key.tuf_key() }).unwrap_or(file);
    }
    for (_, key) in keys.iter().enumerate().filter(|(index, _)| !timestamp.contains(index)) {
        file = remove_key(&file, RoleType::Timestamp, &KeyName(id(key))).unwrap_or(file);
    }
    signed(file, &world.keys, chain.newest())
}

/// What happens to a repository, in this order, while a stage pauses.
struct Story {
    world: World,
    proposal: Option<Box<Proposal>>,
}

impl Story {
    const ACTIONS: usize = 7;

    /// Begins where both timestamp keys are trusted, and the second is in use.
    fn begin(keys: &Arc<Keys>, memory_keys: &Arc<MemoryKeys>) -> Self {
        let mut world = World::new(0, keys, memory_keys);
        world.begin();
        let mut story = Self { world, proposal: None };
        story.propose(&[0, 1]);
        story.refresh();
        story.conclude();
        story.uses(1);
        // It is time for another timestamp, and there is a generation to show.
        story.world.memory.pass(DAY * 2 / 3);
        story.refresh();
        story.world.memory.pass(DAY * 2 / 3);
        finish(renew(&story.world.ports)).unwrap();
        finish(sign::sign(&story.world.ports)).unwrap();
        assert_eq!(story.world.seen.0, 2);
        story
    }

    fn act(&mut self, action: usize) {
        match action {
            0 => self.propose(&[1]),
            1 | 5 => self.refresh(),
            3 => self.propose(&[0, 1]),
            // Somebody goes back to the old configuration.
            4 => self.uses(0),
            _ => self.conclude(),
        }
        self.world.look();
    }

    fn propose(&mut self, timestamp: &[usize]) {
        let file = next_with(&self.world, timestamp);
        let ports = &self.world.ports;
        let proposed = finish(propose(&*ports.store, &*ports.clock, &file, format!("{timestamp:?}")));
        if let Ok(Proposed::Now(proposal)) = proposed {
            self.proposal = Some(proposal);
        }
    }

    fn conclude(&mut self) {
        if let Some(proposal) = &self.proposal {
            let ports = &self.world.ports;
            _ = finish(conclude(&*ports.store, &*ports.clock, proposal));
        }
        self.world.look();
    }

    fn refresh(&mut self) {
        _ = finish(refresh::refresh(&self.world.ports));
        self.world.look();
    }

    fn uses(&self, index: usize) {
        self.world.signer.used[&OnlineRole::Timestamp].store(index, Ordering::Relaxed);
    }
}

/// A stage at work.
fn publishing(ports: &Ports) -> Task {
    let ports = ports.clone();
    Box::pin(async move { _ = publish::publish(&ports).await })
}

/// Runs a task so far; answers whether it ended.
fn poll(task: &mut Task, times: usize) -> bool {
    (0..times).any(|_| task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready())
}

/// Publish begins at whatever moment while two roots are published, pauses after any of its requests, and goes on at any later
/// moment: what it shows verifies.
#[test]
fn no_stage_that_pauses_shows_what_a_root_forbids() {
    let (keys, memory_keys) = (Arc::new(Keys::new()), Arc::new(MemoryKeys::generate().unwrap()));
    let mut published = 0;
    for begin in 0..Story::ACTIONS {
        for resume in begin + 1..=Story::ACTIONS {
            for polls in 0.. {
                let mut story = Story::begin(&keys, &memory_keys);
                (0..begin).for_each(|action| story.act(action));
                let mut stage = publishing(&story.world.ports);
                if poll(&mut stage, polls) {
                    break;
                }
                story.world.look();
                (begin..resume).for_each(|action| story.act(action));
                while !poll(&mut stage, 1) {}
                story.world.look();
                (resume..Story::ACTIONS).for_each(|action| story.act(action));
                published += story.world.seen.0 - 2;
            }
        }
    }
    assert!(published > 100, "{published} roots were published");
}

/// While the operator's command pauses anywhere before its intent is written, one stage replaces the timestamp, and another, which
/// goes on from there, pauses too until the root is published: it loses, since the command waits for one more timestamp.
#[test]
fn a_timestamp_from_before_the_intent_proves_nothing() {
    let (keys, memory_keys) = (Arc::new(Keys::new()), Arc::new(MemoryKeys::generate().unwrap()));
    for pause in 0.. {
        for polls in 0.. {
            let mut story = Story::begin(&keys, &memory_keys);
            let (ports, file) = (story.world.ports.clone(), next_with(&story.world, &[1]));
            let mut proposing = Box::pin(propose(&*ports.store, &*ports.clock, &file, "a".into()));
            let mut proposed = None;
            let mut context = Context::from_waker(Waker::noop());
            for _ in 0..pause {
                if let std::task::Poll::Ready(ended) = proposing.as_mut().poll(&mut context) {
                    proposed = Some(ended);
                    break;
                }
            }
            if proposed.is_some() {
                return;
            }
            // The first stage, with the key that the root keeps; the second, with the one that goes.
            finish(publishing(&ports));
            finish(renew(&ports)).unwrap();
            finish(sign::sign(&ports)).unwrap();
            let mut second = publishing(&ports);
            if poll(&mut second, polls) {
                break;
            }
            let Proposed::Now(proposal) = finish(proposing).unwrap() else { panic!("it is new") };
            story.proposal = Some(proposal);
            story.conclude();
            story.uses(0);
            while !poll(&mut second, 1) {}
            story.world.look();
            story.uses(1);
            story.refresh();
            story.conclude();
            assert_eq!(story.world.seen.0, 3);
        }
    }
}

/// A repository with a first generation.
fn calm() -> World {
    let (keys, memory_keys) = (Arc::new(Keys::new()), Arc::new(MemoryKeys::generate().unwrap()));
    let mut world = World::new(0, &keys, &memory_keys);
    world.begin();
    world
}

fn files(world: &World) -> BTreeMap<String, Vec<bytes::Bytes>> {
    world.memory.history()
}

#[test]
fn what_is_refused_writes_nothing() {
    let world = calm();
    let ports = &world.ports;
    let chain = finish(roots::chain(&*ports.store)).unwrap().unwrap();
    let newest = chain.newest();
    let later = time::after(start(), 365 * DAY);
    let good = next(newest, later).unwrap();
    let without = |role: RoleType, online: OnlineRole| {
        let [used, other] = &world.keys.online[&online];
        let file = add_key(&good, role, RootKey { holder: None, key: other.tuf_key() }).unwrap();
        remove_key(&file, role, &KeyName(id(used))).unwrap()
    };
    let before = files(&world);
    for (file, why) in [
        (good.clone(), "1 more needed"),
        (signed(next(good.root(), later).unwrap(), &world.keys, newest), "it is version 3, and the next one is 2"),
        (signed(set_expiry(&good, start()).unwrap(), &world.keys, newest), "it expired at"),
        (signed(without(RoleType::Timestamp, OnlineRole::Timestamp), &world.keys, newest), "timestamp is not signed"),
        (signed(without(RoleType::Snapshot, OnlineRole::Snapshot), &world.keys, newest), "snapshot is not signed"),
        (signed(without(RoleType::Targets, OnlineRole::Targets), &world.keys, newest), "targets is not signed"),
    ] {
        let Err(error) = finish(propose(&*ports.store, &*ports.clock, &file, "a".into())) else {
            panic!("{why}: not refused");
        };
        let error = error.to_string();
        assert!(error.contains(why) && !error.contains('\n'), "{error}");
        assert_eq!(files(&world), before, "{why}: something was written");
    }
}

#[test]
fn a_root_waits_for_a_new_timestamp_and_is_published_once() {
    let mut world = calm();
    let ports = world.ports.clone();
    let chain = finish(roots::chain(&*ports.store)).unwrap().unwrap();
    let newest = chain.newest();
    let file = signed(next(newest, time::after(start(), DAY)).unwrap(), &world.keys, newest);
    let propose = |attempt: &str| finish(propose(&*ports.store, &*ports.clock, &file, attempt.into())).unwrap();
    let Proposed::Now(proposal) = propose("a") else { panic!() };
    let conclude = |proposal| finish(conclude(&*ports.store, &*ports.clock, proposal)).unwrap();
    assert_eq!(conclude(&proposal), Concluded::Waiting);
    assert!(world.memory.object("metadata/2.root.json").is_none());
    finish(refresh::refresh(&ports)).unwrap();
    // Another run with the same file, at the same time.
    let Proposed::Now(other) = propose("b") else { panic!() };
    assert_eq!(conclude(&proposal), Concluded::Published);
    assert!(matches!(propose("c"), Proposed::Already));
    assert_eq!(conclude(&other), Concluded::Waiting);
    finish(refresh::refresh(&ports)).unwrap();
    let stamped = world.memory.object("metadata/timestamp.json");
    finish(refresh::refresh(&ports)).unwrap();
    assert_eq!(world.memory.object("metadata/timestamp.json"), stamped, "an intent that is published asks for nothing");
    world.look();
    assert_eq!(world.seen.0, 2);
}

/// A key as tuftool takes one.
#[derive(Debug)]
struct Source(Vec<u8>);

#[async_trait]
impl KeySource for Source {
    async fn as_sign(&self) -> Result<Box<dyn Sign>, Box<dyn std::error::Error + Send + Sync + 'static>> {
        Ok(Box::new(parse_keypair(&self.0)?))
    }

    async fn write(&self, _: &str, _: &str) -> Result<(), Box<dyn std::error::Error + Send + Sync + 'static>> {
        unreachable!("nothing is written")
    }
}

/// tuftool signs roots with this part of `tough`: over what others signed before, which stays.
#[test]
fn what_tuftool_signs_is_published_and_it_signs_ours() {
    let world = calm();
    let ports = &world.ports;
    let chain = finish(roots::chain(&*ports.store)).unwrap().unwrap();
    let newest = chain.newest();
    let mut file = next(newest, time::after(start(), DAY)).unwrap();
    for person in &world.keys.people[..2] {
        file = add_key(&file, RoleType::Root, RootKey { holder: Some(id(person)), key: person.tuf_key() }).unwrap();
    }
    let file = set_threshold(&file, RoleType::Root, 3).unwrap();
    // Ours is the first signature, theirs are the others.
    let mut ours = file.clone();
    let signature = EcdsaKeyPair::sign(&world.keys.root, &SystemRandom::new(), &file.message().unwrap()).unwrap();
    ours.add_signature(&world.keys.root.tuf_key(), signature.as_ref(), Some(newest)).unwrap();
    let read: tough::schema::Signed<Root> = serde_json::from_slice(&ours.to_bytes().unwrap()).unwrap();
    let sources = world.keys.people[..2].iter().map(|key| {
        let source: Box<dyn KeySource> = Box::new(Source(key.to_pkcs8v1().unwrap().as_ref().to_vec()));
        source
    });
    let holder = KeyHolder::Root(read.signed.clone());
    let random = SystemRandom::new();
    let theirs = finish(SignedRole::new(read.signed, &holder, &sources.collect::<Vec<_>>(), &random)).unwrap();
    let theirs = theirs.add_old_signatures(read.signatures).unwrap();
    let file = RootFile::read(theirs.buffer()).unwrap();
    let proposed = finish(propose(&*ports.store, &*ports.clock, &file, "a".into())).unwrap();
    let Proposed::Now(proposal) = proposed else { panic!("it is new") };
    finish(refresh::refresh(ports)).unwrap();
    assert_eq!(finish(conclude(&*ports.store, &*ports.clock, &proposal)).unwrap(), Concluded::Published);
}

#[test]
fn an_expired_root_is_followed_by_the_next() {
    let world = calm();
    let ports = world.ports.clone();
    world.memory.pass(400 * DAY);
    // Nothing can be shown, and all that is published is expired too.
    assert!(finish(refresh::refresh(&ports)).is_err());
    let chain = finish(roots::chain(&*ports.store)).unwrap().unwrap();
    let newest = chain.newest();
    let file = signed(next(newest, time::after(ports.clock.now(), DAY)).unwrap(), &world.keys, newest);
    let proposed = finish(propose(&*ports.store, &*ports.clock, &file, "a".into())).unwrap();
    let Proposed::Now(proposal) = proposed else { panic!() };
    // The pipeline renews what is expired, under the new root.
    _ = finish(refresh::refresh(&ports));
    finish(renew(&ports)).unwrap();
    finish(sign::sign(&ports)).unwrap();
    finish(publish::publish(&ports)).unwrap();
    let concluded = finish(conclude(&*ports.store, &*ports.clock, &proposal)).unwrap();
    assert_eq!(concluded, Concluded::Published);
}

#[test]
fn a_first_root_trusts_the_repositorys_own_keys() {
    let (keys, memory_keys) = (Arc::new(Keys::new()), Arc::new(MemoryKeys::generate().unwrap()));
    let world = World::new(0, &keys, &memory_keys);
    let ports = &world.ports;
    let public = |online: OnlineRole, index: usize| keys.online[&online][index].tuf_key();
    let make = |timestamp: PublicKey| {
        let root_keys = keys.people.iter().map(|key| RootKey { holder: None, key: key.tuf_key() }).collect();
        let (targets, snapshot) = (public(OnlineRole::Targets, 0), public(OnlineRole::Snapshot, 0));
        let online = OnlineKeys { targets, snapshot, timestamp };
        FirstRoot { keys: root_keys, threshold: 2, online, expires: time::after(start(), DAY) }.make().unwrap()
    };
    let sign_by = |mut file: RootFile, count: usize| {
        for key in &keys.people[..count] {
            let signature = EcdsaKeyPair::sign(key, &SystemRandom::new(), &file.message().unwrap()).unwrap();
            file.add_signature(&key.tuf_key(), signature.as_ref(), None).unwrap();
        }
        file
    };
    let publish = |file: &RootFile| finish(publish_first(&*ports.store, &*ports.signer, &*ports.clock, file));
    let good = make(public(OnlineRole::Timestamp, 0));
    for (file, why) in [
        (sign_by(good.clone(), 1), "1 more needed"),
        (sign_by(make(public(OnlineRole::Timestamp, 1)), 2), "does not trust this repository's timestamp key"),
    ] {
        let error = publish(&file).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
        assert!(files(&world).is_empty(), "something was written");
    }
    let good = sign_by(good, 2);
    publish(&good).unwrap();
    publish(&good).unwrap();
    finish(init::first_generation(ports, FirstBins::One)).unwrap();
    finish(sign::sign(ports)).unwrap();
    finish(publish::publish(ports)).unwrap();
    let other = sign_by(set_expiry(&good, time::after(start(), 2 * DAY)).unwrap(), 2);
    let error = publish(&other).unwrap_err().to_string();
    assert!(error.contains("has a root already, version 1"), "{error}");
}
