//! All ports in memory, for tests: one world that can fail a request, lose its reply, repeat it, or delay it.

mod queues;
mod signer;
mod store;
mod uploads;

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::SignedDuration;
use tufline_tuf::{Sha256, Time};

use crate::event::Event;
use crate::key::VersionId;
use crate::message::Queue;
use crate::port::{Clock, Events, Result, StoreError, Stored};

pub use queues::QueuedMessage;
pub use signer::MemoryKeys;

/// A request that a port is about to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// As in [`StoreError::action`].
    pub action: &'static str,
    /// As in [`StoreError::place`].
    pub place: &'a str,
    /// Whether it changes anything.
    pub writes: bool,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is done and answered.
    Done,
    /// It fails and changes nothing.
    Failed,
    /// It is done and its reply is lost.
    ReplyLost,
    /// It is done, its reply is lost, and the SDK tries again: the answer is the second try's.
    Retried,
}

/// Decides when and how requests are carried out.
pub trait Control: Send + Sync {
    /// Waits for the request's turn. By default every request lets others go first, once.
    fn turn(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(Turn(false))
    }

    /// Decides the request's fate when its turn has come.
    fn fate(&self, request: &Request<'_>) -> Fate;
}

/// Nothing ever fails.
#[derive(Debug, Clone, Copy)]
pub struct Calm;

impl Control for Calm {
    fn fate(&self, _request: &Request<'_>) -> Fate {
        Fate::Done
    }
}

/// A future that is ready when it is polled for the second time.
struct Turn(bool);

impl Future for Turn {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.0 {
            return Poll::Ready(());
        }
        self.0 = true;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

/// A whole repository in memory: store, uploads, blobs, queues, keys, events and the time.
pub struct Memory {
    state: Mutex<State>,
    control: Box<dyn Control>,
    keys: Arc<MemoryKeys>,
}

struct State {
    now: Time,
    counter: u64,
    objects: BTreeMap<String, Stored>,
    /// Every content that each path ever had.
    history: BTreeMap<String, Vec<Bytes>>,
    uploads: BTreeMap<String, Vec<uploads::StoredVersion>>,
    blobs: BTreeMap<Sha256, Bytes>,
    incoming: BTreeMap<(String, VersionId), Bytes>,
    computes_checksums: bool,
    /// So many bytes [`crate::Blobs::keep`] copies in a call, and how many there are of each blob that isn't whole.
    copied_at_once: usize,
    partly: BTreeMap<Sha256, usize>,
    queues: BTreeMap<Queue, VecDeque<QueuedMessage>>,
    dead_letters: BTreeMap<Queue, VecDeque<QueuedMessage>>,
    events: Vec<Event>,
}

impl Memory {
    /// An empty world at `now` in which `control` decides what fails.
    #[must_use]
    pub fn new(now: Time, keys: Arc<MemoryKeys>, control: Box<dyn Control>) -> Self {
        let state = State {
            now,
            counter: 0,
            objects: BTreeMap::new(),
            history: BTreeMap::new(),
            uploads: BTreeMap::new(),
            blobs: BTreeMap::new(),
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

    /// Moves the time on.
    pub fn pass(&self, seconds: u64) {
        let mut state = self.state();
        state.now += SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
    }

    /// Sets the clock, to any time.
    pub fn set_time(&self, now: Time) {
        self.state().now = now;
    }

    /// Takes all events that were sent since the last call.
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

    /// Overwrites or removes an object as an intruder or an accident would.
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

    /// The private keys.
    #[must_use]
    pub fn keys(&self) -> &MemoryKeys {
        &self.keys
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries out a request as [`Control`] decides.
    async fn request<R>(
        &self,
        action: &'static str,
        place: &str,
        writes: bool,
        mut effect: impl FnMut(&mut State) -> R + Send,
    ) -> Result<R> {
        self.control.turn().await;
        let failed = || StoreError::new(action, place, "the request failed (a planned fault)");
        match self.control.fate(&Request { action, place, writes }) {
            Fate::Done => Ok(effect(&mut self.state())),
            Fate::Failed => Err(failed()),
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

impl State {
    fn next(&mut self) -> u64 {
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
        self.request("send to", "events", true, |state| state.events.extend_from_slice(events)).await
    }
}
