//! A repository in which a thief has one role for a while, and then falls silent.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tough::schema::{self, Targets};
use tufline_pipeline::Ports;
use tufline_pipeline::StageError;
use tufline_pipeline::operations::init;
use tufline_pipeline::stages;
use tufline_pipeline::stages::Turn;
use tufline_pipeline::stages::hash;
use tufline_pipeline::stages::publish;
use tufline_pipeline::state::ledger;
use tufline_pipeline::state::parties::read_parties;
use tufline_store::memory::{Calm, Control, Fate, Memory, MemoryKeys, Request};
use tufline_store::{Hint, Key, Message, Queue, VersionId};
use tufline_tuf::generation::{
    DEEPEST_BIN, Edit, FirstBins, Folding, Next, Others, Policy, TargetEdit,
};
use tufline_tuf::{
    Config, Content, Custom, Draft, Index, Manifest, RecordedPolicy, RoleName, Sha256, json, time,
};

use crate::common::{finish, index, ports};

/// Counts the requests, and logs each of them.
struct Count(Arc<AtomicUsize>, Arc<Mutex<Vec<String>>>);

impl Control for Count {
    fn fate(&self, request: &Request<'_>) -> Fate {
        self.0.fetch_add(1, Ordering::Relaxed);
        self.1.lock().unwrap().push(format!("{} {}", request.action, request.place));
        Fate::Done
    }
}

/// A repository with all its stages. Each test runs them as their queues would.
pub struct World {
    pub memory: Arc<Memory>,
    pub deliveries: Arc<Memory>,
    pub ports: Ports,
    pub requests: Arc<AtomicUsize>,
    pub log: Arc<Mutex<Vec<String>>>,
    pub failures: Mutex<BTreeSet<String>>,
}

impl World {
    pub fn with(bins: FirstBins, config: Config) -> Self {
        let keys = Arc::new(MemoryKeys::generate().unwrap());
        let (requests, log) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(vec![])));
        let memory = Arc::new(Memory::new(
            "2026-01-01T00:00:00Z".parse().unwrap(),
            keys.clone(),
            Box::new(Count(requests.clone(), log.clone())),
        ));
        let deliveries = Arc::new(Memory::new(
            "2026-01-01T00:00:00Z".parse().unwrap(),
            keys.clone(),
            Box::new(Calm),
        ));
        let ports = Ports { deliveries: deliveries.clone(), ..ports(&memory, config) };
        finish(init::init(&ports, keys.root(), bins)).unwrap();
        let world = Self { memory, deliveries, ports, requests, log, failures: Mutex::default() };
        world.minutes(1);
        assert_eq!(world.published(), 1);
        world
    }

    pub fn new() -> Self {
        Self::with(FirstBins::One, Config::default())
    }

    pub fn put(&self, name: &str, bytes: &'static str) -> VersionId {
        let version =
            self.memory.put_upload(name, Bytes::from_static(bytes.as_bytes()), None, true);
        let hint = Hint { name: name.into(), removed: false, version: Some(version.clone()) };
        self.memory.send_raw(Queue::Uploads, &Message::Uploads(vec![hint]).to_body().unwrap());
        version
    }

    pub fn note<T>(&self, what: &str, outcome: Result<T, StageError>) -> Option<T> {
        outcome
            .map_err(|error| self.failures.lock().unwrap().insert(format!("{what}: {error}")))
            .ok()
    }

    /// Runs all stages until nothing is left to do, or for 12 rounds.
    pub fn settle(&self) -> usize {
        let mut rounds = 0;
        for _ in 0..12 {
            let mut any = false;
            while let Some(index) = self.memory.first_due(Queue::Uploads) {
                let message = self.memory.take(Queue::Uploads, index).unwrap();
                any = true;
                if let Ok(Message::Uploads(hints)) = Message::from_body(&message.body) {
                    for failure in
                        finish(hash(&self.ports, Turn::All, &hints)).into_iter().flatten()
                    {
                        self.failures.lock().unwrap().insert(format!("hash: {failure}"));
                    }
                }
            }
            let mut changes = vec![];
            while let Some(index) = self.memory.first_due(Queue::Changes) {
                let message = self.memory.take(Queue::Changes, index).unwrap();
                if let Ok(Message::Changes(all)) = Message::from_body(&message.body) {
                    changes.push(all);
                }
            }
            if !changes.is_empty() {
                any = true;
                if let Some(rebuilt) =
                    self.note("rebuild", finish(stages::rebuild(&self.ports, &changes)))
                {
                    for (_, error) in rebuilt.failed {
                        self.failures.lock().unwrap().insert(format!("rebuild: {error}"));
                    }
                } else {
                    // The changes come again later.
                    for message in Message::changes(changes.into_iter().flatten().collect()) {
                        self.memory.send_raw(Queue::Changes, &message.to_body().unwrap());
                    }
                    return 1000;
                }
            }
            while self.memory.take(Queue::Sign, 0).is_some() {
                any = true;
                self.note("sign", finish(stages::sign(&self.ports)));
            }
            while self.memory.take(Queue::Publish, 0).is_some() {
                any = true;
                self.note("publish", finish(publish(&self.ports)).map(drop));
            }
            if !any {
                return rounds;
            }
            rounds += 1;
        }
        rounds
    }

    pub fn minutes(&self, count: usize) -> usize {
        let mut most = 0;
        for _ in 0..count {
            self.note("refresh", finish(stages::refresh(&self.ports)));
            for _ in 0..4 {
                most = most.max(self.settle());
                self.memory.pass(15);
            }
        }
        most
    }

    pub fn published(&self) -> u64 {
        finish(ledger::published(&*self.ports.store))
            .unwrap()
            .map_or(0, |published| published.generation)
    }

    pub fn manifest(&self, generation: u64) -> Manifest {
        serde_json::from_slice(&self.memory.object(&Key::Manifest(generation).path()).unwrap())
            .unwrap()
    }

    pub fn newest(&self) -> u64 {
        let mut newest = 0;
        while self.memory.object(&Key::Manifest(newest + 1).path()).is_some() {
            newest += 1;
        }
        newest
    }

    pub fn create(&self, key: &Key, bytes: impl Into<Bytes>) {
        assert!(self.memory.object(&key.path()).is_none(), "created once: {key}");
        self.memory.tamper(&key.path(), Some(bytes.into()));
    }

    pub fn offer(&self, key: &Key, bytes: impl Into<Bytes>) {
        if self.memory.object(&key.path()).is_none() {
            self.memory.tamper(&key.path(), Some(bytes.into()));
        }
    }

    /// The whole index of a generation; `None` if a page of it cannot be read.
    fn index(&self, manifest: &Manifest) -> Option<Index> {
        index(manifest, |key| Some(self.memory.object(&key.path()).unwrap()))
    }

    /// Makes a generation as rebuild does, with the permissions of its role.
    pub fn forge(
        &self,
        edits: &[TargetEdit],
        renew: &[RoleName],
        junk_pages: bool,
        twist: impl Fn(&mut Manifest),
    ) -> Manifest {
        let base = self.manifest(self.newest());
        let index = self.index(&base).unwrap();
        let config = &self.ports.config;
        let recorded = RecordedPolicy::new(&config.expiry, config.max_targets_per_bin.get());
        let policy = Policy {
            recorded,
            deepest_bin: DEEPEST_BIN,
            removals: None,
            now: time::whole_seconds(self.ports.clock.now()),
        };
        let renew: BTreeSet<RoleName> = renew.iter().cloned().collect();
        let parties = finish(read_parties(&*self.ports.store, &base)).unwrap();
        let others = Others {
            parties,
            digest: base.parties,
            decisions: base.decisions,
            ..Others::default()
        };
        let mut folding =
            Folding::new(&base, index, edits, &renew, base.bins_keys(), &others, policy).unwrap();
        for (role, entry) in folding.wanted().unwrap() {
            let bytes = self.memory.object(&Key::Draft(entry.draft).path()).unwrap();
            let document = Draft::from_bytes(role, &bytes).unwrap();
            for draft in folding.fold(&document).unwrap() {
                self.offer(&Key::Draft(draft.digest()), draft.bytes().clone());
            }
        }
        let Next { mut manifest, pages } = folding.finish().unwrap();
        for page in &pages {
            let bytes = if junk_pages { Bytes::from_static(b"junk") } else { page.bytes().clone() };
            self.offer(&Key::Page(page.digest()), bytes);
        }
        twist(&mut manifest);
        self.create(&Key::Manifest(manifest.generation), json::to_vec(&manifest).unwrap());
        self.memory.send_raw(Queue::Sign, &Message::Sign.to_body().unwrap());
        manifest
    }

    /// Whether devices see `name` with these bytes.
    pub fn shows(&self, name: &str, bytes: &str) -> bool {
        let manifest = self.manifest(self.published());
        let Some(index) = self.index(&manifest) else { return false };
        let wanted = Sha256::of(bytes.as_bytes());
        index.entries().any(|(role, entry)| {
            let key = Key::Metadata { role, version: entry.document.version };
            let document: schema::Signed<Targets> =
                serde_json::from_slice(&self.memory.object(&key.path()).unwrap()).unwrap();
            document.signed.targets.iter().any(|(found, target)| {
                found.raw() == name && target.hashes.sha256[..] == wanted.as_bytes()[..]
            })
        })
    }

    pub fn say(&self) {
        for failure in self.failures.lock().unwrap().iter().take(12) {
            println!("   failure: {failure}");
        }
    }
}

/// An edit that sets a target.
pub fn set(name: &str, bytes: &str, version: Option<&str>) -> TargetEdit {
    let content = Content {
        sha256: Sha256::of(bytes.as_bytes()),
        length: bytes.len() as u64,
        custom: Custom::new(),
    };
    TargetEdit {
        name: name.parse().unwrap(),
        version: version.map(str::to_owned),
        uploaded: None,
        edit: Edit::Set(content),
    }
}
