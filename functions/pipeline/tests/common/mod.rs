//! What the stages' tests share.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod schedule;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tough::schema::key::Key as PublicKey;
use tough::schema::{Root, Signature, Targets};
use tough::sign::Sign;
use tufline_pipeline::Deadline;
use tufline_pipeline::Ports;
use tufline_pipeline::ReadingMemory;
use tufline_pipeline::dispatch::handle;
use tufline_store::memory::{Control, Fate, Memory, Request};
use tufline_store::{
    Change, ErrorKind, Key, Message, OnlineRole, Queue, Signer, StoreError, VerifiedRoots,
};
use tufline_tuf::index::Page;
use tufline_tuf::root::same_key;
use tufline_tuf::{Config, Draft, Index, Manifest, RoleKeys, RoleName, Time};

/// All ports in memory.
pub fn ports(memory: &Arc<Memory>, config: Config) -> Ports {
    Ports {
        store: Arc::new(VerifiedRoots::new(Arc::clone(memory) as _, None)),
        uploads: Arc::clone(memory) as _,
        deliveries: Arc::clone(memory) as _,
        blobs: Arc::clone(memory) as _,
        queues: Arc::clone(memory) as _,
        signer: Arc::clone(memory) as _,
        events: Arc::clone(memory) as _,
        clock: Arc::clone(memory) as _,
        config: Arc::new(config),
        reading: ReadingMemory::default(),
        deadline: Deadline::never(),
    }
}

/// A new private key.
pub fn key() -> Arc<EcdsaKeyPair> {
    Arc::new(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap())
}

/// A signer whose online keys come and go.
pub struct Holding(pub Mutex<BTreeMap<OnlineRole, Vec<Arc<EcdsaKeyPair>>>>);

impl Holding {
    /// Makes it with one key for each role.
    pub fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(
            OnlineRole::ALL.into_iter().map(|role| (role, vec![key()])).collect(),
        )))
    }

    /// Signs a document of `targets` as people would, with the oldest of its keys.
    pub fn sign_targets(&self, root: &Root, draft: &Draft<Targets>) -> Bytes {
        let pair = Arc::clone(&self.0.lock().unwrap()[&OnlineRole::Targets][0]);
        let sig =
            EcdsaKeyPair::sign(&pair, &SystemRandom::new(), &draft.message().unwrap()).unwrap();
        let signature = Signature {
            keyid: pair.tuf_key().key_id().unwrap(),
            sig: sig.as_ref().to_vec().into(),
        };
        let keys = RoleKeys::in_root(root, &RoleName::targets()).unwrap();
        draft.clone().sign(vec![signature], &keys).unwrap().bytes().clone()
    }

    /// Adds a key for a role.
    pub fn add(&self, role: OnlineRole) {
        self.0.lock().unwrap().get_mut(&role).unwrap().push(key());
    }

    /// Removes keys of a role.
    pub fn remove(&self, role: OnlineRole, keys: &[PublicKey]) {
        let mut held = self.0.lock().unwrap();
        held.get_mut(&role)
            .unwrap()
            .retain(|pair| !keys.iter().any(|key| same_key(key, &pair.tuf_key())));
        assert!(!held[&role].is_empty());
    }
}

#[async_trait]
impl Signer for Holding {
    async fn public_keys(&self, role: OnlineRole) -> Result<Vec<PublicKey>, StoreError> {
        Ok(self.0.lock().unwrap()[&role].iter().map(|pair| pair.tuf_key()).collect())
    }

    async fn sign(
        &self,
        role: OnlineRole,
        key: &PublicKey,
        message: &[u8],
    ) -> Result<Vec<u8>, StoreError> {
        let held = self.0.lock().unwrap();
        let pair = held[&role].iter().find(|pair| same_key(&pair.tuf_key(), key));
        let pair = pair.ok_or_else(|| {
            StoreError::new(ErrorKind::Missing, "sign with", "a key", "it is gone")
        })?;
        Ok(EcdsaKeyPair::sign(pair, &SystemRandom::new(), message).unwrap().as_ref().to_vec())
    }
}

/// The whole index of a generation, with the pages that `read` returns. `None` if a page is missing
/// or unreadable.
pub fn index(manifest: &Manifest, read: impl Fn(&Key) -> Option<Bytes>) -> Option<Index> {
    let mut index = Index::new(manifest.top.clone());
    loop {
        let wanted = index.wanted_below(|_| true);
        if wanted.is_empty() {
            return Some(index);
        }
        for (role, digest) in wanted {
            let page = Page::from_bytes(&role, &digest, &read(&Key::Page(digest))?).ok()?;
            index.give(role, page);
        }
    }
}

/// Runs one future to its end. Nothing else runs meanwhile.
pub fn finish<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return output;
        }
    }
}

/// Takes the changes that wait for rebuild out of the queue.
pub fn take_changes(memory: &Memory) -> Vec<Vec<Change>> {
    let mut messages = Vec::new();
    while let Some(message) = memory.take(Queue::Changes, 0) {
        if let Ok(Message::Changes(changes)) = Message::from_body(&message.body) {
            messages.push(changes);
        }
    }
    messages
}

/// More batches than this count as an endless loop.
const MOST_BATCHES: usize = 40;

/// Lets all stages answer each other's calls, except delayed ones. Each handles all messages that
/// wait for it. Returns how many batches that took. Failed calls are not repeated.
pub fn settle(memory: &Memory, ports: &Ports) -> usize {
    let mut batches = 0;
    let due = |queue| memory.take(queue, memory.first_due(queue)?).map(|message| message.body);
    loop {
        let waiting = Queue::ALL
            .map(|queue| (queue, std::iter::from_fn(|| due(queue)).collect::<Vec<String>>()));
        let before = batches;
        for (queue, bodies) in waiting.iter().filter(|(_, bodies)| !bodies.is_empty()) {
            let bodies: Vec<&str> = bodies.iter().map(String::as_str).collect();
            finish(handle(ports, *queue, "", Time::MAX, &bodies));
            batches += 1;
        }
        assert!(batches <= MOST_BATCHES, "the stages call each other without end");
        if batches == before {
            return batches;
        }
    }
}

/// Random faults. While they are on, `each` of a thousand requests fail. Of those that write, as
/// many lose their reply, and as many are tried again.
pub struct Faults {
    random: Mutex<StdRng>,
    each: u32,
    pub on: AtomicBool,
}

impl Faults {
    /// Faults that are still off.
    pub fn new(seed: u64, each: u32) -> Arc<Self> {
        Arc::new(Self {
            random: Mutex::new(StdRng::seed_from_u64(seed)),
            each,
            on: AtomicBool::new(false),
        })
    }

    /// The control for a world in memory.
    pub fn control(self: &Arc<Self>) -> Box<dyn Control> {
        Box::new(Shared(Arc::clone(self)))
    }
}

struct Shared(Arc<Faults>);

impl Control for Shared {
    fn fate(&self, request: &Request<'_>) -> Fate {
        if !self.0.on.load(Ordering::Relaxed) {
            return Fate::Done;
        }
        match self.0.random.lock().unwrap().random_range(0..1000_u32) / self.0.each {
            0 => Fate::Failed,
            1 if request.writes => Fate::ReplyLost,
            2 if request.writes => Fate::Retried,
            _ => Fate::Done,
        }
    }
}

/// The seeds to try. `TUFLINE_SEED` names one, `TUFLINE_SEEDS` sets how many instead of `usual`,
/// and `TUFLINE_MOST_SEEDS` limits how many.
#[expect(clippy::disallowed_methods, reason = "the flags of these tests")]
pub fn seeds(usual: u64) -> std::ops::Range<u64> {
    let flag =
        |name: &str| std::env::var(name).ok().map(|value| value.parse::<u64>().expect("a number"));
    match flag("TUFLINE_SEED") {
        Some(seed) => seed..seed + 1,
        None => {
            0..flag("TUFLINE_SEEDS")
                .unwrap_or(usual.min(flag("TUFLINE_MOST_SEEDS").unwrap_or(usual)))
        }
    }
}
