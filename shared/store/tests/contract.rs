//! Runs the ports' contracts over the in-memory ports.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::executor::block_on;
use serde_json::Value;
use tufline_store::contract::{self, EventsReader, QueuesReader, Uploader};
use tufline_store::memory::{Calm, Control, Fate, Memory, MemoryKeys, Request};
use tufline_store::{
    Blobs, CachedStore, Document, Events, Key, Message, Queue, Queues, Store, Uploads,
    VerifiedRoots, Written,
};

struct World {
    memory: Memory,
    sent: Mutex<Vec<Value>>,
}

fn world() -> World {
    let keys = Arc::new(MemoryKeys::generate().unwrap());
    let memory = Memory::new("2026-01-01T00:00:00Z".parse().unwrap(), keys, Box::new(Calm));
    World { memory, sent: Mutex::default() }
}

#[test]
fn store() {
    let world = world();
    block_on(contract::store(&world.memory, &world.memory));
}

#[test]
fn cached_store() {
    let world = world();
    let memory = Arc::new(world.memory);
    // Room for some of the objects only.
    block_on(contract::store(&CachedStore::new(memory.clone(), 100_000), &*memory));
}

#[test]
fn verified_roots_store() {
    let memory = Arc::new(world().memory);
    block_on(contract::store(&VerifiedRoots::new(memory.clone(), None), &*memory));
}

/// A [`Control`] that counts requests.
#[derive(Clone, Default)]
struct Counting(Arc<AtomicUsize>);

impl Control for Counting {
    fn fate(&self, _: &Request<'_>) -> Fate {
        self.0.fetch_add(1, Ordering::Relaxed);
        Fate::Done
    }
}

#[test]
fn what_never_changes_is_read_once() {
    let requests = Counting::default();
    let keys = Arc::new(MemoryKeys::generate().unwrap());
    let memory =
        Memory::new("2026-01-01T00:00:00Z".parse().unwrap(), keys, Box::new(requests.clone()));
    let memory = Arc::new(memory);
    let record = |key: &Key| Document::record(key.clone(), &"x").unwrap();
    for (key, kept) in [(Key::Manifest(1), true), (Key::Announced, false)] {
        let (creator, reader) =
            (CachedStore::new(memory.clone(), 100_000), CachedStore::new(memory.clone(), 100_000));
        assert_eq!(block_on(creator.bytes(&key)).unwrap(), None);
        assert_eq!(block_on(creator.create(&record(&key))).unwrap(), Written::Done);
        // An object that the store finds may have been made by anybody, so it is not kept.
        assert_eq!(block_on(reader.create(&record(&key))).unwrap(), Written::Lost);
        for (store, first) in [(creator, 0), (reader, 1)] {
            let before = requests.0.load(Ordering::Relaxed);
            for _ in 0..3 {
                assert!(
                    block_on(store.bytes(&key)).unwrap().is_some()
                        && block_on(store.exists(&key)).unwrap()
                );
            }
            assert_eq!(
                requests.0.load(Ordering::Relaxed) - before,
                if kept { first } else { 6 },
                "{key}"
            );
        }
    }
}

#[test]
fn signer() {
    block_on(contract::signer(&world().memory));
}

#[async_trait]
impl Uploader for World {
    fn uploads(&self) -> &dyn Uploads {
        &self.memory
    }

    fn blobs(&self) -> &dyn Blobs {
        &self.memory
    }

    async fn put(&self, name: &str, bytes: &[u8], custom: Option<&str>) {
        self.memory.put_upload(name, bytes.to_vec().into(), custom, false);
    }

    async fn remove(&self, name: &str) {
        self.memory.remove_upload(name);
    }

    fn keeps_versions(&self) -> bool {
        true
    }
}

#[test]
fn uploads_and_blobs() {
    for computes_checksums in [true, false] {
        let world = world();
        world.memory.compute_checksums(computes_checksums);
        block_on(contract::uploads(&world));
    }
}

#[test]
fn chunks() {
    let scratch = tempfile::tempdir().unwrap();
    block_on(contract::chunks(&world().memory, scratch.path()));
}

#[async_trait]
impl QueuesReader for World {
    fn queues(&self) -> &dyn Queues {
        &self.memory
    }

    /// Waits by moving the world's clock, not ours.
    async fn receive(&self, queue: Queue, wait: Duration) -> Vec<Message> {
        if self.memory.first_due(queue).is_none() {
            self.memory.pass(wait.as_secs());
        }
        let due = std::iter::from_fn(|| self.memory.take(queue, self.memory.first_due(queue)?));
        due.map(|message| Message::from_body(&message.body).unwrap()).collect()
    }

    async fn bury(&self, queue: Queue, body: &str) -> bool {
        self.memory.send_raw(queue, body);
        let message = self.memory.take(queue, 0).unwrap();
        self.memory.put_back(queue, message, 1);
        true
    }
}

#[test]
fn queues() {
    block_on(contract::queues(&world()));
}

#[async_trait]
impl EventsReader for World {
    fn events(&self) -> &dyn Events {
        &self.memory
    }

    async fn sent(&self) -> Vec<Value> {
        let events = self.memory.take_events();
        let mut sent = self.sent.lock().unwrap();
        sent.extend(events.iter().map(|event| serde_json::to_value(event).unwrap()));
        sent.clone()
    }
}

#[test]
fn events() {
    block_on(contract::events(&world()));
}
