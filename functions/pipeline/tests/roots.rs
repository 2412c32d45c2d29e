//! Roots are published while everything else goes on. One seeded scheduler runs stages and
//! operators, with requests that fail, replies that get lost, and runs that are killed. The online
//! keys change all the time, in the roots and in the signer. A thief who may write what operators
//! may, but holds no key, stores any files as the next roots.
//!
//! *Property*: after every step, a client that knows only the first root can verify everything that
//! is published.
//!
//! `TUFLINE_SEEDS=100000` tries more schedules; `TUFLINE_SEED=7` replays one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeMap;
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
use tough::schema::{KeyHolder, RoleType, Root, Signature, Snapshot, Targets, Timestamp};
use tough::sign::{Sign, parse_keypair};
use tufline_pipeline::Ports;
use tufline_pipeline::StageError;
use tufline_pipeline::operations::init;
use tufline_pipeline::operations::publish_root::Concluded;
use tufline_pipeline::operations::publish_root::Proposal;
use tufline_pipeline::operations::publish_root::Proposed;
use tufline_pipeline::operations::publish_root::conclude;
use tufline_pipeline::operations::publish_root::propose;
use tufline_pipeline::operations::publish_root::publish_first;
use tufline_pipeline::operations::publish_root::withdraw;
use tufline_pipeline::operations::publish_root::withdraw_all;
use tufline_pipeline::stages;
use tufline_pipeline::state::roots;
use tufline_serve::Body;
use tufline_serve::ServedRepository;
use tufline_store::memory::{Memory, MemoryKeys};
use tufline_store::{
    Change, Event, Key, OnlineRole, Signer, Store, StoreError, VerifiedRoots, Written,
};
use tufline_tuf::generation::FirstBins;
use tufline_tuf::root::{
    Chain, FirstRoot, KeyName, OnlineKeys, PinnedRoot, RootFile, RootKey, add_key, key_id, next,
    remove_key, set_expiry, set_threshold,
};
use tufline_tuf::{Config, RoleKeys, RoleName, Sha256, Time, time, verify};

use common::schedule::{Schedule, Task, poll, publishing, refreshing, sign_and_publish, signing};
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

/// Two keys for each online role. Which of them is in use changes.
struct Keys {
    root: EcdsaKeyPair,
    people: Vec<EcdsaKeyPair>,
    online: BTreeMap<OnlineRole, [EcdsaKeyPair; 2]>,
}

impl Keys {
    fn new() -> Self {
        let roles =
            [OnlineRole::Targets, OnlineRole::Bins, OnlineRole::Snapshot, OnlineRole::Timestamp];
        Self {
            root: key(),
            people: (0..3).map(|_| key()).collect(),
            online: roles.into_iter().map(|role| (role, [key(), key()])).collect(),
        }
    }
}

/// The signer, whose configuration changes.
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

    async fn sign(
        &self,
        role: OnlineRole,
        _key: &PublicKey,
        message: &[u8],
    ) -> Result<Vec<u8>, StoreError> {
        Ok(EcdsaKeyPair::sign(self.key(role), &SystemRandom::new(), message)
            .unwrap()
            .as_ref()
            .to_vec())
    }
}

struct World {
    random: StdRng,
    memory: Arc<Memory>,
    signer: Arc<Switching>,
    keys: Arc<Keys>,
    ports: Ports,
    faults: Arc<Faults>,
    tasks: Vec<Task>,
    attempts: u64,
    /// The newest root's version and the timestamp, as the client saw them last.
    seen: (u64, Option<bytes::Bytes>),
    /// How far the client walked, and the file that was no root there.
    walked: Option<(Chain, Option<bytes::Bytes>)>,
    /// The roots that the thief stored, by their paths.
    stolen: BTreeMap<String, bytes::Bytes>,
    /// How many roots operators published, and how many were refused.
    published: Arc<AtomicUsize>,
    refused: Arc<AtomicUsize>,
}

impl Schedule for World {
    const BEGINNINGS: u32 = 6;
    const MOST_REQUESTS: usize = 6;

    fn parts(&mut self) -> (&mut StdRng, &mut Vec<Task>) {
        (&mut self.random, &mut self.tasks)
    }

    fn any_run(&mut self) -> Task {
        // Some processes have run before; others start now and know no root yet.
        let mut ports = self.ports.clone();
        if self.random.random_range(0..2) == 0 {
            ports.store = cold(&self.memory);
        }
        match self.random.random_range(0..10) {
            0..3 => refreshing(&ports),
            3 | 4 => publishing(&ports),
            5 => signing(&ports),
            6 => Box::pin(async move { _ = renew(&ports).await }),
            _ => self.operator(ports),
        }
    }

    fn happens(&mut self, step: u32) -> bool {
        match step {
            0 => {
                // An operator configures another key.
                let role = [OnlineRole::Targets, OnlineRole::Snapshot, OnlineRole::Timestamp]
                    [self.random.random_range(0..3)];
                self.signer.used[&role].store(self.random.random_range(0..2), Ordering::Relaxed);
            }
            1 => self.memory.pass(self.random.random_range(1..DAY / 2)),
            2 if self.random.random_range(0..3) == 0 => self.steal(),
            _ => return false,
        }
        true
    }

    /// The client: walks all roots from the first, as serve answers them, and verifies the files
    /// that the newest root decides about (TUF specification 5.3 to 5.6).
    fn look(&mut self) {
        let timestamp = self.memory.object("metadata/timestamp.json");
        let chain = self.walk();
        let get = |key: Key| {
            self.memory.object(&key.path()).unwrap_or_else(|| panic!("{key} is missing"))
        };
        let count = chain.newest().version.get();
        assert!(count >= self.seen.0, "a root that was published is gone");
        if self.seen == (count, timestamp.clone()) {
            return;
        }
        let newest = chain.newest();
        let keys = |role: RoleName| RoleKeys::in_root(newest, &role).unwrap();
        let verified = (|| {
            let timestamp =
                verify::<Timestamp>(timestamp.clone().unwrap(), &keys(RoleName::timestamp()))?;
            let generation = timestamp.document().meta["snapshot.json"].version.get();
            let snapshot =
                verify::<Snapshot>(get(Key::snapshot(generation)), &keys(RoleName::snapshot()))?;
            let version = snapshot.document().meta["targets.json"].version.get();
            let role = RoleName::targets();
            verify::<Targets>(get(Key::Metadata { role: role.clone(), version }), &keys(role))
        })();
        if let Err(error) = verified {
            panic!("under version {} of the root: {error}", newest.version);
        }
        self.seen = (count, timestamp);
    }
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
            walked: None,
            stolen: BTreeMap::new(),
            published,
            refused,
        }
    }

    fn begin(&mut self) {
        let ports = self.ports.clone();
        finish(init::init(&ports, &self.keys.root, FirstBins::One)).unwrap();
        sign_and_publish(&ports);
        self.look();
    }

    /// The roots from the first to the last that verifies.
    fn walk(&mut self) -> Chain {
        let get = |version| self.memory.object(&Key::root(version).path());
        let (mut chain, mut refused) = match self.walked.take() {
            Some(walked) => walked,
            None => (Chain::begin(&get(1).unwrap()).unwrap(), None),
        };
        while let Some(next) = get(chain.newest().version.get() + 1)
            && refused.as_ref() != Some(&next)
        {
            if chain.extend(&next).is_err() {
                refused = Some(next);
            }
        }
        self.walked = Some((chain.clone(), refused));
        chain
    }

    /// Stores a file that is no root in a free place, or overwrites the intents.
    fn steal(&mut self) {
        let chain = self.walk();
        let newest = chain.newest();
        if self.random.random_range(0..8) == 0 {
            self.memory.tamper(
                "root-intent.json",
                Some(bytes::Bytes::from_static(b"{\"format\": 1, \"roots\": [{}]}")),
            );
            return;
        }
        let path = Key::root(newest.version.get() + self.random.random_range(1..4)).path();
        if self.memory.object(&path).is_none() {
            let stolen = forged(newest, &self.keys, self.random.random_range(0..FORGERIES));
            self.stolen.insert(path.clone(), stolen.clone());
            self.memory.tamper(&path, Some(stolen));
        }
    }

    /// An operator publishes a root that lists any of the keys.
    fn operator(&mut self, ports: Ports) -> Task {
        self.attempts += 1;
        let (attempt, seed) = (self.attempts.to_string(), self.random.random());
        let keys = Arc::clone(&self.keys);
        let (published, refused) = (Arc::clone(&self.published), Arc::clone(&self.refused));
        Box::pin(async move {
            let mut random = StdRng::seed_from_u64(seed);
            let outcome = publish_any(&ports, &keys, attempt, &mut random).await;
            match outcome {
                Ok(true) => _ = published.fetch_add(1, Ordering::Relaxed),
                Err(StageError::Refused(_) | StageError::Root(_)) => {
                    _ = refused.fetch_add(1, Ordering::Relaxed);
                }
                _ => {}
            }
        })
    }
}

/// The store of a new process.
fn cold(memory: &Arc<Memory>) -> Arc<dyn Store> {
    Arc::new(VerifiedRoots::new(Arc::clone(memory) as _, None))
}

const FORGERIES: usize = 5;

/// A file that a thief stores as the next root or a later one. The thief holds no root key, or too
/// few.
fn forged(newest: &Root, keys: &Keys, which: usize) -> bytes::Bytes {
    let thief = key();
    let root_keys = &newest.roles[&RoleType::Root];
    let expires = newest.expires;
    let file = next(newest, expires).unwrap();
    let signed = |file: &RootFile, by: &[&EcdsaKeyPair]| {
        let message = file.message().unwrap();
        let signatures = by.iter().map(|key| Signature {
            keyid: key.tuf_key().key_id().unwrap(),
            sig: EcdsaKeyPair::sign(key, &SystemRandom::new(), &message)
                .unwrap()
                .as_ref()
                .to_vec()
                .into(),
        });
        let envelope =
            tough::schema::Signed { signed: file.root().clone(), signatures: signatures.collect() };
        serde_json::to_vec(&envelope).unwrap().into()
    };
    match which {
        0 => bytes::Bytes::from_static(b"no root"),
        // Longer than any client reads.
        1 => vec![b' '; 600_000].into(),
        // Signed by nobody.
        2 => signed(&file, &[]),
        // Signed by the thief, whose key the root lists.
        3 => {
            let file =
                add_key(&file, RoleType::Root, RootKey { holder: None, key: thief.tuf_key() })
                    .unwrap();
            signed(&set_threshold(&file, RoleType::Root, 1).unwrap(), &[&thief])
        }
        // Signed by one holder too few.
        _ => {
            let holders = keys
                .people
                .iter()
                .chain([&keys.root])
                .filter(|key| root_keys.keyids.contains(&key.tuf_key().key_id().unwrap()));
            let some = usize::try_from(root_keys.threshold.get() - 1).unwrap();
            signed(&file, &holders.take(some).collect::<Vec<_>>())
        }
    }
}

/// Asks for a new version of the top-level targets.
async fn renew(ports: &Ports) -> Result<(), StageError> {
    let Some(published) = tufline_pipeline::state::ledger::published(&*ports.store).await? else {
        return Ok(());
    };
    let stored = ports.store.get(&Key::snapshot(published.generation)).await?.unwrap();
    let snapshot: tough::schema::Signed<Snapshot> = serde_json::from_slice(&stored.bytes).unwrap();
    let version = snapshot.signed.meta["targets.json"].version.get();
    stages::rebuild(ports, &[vec![Change::Renew { role: RoleName::targets(), version }]]).await?;
    Ok(())
}

/// Publishes any next root. Returns whether it was published.
async fn publish_any(
    ports: &Ports,
    keys: &Keys,
    attempt: String,
    random: &mut StdRng,
) -> Result<bool, StageError> {
    let chain = roots::chain(&*ports.store).await?.unwrap();
    let newest = chain.newest();
    let file = signed(
        edited(&next(newest, time::after(ports.clock.now(), 365 * DAY)).unwrap(), keys, random),
        keys,
        newest,
    );
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
        // The first key, the second or, mostly, both. Otherwise the published files would hardly
        // ever verify under it.
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
        let signature =
            EcdsaKeyPair::sign(key, &SystemRandom::new(), &file.message().unwrap()).unwrap();
        let _ = file.add_signature(&key.tuf_key(), signature.as_ref(), Some(newest));
    }
    file
}

fn play(seed: u64, keys: &Arc<Keys>, memory_keys: &Arc<MemoryKeys>) -> (usize, usize, usize) {
    let mut world = World::new(seed, keys, memory_keys);
    world.begin();
    world.faults.on.store(!seed.is_multiple_of(4), Ordering::Relaxed);
    for _ in 0..STEPS {
        world.step();
    }
    // The pipeline can always go on: a root that lists all keys can be published while refresh
    // runs.
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
                // Use a key again that devices trust.
                world.signer.used[&online].store(index, Ordering::Relaxed);
            }
            file =
                add_key(&file, role, RootKey { holder: None, key: key.tuf_key() }).unwrap_or(file);
        }
    }
    let file = signed(file, keys, newest);
    // Intents of killed runs may stand in the way: their roots need not list the keys that are in
    // use now.
    finish(withdraw_all(&*ports.store)).unwrap();
    // The published timestamp may be older than the last change of a key.
    finish(stages::refresh(&ports)).unwrap();
    let Proposed::Now(proposal) =
        finish(propose(&*ports.store, &*ports.clock, &file, "last".into())).unwrap()
    else {
        panic!("it is new");
    };
    finish(stages::refresh(&ports)).unwrap();
    let concluded = finish(conclude(&*ports.store, &*ports.clock, &proposal)).unwrap();
    assert_eq!(concluded, Concluded::Published);
    world.look();
    let replaced = world
        .stolen
        .iter()
        .filter(|(path, stolen)| world.memory.object(path).as_ref() != Some(stolen))
        .count();
    (world.published.load(Ordering::Relaxed), world.refused.load(Ordering::Relaxed), replaced)
}

#[test]
fn no_sequence_of_roots_leaves_what_is_published_unverifiable() {
    let (keys, memory_keys) = (Arc::new(Keys::new()), Arc::new(MemoryKeys::generate().unwrap()));
    let seeds = seeds(SEEDS);
    let (mut published, mut refused, mut replaced) = (0, 0, 0);
    for seed in seeds.clone() {
        let played = std::panic::catch_unwind(|| play(seed, &keys, &memory_keys));
        let (more, less, over) =
            played.unwrap_or_else(|_| panic!("seed {seed} (replay with TUFLINE_SEED={seed})"));
        published += more;
        refused += less;
        replaced += over;
    }
    println!("{published} roots published, {refused} refused, {replaced} in place of a thief's");
    if seeds.end - seeds.start >= 100 {
        assert!(
            published > 100 && refused > 100 && replaced > 50,
            "{published} published, {refused} refused, {replaced} in place of a thief's: the schedules try too little"
        );
    }
}

/// The next root with these of the two timestamp keys, signed by all.
fn next_with(world: &World, timestamp: &[usize]) -> RootFile {
    let chain = finish(roots::chain(&*world.ports.store)).unwrap().unwrap();
    let mut file = next(chain.newest(), time::after(world.ports.clock.now(), 365 * DAY)).unwrap();
    let keys = &world.keys.online[&OnlineRole::Timestamp];
    for (index, key) in keys.iter().enumerate().filter(|(index, _)| timestamp.contains(index)) {
        let holder = Some(format!("key {index}"));
        file = add_key(&file, RoleType::Timestamp, RootKey { holder, key: key.tuf_key() })
            .unwrap_or(file);
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

    /// Starts where both timestamp keys are trusted and the second is in use.
    fn begin(keys: &Arc<Keys>, memory_keys: &Arc<MemoryKeys>) -> Self {
        let mut world = World::new(0, keys, memory_keys);
        world.begin();
        let mut story = Self { world, proposal: None };
        story.propose(&[0, 1]);
        story.refresh();
        story.conclude();
        story.uses(1);
        // Now another timestamp is due, and there is a generation to show.
        story.world.memory.pass(DAY * 2 / 3);
        story.refresh();
        story.world.memory.pass(DAY * 2 / 3);
        finish(renew(&story.world.ports)).unwrap();
        finish(stages::sign(&story.world.ports)).unwrap();
        assert_eq!(story.world.seen.0, 2);
        story
    }

    fn act(&mut self, action: usize) {
        match action {
            0 => self.propose(&[1]),
            1 | 5 => self.refresh(),
            3 => self.propose(&[0, 1]),
            // An operator goes back to the old configuration.
            4 => self.uses(0),
            _ => self.conclude(),
        }
        self.world.look();
    }

    fn propose(&mut self, timestamp: &[usize]) {
        let file = next_with(&self.world, timestamp);
        let ports = &self.world.ports;
        let proposed =
            finish(propose(&*ports.store, &*ports.clock, &file, format!("{timestamp:?}")));
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
        _ = finish(stages::refresh(&self.world.ports));
        self.world.look();
    }

    fn uses(&self, index: usize) {
        self.world.signer.used[&OnlineRole::Timestamp].store(index, Ordering::Relaxed);
    }
}

/// Polls a task up to `times` times. Returns whether it ended.
fn poll_times(task: &mut Task, times: usize) -> bool {
    (0..times).any(|_| poll(task))
}

/// Publish starts at any moment while two roots are published, pauses after any of its requests,
/// and goes on at any later moment. What it shows must verify.
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
                if poll_times(&mut stage, polls) {
                    break;
                }
                story.world.look();
                (begin..resume).for_each(|action| story.act(action));
                while !poll(&mut stage) {}
                story.world.look();
                (resume..Story::ACTIONS).for_each(|action| story.act(action));
                published += story.world.seen.0 - 2;
            }
        }
    }
    assert!(published > 100, "{published} roots were published");
}

/// While the operator's command pauses anywhere before it has written its intent, one stage
/// replaces the timestamp. Another stage, which goes on from that, pauses until the root is
/// published. It must lose, since the command waits for one more timestamp.
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
            // The first stage uses the key that the root keeps; the second, the one that it drops.
            finish(publishing(&ports));
            finish(renew(&ports)).unwrap();
            finish(stages::sign(&ports)).unwrap();
            let mut second = publishing(&ports);
            if poll_times(&mut second, polls) {
                break;
            }
            let Proposed::Now(proposal) = finish(proposing).unwrap() else { panic!("it is new") };
            story.proposal = Some(proposal);
            story.conclude();
            story.uses(0);
            while !poll(&mut second) {}
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
        (
            signed(next(good.root(), later).unwrap(), &world.keys, newest),
            "it is version 3, and the next one is 2",
        ),
        (signed(set_expiry(&good, start()).unwrap(), &world.keys, newest), "it expired at"),
        (
            signed(without(RoleType::Timestamp, OnlineRole::Timestamp), &world.keys, newest),
            "timestamp is not signed",
        ),
        (
            signed(without(RoleType::Snapshot, OnlineRole::Snapshot), &world.keys, newest),
            "snapshot is not signed",
        ),
        (
            signed(without(RoleType::Targets, OnlineRole::Targets), &world.keys, newest),
            "targets is not signed",
        ),
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
    let propose = |attempt: &str| {
        finish(propose(&*ports.store, &*ports.clock, &file, attempt.into())).unwrap()
    };
    let Proposed::Now(proposal) = propose("a") else { panic!() };
    let conclude = |proposal| finish(conclude(&*ports.store, &*ports.clock, proposal)).unwrap();
    assert_eq!(conclude(&proposal), Concluded::Waiting);
    assert!(world.memory.object("metadata/2.root.json").is_none());
    finish(stages::refresh(&ports)).unwrap();
    // Another run publishes the same file at the same time.
    let Proposed::Now(other) = propose("b") else { panic!() };
    assert_eq!(conclude(&proposal), Concluded::Published);
    assert!(matches!(propose("c"), Proposed::Already));
    assert_eq!(conclude(&other), Concluded::Waiting);
    finish(stages::refresh(&ports)).unwrap();
    let stamped = world.memory.object("metadata/timestamp.json");
    finish(stages::refresh(&ports)).unwrap();
    assert_eq!(
        world.memory.object("metadata/timestamp.json"),
        stamped,
        "an intent that is published asks for nothing"
    );
    world.look();
    assert_eq!(world.seen.0, 2);
}

/// A key in the form that tuftool takes.
#[derive(Debug)]
struct Source(Vec<u8>);

#[async_trait]
impl KeySource for Source {
    async fn as_sign(
        &self,
    ) -> Result<Box<dyn Sign>, Box<dyn std::error::Error + Send + Sync + 'static>> {
        Ok(Box::new(parse_keypair(&self.0)?))
    }

    async fn write(
        &self,
        _: &str,
        _: &str,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync + 'static>> {
        unreachable!("nothing is written")
    }
}

/// tuftool signs roots with this part of `tough`. Earlier signatures of others stay.
#[test]
fn what_tuftool_signs_is_published_and_it_signs_ours() {
    let world = calm();
    let ports = &world.ports;
    let chain = finish(roots::chain(&*ports.store)).unwrap().unwrap();
    let newest = chain.newest();
    let mut file = next(newest, time::after(start(), DAY)).unwrap();
    for person in &world.keys.people[..2] {
        file = add_key(
            &file,
            RoleType::Root,
            RootKey { holder: Some(id(person)), key: person.tuf_key() },
        )
        .unwrap();
    }
    let file = set_threshold(&file, RoleType::Root, 3).unwrap();
    // Our signature comes first, and theirs are the others.
    let mut ours = file.clone();
    let signature =
        EcdsaKeyPair::sign(&world.keys.root, &SystemRandom::new(), &file.message().unwrap())
            .unwrap();
    ours.add_signature(&world.keys.root.tuf_key(), signature.as_ref(), Some(newest)).unwrap();
    let read: tough::schema::Signed<Root> =
        serde_json::from_slice(&ours.to_bytes().unwrap()).unwrap();
    let sources = world.keys.people[..2].iter().map(|key| {
        let source: Box<dyn KeySource> =
            Box::new(Source(key.to_pkcs8v1().unwrap().as_ref().to_vec()));
        source
    });
    let holder = KeyHolder::Root(read.signed.clone());
    let random = SystemRandom::new();
    let theirs =
        finish(SignedRole::new(read.signed, &holder, &sources.collect::<Vec<_>>(), &random))
            .unwrap();
    let theirs = theirs.add_old_signatures(read.signatures).unwrap();
    let file = RootFile::read(theirs.buffer()).unwrap();
    let proposed = finish(propose(&*ports.store, &*ports.clock, &file, "a".into())).unwrap();
    let Proposed::Now(proposal) = proposed else { panic!("it is new") };
    finish(stages::refresh(ports)).unwrap();
    assert_eq!(
        finish(conclude(&*ports.store, &*ports.clock, &proposal)).unwrap(),
        Concluded::Published
    );
}

#[test]
fn an_expired_root_is_followed_by_the_next() {
    let world = calm();
    let ports = world.ports.clone();
    world.memory.pass(400 * DAY);
    // Nothing can be shown, and everything that is published is expired too.
    assert!(finish(stages::refresh(&ports)).is_err());
    let chain = finish(roots::chain(&*ports.store)).unwrap().unwrap();
    let newest = chain.newest();
    let file =
        signed(next(newest, time::after(ports.clock.now(), DAY)).unwrap(), &world.keys, newest);
    let proposed = finish(propose(&*ports.store, &*ports.clock, &file, "a".into())).unwrap();
    let Proposed::Now(proposal) = proposed else { panic!() };
    // The pipeline renews what is expired, under the new root.
    _ = finish(stages::refresh(&ports));
    finish(renew(&ports)).unwrap();
    finish(stages::sign(&ports)).unwrap();
    finish(stages::publish(&ports)).unwrap();
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
        let root_keys =
            keys.people.iter().map(|key| RootKey { holder: None, key: key.tuf_key() }).collect();
        let (targets, snapshot) = (public(OnlineRole::Targets, 0), public(OnlineRole::Snapshot, 0));
        let online = OnlineKeys { targets, snapshot, timestamp };
        FirstRoot { keys: root_keys, threshold: 2, online, expires: time::after(start(), DAY) }
            .make()
            .unwrap()
    };
    let sign_by = |mut file: RootFile, count: usize| {
        for key in &keys.people[..count] {
            let signature =
                EcdsaKeyPair::sign(key, &SystemRandom::new(), &file.message().unwrap()).unwrap();
            file.add_signature(&key.tuf_key(), signature.as_ref(), None).unwrap();
        }
        file
    };
    let publish =
        |file: &RootFile| finish(publish_first(&*ports.store, &*ports.signer, &*ports.clock, file));
    let good = make(public(OnlineRole::Timestamp, 0));
    for (file, why) in [
        (sign_by(good.clone(), 1), "1 more needed"),
        (
            sign_by(make(public(OnlineRole::Timestamp, 1)), 2),
            "does not trust this repository's timestamp key",
        ),
    ] {
        let error = publish(&file).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
        assert!(files(&world).is_empty(), "something was written");
    }
    let good = sign_by(good, 2);
    publish(&good).unwrap();
    publish(&good).unwrap();
    finish(init::first_generation(ports, FirstBins::One)).unwrap();
    finish(stages::sign(ports)).unwrap();
    finish(stages::publish(ports)).unwrap();
    let other = sign_by(set_expiry(&good, time::after(start(), 2 * DAY)).unwrap(), 2);
    let error = publish(&other).unwrap_err().to_string();
    assert!(error.contains("has a root already, version 1"), "{error}");
}

/// Publishes the next root with a new expiry, signed by all who must. Returns its version.
fn publish_next(world: &World) -> u64 {
    let ports = &world.ports;
    let chain = finish(roots::chain(&*ports.store)).unwrap().unwrap();
    let newest = chain.newest();
    let file = signed(
        next(newest, time::after(ports.clock.now(), 365 * DAY)).unwrap(),
        &world.keys,
        newest,
    );
    let Proposed::Now(proposal) =
        finish(propose(&*ports.store, &*ports.clock, &file, "n".into())).unwrap()
    else {
        panic!("it is new");
    };
    finish(stages::refresh(ports)).unwrap();
    assert_eq!(
        finish(conclude(&*ports.store, &*ports.clock, &proposal)).unwrap(),
        Concluded::Published
    );
    file.version()
}

/// The status and body with which serve answers a device that asks for a root.
fn served(world: &World, version: u64) -> (u16, Option<bytes::Bytes>) {
    served_by(&cold(&world.memory), &world.memory, version)
}

fn served_by(
    store: &Arc<dyn Store>,
    memory: &Arc<Memory>,
    version: u64,
) -> (u16, Option<bytes::Bytes>) {
    let (store, blobs, chunks) = (Arc::clone(store), Arc::clone(memory), Arc::clone(memory));
    let repository =
        ServedRepository { store, blobs, chunks, redirects: None, packs: None, pauses: Vec::new() };
    let path = format!("/metadata/{version}.root.json");
    let answer = finish(repository.answer(&http::Method::GET, &path, &http::HeaderMap::new()));
    let Body::Whole(bytes) = answer.body else { panic!("a root is whole") };
    (answer.status.as_u16(), answer.status.is_success().then_some(bytes))
}

#[test]
fn a_strangers_root_stops_nobody_and_makes_room() {
    for which in 0..FORGERIES {
        let mut world = calm();
        // Two people must sign, so that one is too few.
        let ports = world.ports.clone();
        let chain = finish(roots::chain(&*ports.store)).unwrap().unwrap();
        let newest = chain.newest();
        let file = next(newest, time::after(start(), 365 * DAY)).unwrap();
        let person = RootKey { holder: None, key: world.keys.people[0].tuf_key() };
        let file =
            set_threshold(&add_key(&file, RoleType::Root, person).unwrap(), RoleType::Root, 2)
                .unwrap();
        let file = signed(file, &world.keys, newest);
        let Proposed::Now(proposal) =
            finish(propose(&*ports.store, &*ports.clock, &file, "a".into())).unwrap()
        else {
            panic!("it is new");
        };
        finish(stages::refresh(&ports)).unwrap();
        assert_eq!(
            finish(conclude(&*ports.store, &*ports.clock, &proposal)).unwrap(),
            Concluded::Published
        );
        world.memory.take_events();

        let stolen = forged(file.root(), &world.keys, which);
        world.memory.tamper("metadata/3.root.json", Some(stolen.clone()));
        world.memory.tamper("metadata/4.root.json", Some(stolen.clone()));
        // A new process goes on under the newest file that is a root.
        world.ports.store = cold(&world.memory);
        let ports = world.ports.clone();
        let before =
            finish(tufline_pipeline::state::ledger::published(&*ports.store)).unwrap().unwrap();
        assert_eq!(finish(roots::newest(&*ports.store)).unwrap().version.get(), 2);
        finish(renew(&ports)).unwrap();
        finish(stages::sign(&ports)).unwrap();
        finish(stages::publish(&ports)).unwrap();
        world.memory.pass(DAY * 2 / 3);
        finish(stages::refresh(&ports)).unwrap();
        let after =
            finish(tufline_pipeline::state::ledger::published(&*ports.store)).unwrap().unwrap();
        assert!(
            after.generation > before.generation && after.version > before.version + 1,
            "forgery {which} stopped it"
        );
        world.look();

        // Devices do not see the file. Operators do, and are told once.
        assert_eq!(served(&world, 2).1, world.memory.object("metadata/2.root.json"));
        assert_eq!((served(&world, 3).0, served(&world, 4).0), (404, 404));
        finish(stages::refresh(&ports)).unwrap();
        let told = |world: &World| -> Vec<u64> {
            let ignored = world.memory.take_events().into_iter();
            ignored
                .filter_map(|event| {
                    if let Event::RootIgnored { version, .. } = event {
                        Some(version)
                    } else {
                        None
                    }
                })
                .collect()
        };
        assert_eq!(told(&world), [3], "forgery {which}");
        let ignored = finish(roots::ignored(&*ports.store)).unwrap();
        assert_eq!(ignored.iter().map(|root| root.version).collect::<Vec<_>>(), [3]);
        assert!(!ignored[0].reason.contains('\n'), "{}", ignored[0].reason);

        // The real root takes its place, and then the file behind it is the next one.
        assert_eq!(publish_next(&world), 3);
        world.look();
        assert_eq!(
            (served(&world, 3).1, served(&world, 4).0),
            (world.memory.object("metadata/3.root.json"), 404)
        );
        finish(stages::refresh(&ports)).unwrap();
        assert_eq!(told(&world), [4], "forgery {which}");
        assert_eq!(publish_next(&world), 4);
        finish(stages::refresh(&ports)).unwrap();
        assert!(
            told(&world).is_empty() && finish(roots::ignored(&*ports.store)).unwrap().is_empty()
        );
    }
}

#[test]
fn a_root_that_was_published_is_not_replaced_nor_forgotten() {
    let world = calm();
    publish_next(&world);
    let ports = &world.ports;
    let second = world.memory.object("metadata/2.root.json").unwrap();
    let chain = finish(roots::chain(&*ports.store)).unwrap().unwrap();
    // Another root of the same version, signed by enough of its holders.
    let first: tough::schema::Signed<Root> =
        serde_json::from_slice(&world.memory.object("metadata/1.root.json").unwrap()).unwrap();
    let other = signed(
        next(&first.signed, time::after(start(), 7 * DAY)).unwrap(),
        &world.keys,
        &first.signed,
    );
    let fit = tufline_tuf::root::succeed(&first.signed, &other, start()).unwrap();
    let document = tufline_store::Document::signed(fit.signed());
    for store in [&ports.store, &cold(&world.memory)] {
        assert_eq!(finish(store.create(&document)).unwrap(), Written::Lost);
        assert_eq!(world.memory.object("metadata/2.root.json"), Some(second.clone()));
    }
    // A process that knows the root goes on under it, and reports the file.
    world.memory.tamper("metadata/2.root.json", Some(bytes::Bytes::from_static(b"{}")));
    assert_eq!(finish(roots::newest(&*ports.store)).unwrap(), *chain.newest());
    let ignored = finish(roots::ignored(&*ports.store)).unwrap();
    assert_eq!((ignored.len(), ignored[0].version), (1, 2));
    // A document that is no known successor replaces nothing.
    let third = next(chain.newest(), time::after(start(), 7 * DAY)).unwrap();
    let third = signed(third, &world.keys, chain.newest());
    let third = tufline_tuf::root::succeed(chain.newest(), &third, start()).unwrap();
    let third = tufline_store::Document::signed(third.signed());
    world.memory.tamper("metadata/3.root.json", Some(bytes::Bytes::from_static(b"{}")));
    assert_eq!(
        finish(cold(&world.memory).create(&third)).unwrap(),
        Written::Lost,
        "nobody knows what it follows"
    );
    assert_eq!(finish(ports.store.create(&third)).unwrap(), Written::Done);
}

#[test]
fn the_first_root_is_the_one_that_was_named() {
    let world = calm();
    let first = world.memory.object("metadata/1.root.json").unwrap();
    let named = |bytes: &[u8]| pinned(&world.memory, 1, bytes);
    assert_eq!(finish(roots::newest(&*named(&first))).unwrap().version.get(), 1);
    // A stranger's root, which verifies by itself.
    let other = calm_first_root();
    world.memory.tamper("metadata/1.root.json", Some(other.clone()));
    for (store, text) in
        [(named(&first), "is not the root that this repository trusts"), (named(&other), "")]
    {
        match finish(roots::newest(&*store)) {
            Ok(_) => assert!(text.is_empty()),
            Err(error) => {
                let error = error.to_string();
                assert!(
                    !text.is_empty()
                        && error.contains(text)
                        && error.contains(&contents_of(&other).to_string()),
                    "{error}"
                );
                assert!(
                    finish(roots::chain(&*store)).is_err()
                        && finish(roots::expect_none(&*store)).is_err()
                );
                let ports = Ports { store, ..world.ports.clone() };
                let begun = finish(init::init(&ports, &world.keys.root, FirstBins::One))
                    .unwrap_err()
                    .to_string();
                assert!(begun.contains(text), "{begun}");
                assert_eq!(
                    world.memory.object("metadata/1.root.json"),
                    Some(other.clone()),
                    "it is never replaced"
                );
            }
        }
    }
}

/// The store of a new process, for which the chain begins with this root of version `version`.
fn pinned(memory: &Arc<Memory>, version: u64, file: &[u8]) -> Arc<dyn Store> {
    let first = PinnedRoot { version, contents: contents_of(file) };
    Arc::new(VerifiedRoots::new(Arc::clone(memory) as _, Some(first)))
}

/// Walks the roots as a device does that trusts `trusted`. Returns the chain that it knows then.
fn walked(store: &Arc<dyn Store>, memory: &Arc<Memory>, trusted: &bytes::Bytes) -> Chain {
    let mut chain = Chain::trusting(trusted).unwrap();
    loop {
        match served_by(store, memory, chain.newest().version.get() + 1) {
            (200, Some(next)) => chain.extend(&next).expect("a device would stop"),
            (404, None) => return chain,
            (status, _) => panic!("a device would stop at {status}"),
        }
    }
}

/// *Property*: if the chain begins with version B, stages and devices that trust B or a later root
/// behave the same, whatever lies before B. If B itself is another file, everything stops before it
/// trusts that file.
#[test]
fn roots_before_the_pinned_one_affect_nobody_who_trusts_it() {
    const NEWEST: u64 = 6;
    let mut random = StdRng::seed_from_u64(7);
    for first in 1..=NEWEST {
        for _ in 0..6 {
            let mut world = calm();
            while publish_next(&world) < NEWEST {}
            let lies = |version| world.memory.object(&Key::root(version).path());
            let published: Vec<bytes::Bytes> =
                (1..=NEWEST).map(|version| lies(version).unwrap()).collect();
            let of = |version: u64| &published[usize::try_from(version).unwrap() - 1];
            let oldest: tough::schema::Signed<Root> = serde_json::from_slice(of(1)).unwrap();
            for version in 1..first {
                let path = Key::root(version).path();
                match random.random_range(0..=FORGERIES + 2) {
                    which @ 0..FORGERIES => {
                        world
                            .memory
                            .tamper(&path, Some(forged(&oldest.signed, &world.keys, which)));
                    }
                    FORGERIES => world.memory.tamper(&path, None),
                    // A good root, but of another version.
                    which if which > FORGERIES + 1 => {
                        world.memory.tamper(&path, Some(of(first).clone()));
                    }
                    _ => {}
                }
            }
            let store = pinned(&world.memory, first, of(first));
            world.ports.store = Arc::clone(&store);
            let chain = finish(roots::chain(&*store)).unwrap().unwrap();
            assert_eq!(chain.newest_bytes(), of(NEWEST));
            assert_eq!(finish(roots::newest(&*store)).unwrap(), *chain.newest());
            assert_eq!(finish(roots::first(&*store)).unwrap().unwrap().bytes, of(first));
            assert!(finish(roots::ignored(&*store)).unwrap().is_empty());
            for version in 0..=NEWEST {
                let is_there = finish(store.exists(&Key::root(version))).unwrap();
                assert_eq!(
                    is_there,
                    version >= first,
                    "version {version} where {first} is the first"
                );
            }
            // Older devices get the files that lie there, as they always did.
            for version in 1..first {
                match served_by(&store, &world.memory, version) {
                    (200, bytes) => assert_eq!(bytes, lies(version)),
                    // A file that is too long is not read.
                    (503, _) => assert!(lies(version).unwrap().len() > 512_000),
                    (status, _) => assert_eq!((status, lies(version)), (404, None)),
                }
            }
            // All stages go on. So do the holders of the root, even past a file that somebody
            // stored as the next one.
            let next = Key::root(NEWEST + 1).path();
            world.memory.tamper(
                &next,
                Some(forged(chain.newest(), &world.keys, random.random_range(0..FORGERIES))),
            );
            let ports = &world.ports;
            finish(renew(ports)).unwrap();
            finish(stages::sign(ports)).unwrap();
            finish(stages::publish(ports)).unwrap();
            assert_eq!(finish(roots::ignored(&*store)).unwrap()[0].version, NEWEST + 1);
            assert_eq!(publish_next(&world), NEWEST + 1);
            let timestamp = world.memory.object("metadata/timestamp.json").unwrap();
            for trusted in first..=NEWEST {
                let device =
                    walked(&pinned(&world.memory, first, of(first)), &world.memory, of(trusted));
                assert_eq!(device.newest().version.get(), NEWEST + 1);
                let keys = RoleKeys::in_root(device.newest(), &RoleName::timestamp()).unwrap();
                verify::<Timestamp>(timestamp.clone(), &keys).unwrap();
            }

            // Somebody replaces the first root by one that is as good, but another. A process that
            // knew the first one goes on, and a new process stops.
            let mut other: tough::schema::Signed<Root> = serde_json::from_slice(of(first)).unwrap();
            other.signed.expires = time::after(start(), 5 * DAY);
            let other = signed(
                RootFile::unsigned(other.signed.clone()).unwrap(),
                &world.keys,
                &other.signed,
            );
            let other = other.to_bytes().unwrap();
            Chain::trusting(&other.clone().into()).unwrap();
            world.memory.tamper(&Key::root(first).path(), Some(other.into()));
            assert_eq!(finish(roots::newest(&*store)).unwrap().version.get(), NEWEST + 1);
            let cold = pinned(&world.memory, first, of(first));
            let error = finish(roots::newest(&*cold)).unwrap_err().to_string();
            let why =
                format!("metadata/{first}.root.json is not the root that this repository trusts");
            assert!(error.contains(&why) && !error.contains('\n'), "{error}");
            assert_eq!(served_by(&cold, &world.memory, NEWEST + 1).0, 404);
        }
    }
}

#[test]
fn the_first_root_of_any_version_is_never_replaced() {
    let world = calm();
    while publish_next(&world) < 3 {}
    let third = world.memory.object("metadata/3.root.json").unwrap();
    let document = tufline_store::Document::signed(&tufline_tuf::root::read(&third, 3).unwrap());
    world.memory.tamper("metadata/3.root.json", Some(bytes::Bytes::from_static(b"{}")));
    // Not even by itself: no root before it says that it follows.
    let store = pinned(&world.memory, 3, &third);
    assert_eq!(finish(store.create(&document)).unwrap(), Written::Lost);
    assert_eq!(world.memory.object("metadata/3.root.json"), Some(bytes::Bytes::from_static(b"{}")));
}

#[test]
fn a_repository_that_begins_with_anothers_root_gets_no_other() {
    let good = calm_first_root();
    for (version, file) in [(15, &good), (1, &good)] {
        let world =
            World::new(0, &Arc::new(Keys::new()), &Arc::new(MemoryKeys::generate().unwrap()));
        let store = pinned(&world.memory, version, file);
        let ports = Ports { store, ..world.ports.clone() };
        let why = format!(
            "begins with version {version} of the root whose contents are {}",
            contents_of(file)
        );
        let refused = |result: Result<(), StageError>| {
            let error = result.unwrap_err().to_string();
            assert!(
                error.contains(&why) && error.contains("tufline import") && !error.contains('\n'),
                "{error}"
            );
            assert!(world.memory.object("metadata/1.root.json").is_none(), "something was written");
        };
        refused(finish(init::init(&ports, &world.keys.root, FirstBins::One)));
        let online = finish(init::online_keys(&*ports.signer)).unwrap();
        let keys = vec![RootKey { holder: None, key: world.keys.root.tuf_key() }];
        let file = FirstRoot { keys, threshold: 1, online, expires: time::after(start(), DAY) }
            .make()
            .unwrap();
        let file = signed(file.clone(), &world.keys, file.root());
        refused(finish(publish_first(&*ports.store, &*ports.signer, &*ports.clock, &file)));
        if version > 1 {
            refused(finish(roots::expect_none(&*ports.store)));
        }
        assert!(matches!(finish(roots::newest(&*ports.store)), Err(StageError::NotInitialised)));
    }
}

fn contents_of(file: &[u8]) -> Sha256 {
    let root: tough::schema::Signed<Root> = serde_json::from_slice(file).unwrap();
    tufline_tuf::root::contents(&root.signed).unwrap()
}

/// The first root of another repository.
fn calm_first_root() -> bytes::Bytes {
    calm().memory.object("metadata/1.root.json").unwrap()
}

#[test]
fn a_run_whose_intent_is_gone_publishes_nothing() {
    let world = calm();
    let ports = &world.ports;
    let file = next_with(&world, &[0]);
    let Proposed::Now(proposal) =
        finish(propose(&*ports.store, &*ports.clock, &file, "a".into())).unwrap()
    else {
        panic!("it is new");
    };
    world.memory.tamper("root-intent.json", Some(bytes::Bytes::from_static(b"\xff")));
    // The damage stops nobody else.
    world.memory.pass(DAY * 2 / 3);
    finish(stages::refresh(ports)).unwrap();
    let error = finish(conclude(&*ports.store, &*ports.clock, &proposal)).unwrap_err().to_string();
    assert!(error.contains("root-intent.json no longer has this root"), "{error}");
    assert!(world.memory.object("metadata/2.root.json").is_none());
    assert_eq!(publish_next(&world), 2);
}
