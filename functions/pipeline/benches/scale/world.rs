//! A repository in memory, and how it is filled.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::time::Instant;
use tufline_pipeline::Deadline;
use tufline_pipeline::Ports;
use tufline_pipeline::ReadingMemory;
use tufline_pipeline::operations::init::init;
use tufline_pipeline::stages::Turn;
use tufline_pipeline::stages::hash;
use tufline_pipeline::stages::publish;
use tufline_pipeline::stages::rebuild;
use tufline_pipeline::stages::sign;
use tufline_store::memory::{Calm, Memory, MemoryKeys};
use tufline_store::{Change, Hint, Message, Queue};
use tufline_tuf::config::TargetsPerBin;
use tufline_tuf::generation::FirstBins;
use tufline_tuf::{Config, Sha256, Time};

/// The prefix of the keys of uploads.
pub const PREFIX: &str = "targets/";

/// How many hints hash handles at once.
const HASHED_AT_ONCE: usize = 1000;

/// The name of a target. It is as long as usual, so that metadata files are as large as usual.
/// `tests/bench_lib/names.py` makes the same names.
pub fn name(number: usize) -> String {
    format!(
        "gateway/releases/2026-11/product-{:04}/board-b/firmware-{number:08}.bin",
        number % 1000
    )
}

/// A repository in memory.
pub struct World {
    memory: Arc<Memory>,
    config: Arc<Config>,
    began: Instant,
    start: Time,
}

impl World {
    /// Makes a repository whose first generation is published.
    #[expect(
        clippy::disallowed_methods,
        reason = "devices that check what was written have the true time"
    )]
    pub async fn new(max_targets_per_bin: TargetsPerBin) -> Self {
        let start = jiff::Timestamp::now();
        let memory = Memory::new(start, Arc::new(MemoryKeys::generate().unwrap()), Box::new(Calm));
        let config = Arc::new(Config { max_targets_per_bin, ..Config::default() });
        let world = Self { memory: Arc::new(memory), config, began: Instant::now(), start };
        let ports = world.ports();
        init(&ports, world.memory.keys().root(), FirstBins::default()).await.unwrap();
        sign(&ports).await.unwrap();
        publish(&ports).await.unwrap();
        world.forget_messages();
        world
    }

    pub fn memory(&self) -> Arc<Memory> {
        Arc::clone(&self.memory)
    }

    /// The ports as they are, neither counted nor slowed down.
    pub fn ports(&self) -> Ports {
        Ports {
            store: self.memory() as _,
            uploads: self.memory() as _,
            deliveries: self.memory() as _,
            blobs: self.memory() as _,
            queues: self.memory() as _,
            signer: self.memory() as _,
            events: self.memory() as _,
            clock: self.memory() as _,
            config: Arc::clone(&self.config),
            reading: ReadingMemory::default(),
            deadline: Deadline::never(),
        }
    }

    /// Sets the repository's clock by the wall clock.
    pub fn set_time(&self) {
        self.memory.set_time(self.start + self.began.elapsed());
    }

    /// Publishes the first `targets` targets, `batch` of them in each generation.
    pub async fn fill(&self, targets: usize, batch: usize) {
        let ports = self.ports();
        let numbers: Vec<usize> = (0..targets).collect();
        for numbers in numbers.chunks(batch) {
            self.set_time();
            for numbers in numbers.chunks(HASHED_AT_ONCE) {
                let hints: Vec<Hint> =
                    numbers.iter().map(|number| self.put(&name(*number))).collect();
                assert!(
                    hash(&ports, Turn::All, &hints).await.iter().all(Option::is_none),
                    "all is hashed"
                );
            }
            // What does not fit into one generation comes again.
            loop {
                let changes = self.take_changes();
                if changes.is_empty() {
                    break;
                }
                let rebuilt = rebuild(&ports, &changes).await.unwrap();
                assert!(rebuilt.failed.is_empty(), "all is folded in");
                sign(&ports).await.unwrap();
                publish(&ports).await.unwrap();
                self.forget_messages();
            }
        }
        if targets > 0 {
            self.check_published(&[name(0), name(targets / 2), name(targets - 1)]);
        }
    }

    fn put(&self, name: &str) -> Hint {
        let version = self.memory.put_upload(name, name.to_owned().into(), None, true);
        Hint { name: name.to_owned(), removed: false, version: Some(version) }
    }

    fn take_changes(&self) -> Vec<Vec<Change>> {
        let bodies = std::iter::from_fn(|| self.memory.take(Queue::Changes, 0));
        let changes = bodies.filter_map(|message| match Message::from_body(&message.body) {
            Ok(Message::Changes(changes)) => Some(changes),
            _ => None,
        });
        changes.collect()
    }

    fn forget_messages(&self) {
        self.memory.take_events();
        for queue in [Queue::Sign, Queue::Publish] {
            while self.memory.take(queue, 0).is_some() {}
        }
    }

    /// How many messages wait in all queues.
    pub fn calls(&self) -> usize {
        Queue::ALL.into_iter().map(|queue| self.memory.queued(queue)).sum()
    }

    /// Uploads as a build system does, with the SHA-256, and sends S3's event.
    pub fn upload(&self, name: &str, bytes: &[u8]) {
        let version = self.memory.put_upload(name, bytes.to_vec().into(), None, true);
        let event = json!({"Records": [{
            "eventName": "ObjectCreated:Put", "eventSource": "aws:s3", "awsRegion": "x", "eventVersion": "2.1",
            "eventTime": "2026-01-01T00:00:00Z", "userIdentity": {}, "requestParameters": {}, "responseElements": {},
            "s3": {"bucket": {"name": "uploads"}, "object": {"key": format!("{PREFIX}{name}"), "versionId": version}}
        }]});
        self.memory.send_raw(Queue::Uploads, &event.to_string());
    }

    // What devices see

    /// Reads a file in the metadata folder.
    pub fn metadata(&self, file: &str) -> bytes::Bytes {
        self.memory
            .object(&format!("metadata/{file}"))
            .unwrap_or_else(|| panic!("there is no {file}"))
    }

    fn signed(&self, file: &str) -> Value {
        let mut document: Value = serde_json::from_slice(&self.metadata(file)).unwrap();
        document["signed"].take()
    }

    /// The published generation.
    pub fn generation(&self) -> u64 {
        self.signed("timestamp.json")["meta"]["snapshot.json"]["version"].as_u64().unwrap()
    }

    /// The published roles of the targets family, and their versions.
    pub fn roles(&self) -> BTreeMap<String, u64> {
        let snapshot = self.signed(&format!("{}.snapshot.json", self.generation()));
        let files = snapshot["meta"].as_object().unwrap().iter();
        files
            .map(|(file, meta)| {
                (file.trim_end_matches(".json").to_owned(), meta["version"].as_u64().unwrap())
            })
            .collect()
    }

    /// Panics unless devices see each of the targets as it was last uploaded.
    pub fn check_published(&self, names: &[String]) {
        let roles = self.roles();
        let mut by_leaf: BTreeMap<String, Vec<&String>> = BTreeMap::new();
        for name in names {
            by_leaf.entry(leaf(&roles, name)).or_default().push(name);
        }
        for (role, names) in by_leaf {
            let document = self.signed(&format!("{}.{role}.json", roles[&role]));
            for name in names {
                let sha256 =
                    document["targets"][name]["hashes"]["sha256"].as_str().map(str::to_owned);
                assert_eq!(sha256, self.uploaded(name), "{name} in {role}");
            }
        }
    }

    fn uploaded(&self, name: &str) -> Option<String> {
        // This bench uploads only two contents: the name itself, or the name changed.
        let known = [name.to_owned(), changed(name)].map(|content| Sha256::of(content.as_bytes()));
        let stored = known.into_iter().rev().find(|sha256| self.memory.blob(sha256).is_some());
        stored.map(|sha256| sha256.to_string())
    }

    /// The sizes of the files that devices may ask for now.
    pub fn sizes(&self) -> Value {
        let (roles, generation) = (self.roles(), self.generation());
        let lengths = roles
            .iter()
            .map(|(role, version)| self.metadata(&format!("{version}.{role}.json")).len());
        let snapshot = self.metadata(&format!("{generation}.snapshot.json")).len();
        let largest = lengths.clone().max().unwrap_or(0);
        let published = lengths.sum::<usize>() + snapshot;
        json!({
            "roles": roles.len(), "snapshot_bytes": snapshot, "largest_role_bytes": largest, "published_bytes": published
        })
    }

    /// The size of everything stored, older versions too, except the bytes of targets.
    pub fn stored(&self) -> Value {
        let mut folders: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        for (path, contents) in self.memory.history() {
            let (objects, bytes) =
                folders.entry(path.split('/').next().unwrap_or_default().to_owned()).or_default();
            *objects += 1;
            *bytes += contents.last().map_or(0, |content| content.len() as u64);
        }
        let folders = folders.into_iter().map(|(folder, (objects, bytes))| {
            (folder, json!({"objects": objects, "bytes": bytes}))
        });
        json!({"stored": folders.collect::<serde_json::Map<String, Value>>(), "generations": self.generation()})
    }
}

/// The content of a target after it was changed.
pub fn changed(name: &str) -> String {
    format!("{name}, changed")
}

/// The role that lists `name`: the deepest one on the way to it.
pub fn leaf(roles: &BTreeMap<String, u64>, name: &str) -> String {
    let digits = Sha256::of(name.as_bytes()).to_string();
    let bins = (1..=digits.len()).map(|length| format!("bin-{}", &digits[..length]));
    bins.take_while(|bin| roles.contains_key(bin)).last().unwrap_or_else(|| "targets".into())
}
