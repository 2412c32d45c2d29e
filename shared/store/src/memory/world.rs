//! The one world that all in-memory ports share.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::SignedDuration;
use tufline_tuf::{Sha256, Time};

use super::control::{Control, Fate, Request};
use super::keys::MemoryKeys;
use crate::error::{ErrorKind, StoreError};
use crate::event::Event;
use crate::key::VersionId;
use crate::message::Queue;
use crate::port::{Clock, Events, Result, Stored};

/// A version in the history of a name. Histories are kept oldest first.
#[derive(Debug, Clone)]
pub(super) struct StoredVersion {
    pub(super) id: VersionId,
    /// When it was stored; for a multipart upload, when it began.
    pub(super) modified: Time,
    /// `None` for a delete marker.
    pub(super) object: Option<StoredUpload>,
}

#[derive(Debug, Clone)]
pub(super) struct StoredUpload {
    pub(super) bytes: Bytes,
    pub(super) custom: Option<String>,
    pub(super) with_checksum: bool,
    pub(super) in_parts: bool,
}

/// A message that waits in a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuedMessage {
    /// The message as it was sent.
    pub body: String,
    /// How often it was delivered.
    pub receives: u32,
    /// From when on it may be delivered. The test that drives the stages may deliver it earlier,
    /// since a delay is no promise.
    pub due: Time,
    pub(super) id: u64,
}

/// A whole repository in memory: store, uploads, blobs, queues, keys, events and the time.
pub struct Memory {
    state: Mutex<WorldState>,
    control: Box<dyn Control>,
    pub(super) keys: Arc<MemoryKeys>,
}

pub(super) struct WorldState {
    pub(super) now: Time,
    pub(super) counter: u64,
    pub(super) objects: BTreeMap<String, Stored>,
    /// Every content that each path ever had.
    pub(super) history: BTreeMap<String, Vec<Bytes>>,
    pub(super) uploads: BTreeMap<String, Vec<StoredVersion>>,
    pub(super) blobs: BTreeMap<Sha256, Bytes>,
    pub(super) chunks: BTreeMap<Sha256, Bytes>,
    pub(super) incoming: BTreeMap<(String, VersionId), Bytes>,
    pub(super) computes_checksums: bool,
    /// How many bytes one call of [`crate::Blobs::keep`] copies.
    pub(super) copied_at_once: usize,
    /// How many bytes of each unfinished blob are copied.
    pub(super) partly: BTreeMap<Sha256, usize>,
    pub(super) queues: BTreeMap<Queue, VecDeque<QueuedMessage>>,
    pub(super) dead_letters: BTreeMap<Queue, VecDeque<QueuedMessage>>,
    pub(super) events: Vec<Event>,
}

impl Memory {
    /// Makes an empty world at the time `now`. `control` decides what fails.
    #[must_use]
    pub fn new(now: Time, keys: Arc<MemoryKeys>, control: Box<dyn Control>) -> Self {
        let state = WorldState {
            now,
            counter: 0,
            objects: BTreeMap::new(),
            history: BTreeMap::new(),
            uploads: BTreeMap::new(),
            blobs: BTreeMap::new(),
            chunks: BTreeMap::new(),
            incoming: BTreeMap::new(),
            computes_checksums: true,
            copied_at_once: usize::MAX,
            partly: BTreeMap::new(),
            queues: BTreeMap::new(),
            dead_letters: BTreeMap::new(),
            events: Vec::new(),
        };
        Self { state: Mutex::new(state), control, keys }
    }

    /// Moves the clock on by `seconds`.
    pub fn pass(&self, seconds: u64) {
        let mut state = self.state();
        state.now += SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
    }

    /// Sets the clock to any time.
    pub fn set_time(&self, now: Time) {
        self.state().now = now;
    }

    /// Returns all events sent since the last call.
    pub fn take_events(&self) -> Vec<Event> {
        std::mem::take(&mut self.state().events)
    }

    /// The stored object at a path, without any fault.
    #[must_use]
    pub fn object(&self, path: &str) -> Option<Bytes> {
        self.state().objects.get(path).map(|stored| stored.bytes.clone())
    }

    /// Every content that each path ever had, in order.
    #[must_use]
    pub fn history(&self) -> BTreeMap<String, Vec<Bytes>> {
        self.state().history.clone()
    }

    /// Overwrites or removes an object, as an intruder or an accident would.
    pub fn tamper(&self, path: &str, bytes: Option<Bytes>) {
        let mut state = self.state();
        match bytes {
            Some(bytes) => {
                let stored = state.stored(bytes);
                state.objects.insert(path.to_owned(), stored);
            }
            None => _ = state.objects.remove(path),
        }
    }

    /// All private keys of this world.
    #[must_use]
    pub fn keys(&self) -> &MemoryKeys {
        &self.keys
    }

    pub(super) fn state(&self) -> MutexGuard<'_, WorldState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries out a request as the [`Control`] decides.
    pub(super) async fn request<R>(
        &self,
        action: &'static str,
        place: &str,
        writes: bool,
        mut effect: impl FnMut(&mut WorldState) -> R + Send,
    ) -> Result<R> {
        self.control.turn().await;
        let failed = || {
            StoreError::new(ErrorKind::Retry, action, place, "the request failed (a planned fault)")
        };
        match self.control.fate(&Request { action, place, writes }) {
            Fate::Done => Ok(effect(&mut self.state())),
            Fate::Failed => Err(failed()),
            Fate::Denied => Err(StoreError::new(
                ErrorKind::Denied,
                action,
                place,
                "you may not (a planned refusal)",
            )),
            Fate::ReplyLost => {
                effect(&mut self.state());
                Err(failed())
            }
            Fate::Retried => {
                effect(&mut self.state());
                Ok(effect(&mut self.state()))
            }
        }
    }
}

impl WorldState {
    pub(super) fn next(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }
}

impl Clock for Memory {
    fn now(&self) -> Time {
        self.state().now
    }
}

#[async_trait]
impl Events for Memory {
    async fn send(&self, events: &[Event]) -> Result<()> {
        self.request("send to", "events", true, |state| state.events.extend_from_slice(events))
            .await
    }
}
