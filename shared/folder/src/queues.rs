//! The queues between the stages, in memory.
//!
//! They need no durability: a message is only a hint, and what was lost with the process is looked at again at its next
//! start. So nothing is ever given up on either: a message that fails comes back, later each time.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use tufline_store::{ErrorKind, Hint, Letter, Message, Queue, Queues, Result, StoreError, VersionId, Waiting};

use crate::lock::lock;

/// How long a message waits after it has failed for the first time. It doubles with each failure.
const FIRST_RETRY: Duration = Duration::from_millis(200);

/// The longest that a failed message waits: the time after which something mended is noticed at the latest.
const LAST_RETRY: Duration = Duration::from_secs(30);

/// [`Queues`] within this process. Clones are the same queues.
///
/// A message of several hints is taken apart: each hint is delivered, and fails, for itself. Hints about the same name
/// and version that wait are one, and so are the wake-up calls to sign and to publish; a new call does not cut short the
/// pause of one that failed.
///
/// Hints are handed out in turns: one of each top folder before the next of any. However many uploads wait in a folder,
/// one in another is in the next batch.
#[derive(Debug, Clone, Default)]
pub struct LocalQueues(Arc<[OneQueue; 5]>);

#[derive(Debug, Default)]
struct OneQueue {
    state: Mutex<QueueState>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct QueueState {
    /// What is not due yet, or wasn't when somebody last took messages.
    later: BTreeMap<DueAt, QueueEntry>,
    /// What is due, in the order in which it is handed out.
    ready: BTreeMap<QueueTurn, QueueEntry>,
    /// Where the entry with this identity is. Entries without an identity aren't in it.
    known: HashMap<Identity, QueuePlace>,
    /// The turn of what was handed out last, and each top folder's last turn, if that is still to come.
    turn: u64,
    turns: HashMap<String, u64>,
    /// The large uploads in hand, each with what came about it meanwhile: two runs at once would read the same.
    at_work: HashMap<Identity, Option<QueueEntry>>,
    in_hand: u64,
    sent: u64,
}

/// When a message is due, and its number among all that were sent.
type DueAt = (Instant, u64);

/// The turn in which a message is handed out, and its number.
type QueueTurn = (u64, u64);

#[derive(Debug, Clone, Copy)]
enum QueuePlace {
    Later(DueAt),
    Ready(QueueTurn),
}

#[derive(Debug)]
struct QueueEntry {
    message: Message,
    failures: u32,
}

/// What makes two waiting messages one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Identity {
    Hint { name: String, version: Option<VersionId> },
    WakeUp,
}

/// A message in the hands of a stage. Dropped without [`Delivery::done`], it comes back later.
#[derive(Debug)]
pub struct Delivery {
    queues: LocalQueues,
    message: Message,
    failures: u32,
    is_done: bool,
}

impl Delivery {
    /// The message. For the queue of uploads it has exactly one hint.
    #[must_use]
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// How often it has failed.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// It was handled and is done with.
    pub fn done(mut self) {
        self.is_done = true;
    }

    /// It failed: it comes back after 0.2 s, and after twice as long each time, up to 30 s. The same as dropping it.
    pub fn return_later(self) {
        drop(self);
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        let again = (!self.is_done)
            .then(|| QueueEntry { message: self.message.clone(), failures: self.failures.saturating_add(1) });
        self.queues.let_go(&self.message, again, retry_after(self.failures));
    }
}

fn retry_after(failures: u32) -> Duration {
    FIRST_RETRY.saturating_mul(2_u32.saturating_pow(failures)).min(LAST_RETRY)
}

impl LocalQueues {
    /// Empty queues.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Up to `limit` messages of `queue` that are due. Waits for the first of them, but not longer than `wait`.
    ///
    /// A FIFO queue hands out one message at a time, and none while one is in hand.
    pub async fn receive(&self, queue: Queue, limit: usize, wait: Duration) -> Vec<Delivery> {
        let one = self.one(queue);
        let until = Instant::now() + wait;
        loop {
            let arrived = one.arrived.notified();
            tokio::pin!(arrived);
            // From here on nothing that arrives is missed.
            arrived.as_mut().enable();
            let now = Instant::now();
            let (taken, next) = lock(&one.state).take(queue, limit, now);
            if !taken.is_empty() || now >= until {
                return taken
                    .into_iter()
                    .map(|QueueEntry { message, failures }| Delivery {
                        queues: self.clone(),
                        message,
                        failures,
                        is_done: false,
                    })
                    .collect();
            }
            // Whether it arrived or the time is up, the next turn looks.
            let _ = timeout_at(next.unwrap_or(until).min(until), arrived).await;
        }
    }

    /// How many messages of `queue` are in hand, or would be if anybody took them: all but those that wait after a failure.
    #[must_use]
    pub fn due(&self, queue: Queue) -> u64 {
        let mut state = lock(&self.one(queue).state);
        state.ripen(Instant::now());
        state.ready.len() as u64 + state.in_hand
    }

    fn one(&self, queue: Queue) -> &OneQueue {
        let [uploads, large, changes, sign, publish] = &*self.0;
        match queue {
            Queue::Uploads => uploads,
            Queue::Large => large,
            Queue::Changes => changes,
            Queue::Sign => sign,
            Queue::Publish => publish,
        }
    }

    fn put(&self, message: Message, delay: Duration) {
        let one = self.one(message.queue());
        let due = Instant::now() + delay;
        {
            let mut state = lock(&one.state);
            match message {
                Message::Uploads(hints) => {
                    for hint in hints {
                        state.put(QueueEntry { message: Message::Uploads(vec![hint]), failures: 0 }, due);
                    }
                }
                message => state.put(QueueEntry { message, failures: 0 }, due),
            }
        }
        one.arrived.notify_waiters();
    }

    fn let_go(&self, message: &Message, again: Option<QueueEntry>, delay: Duration) {
        let (one, identity) = (self.one(message.queue()), identity(message));
        {
            let mut state = lock(&one.state);
            state.in_hand = state.in_hand.saturating_sub(1);
            let waited = identity.and_then(|identity| state.at_work.remove(&identity).flatten());
            if let Some(entry) = again {
                state.put(entry, Instant::now() + delay);
            }
            if let Some(entry) = waited {
                state.put(entry, Instant::now());
            }
        }
        one.arrived.notify_waiters();
    }
}

impl QueueState {
    /// Adds `entry`, or merges it into the one that waits for the same.
    fn put(&mut self, entry: QueueEntry, due: Instant) {
        let identity = identity(&entry.message);
        if let Some(waits) = identity.as_ref().and_then(|identity| self.at_work.get_mut(identity)) {
            *waits = Some(match waits.take() {
                Some(other) => other.merge(entry),
                None => entry,
            });
            return;
        }
        let is_call = identity == Some(Identity::WakeUp);
        let waiting = identity.as_ref().and_then(|identity| self.known.get(identity).copied());
        let (entry, due) = match waiting {
            Some(QueuePlace::Ready(turn)) => {
                // Its turn comes anyway.
                if let Some(other) = self.ready.remove(&turn) {
                    self.ready.insert(turn, other.merge(entry));
                }
                return;
            }
            Some(QueuePlace::Later(at)) => match self.later.remove(&at) {
                // A call that failed is not hurried by another: sign and publish call each other while one can't go on.
                Some(other) if is_call && (other.failures > 0 || entry.failures > 0) => {
                    (QueueEntry { failures: other.failures.max(entry.failures), ..entry }, due.max(at.0))
                }
                // Whichever is due first, and as fresh as the fresher: a new hint about a name that keeps failing is
                // looked at at once.
                Some(other) => (other.merge(entry), due.min(at.0)),
                None => (entry, due),
            },
            None => (entry, due),
        };
        self.sent += 1;
        let at = (due, self.sent);
        if let Some(identity) = identity {
            self.known.insert(identity, QueuePlace::Later(at));
        }
        self.later.insert(at, entry);
    }

    /// Gives their turns to what is due at `now`, in the order in which it came.
    fn ripen(&mut self, now: Instant) {
        while let Some(first) = self.later.first_entry().filter(|first| first.key().0 <= now) {
            let ((_, number), entry) = first.remove_entry();
            let turn = match entry.folder() {
                Some(folder) => {
                    let last = self.turns.entry(folder.to_owned()).or_default();
                    *last = (*last).max(self.turn) + 1;
                    *last
                }
                None => self.turn + 1,
            };
            if let Some(identity) = identity(&entry.message) {
                self.known.insert(identity, QueuePlace::Ready((turn, number)));
            }
            self.ready.insert((turn, number), entry);
        }
    }

    /// Takes what is due at `now`; answers also when the next one is.
    fn take(&mut self, queue: Queue, limit: usize, now: Instant) -> (Vec<QueueEntry>, Option<Instant>) {
        self.ripen(now);
        let mut taken = Vec::new();
        loop {
            let busy = queue.is_fifo() && self.in_hand > 0;
            if busy || taken.len() >= limit {
                return (taken, None);
            }
            let Some(((turn, _), entry)) = self.ready.pop_first() else {
                self.turns.clear();
                return (taken, self.later.first_key_value().map(|((due, _), _)| *due));
            };
            self.turn = turn;
            if let Some(identity) = identity(&entry.message) {
                self.known.remove(&identity);
                if queue == Queue::Large {
                    self.at_work.insert(identity, None);
                }
            }
            self.in_hand += 1;
            taken.push(entry);
        }
    }
}

impl QueueEntry {
    /// The top folder of the name that a hint is about; the same for all names in none.
    fn folder(&self) -> Option<&str> {
        let hint = match &self.message {
            Message::Uploads(hints) => hints.first()?,
            Message::Large(hint) => hint,
            Message::Deliveries(_) | Message::Changes(_) | Message::Sign | Message::Publish => return None,
        };
        Some(hint.name.split_once('/').map_or("", |(folder, _)| folder))
    }

    fn merge(self, later: Self) -> Self {
        let message = match (self.message, later.message) {
            (Message::Large(one), Message::Large(other)) => Message::Large(merge(&one, other)),
            (Message::Uploads(one), Message::Uploads(other)) => {
                Message::Uploads(one.into_iter().zip(other).map(|(one, other)| merge(&one, other)).collect())
            }
            (_, message) => message,
        };
        Self { message, failures: self.failures.min(later.failures) }
    }
}

/// One hint for two about the same. A removal among them stays one: if the name is gone then, that was meant.
fn merge(one: &Hint, other: Hint) -> Hint {
    Hint { removed: one.removed || other.removed, ..other }
}

fn identity(message: &Message) -> Option<Identity> {
    let of = |hint: &Hint| Identity::Hint { name: hint.name.clone(), version: hint.version.clone() };
    match message {
        Message::Uploads(hints) => hints.first().map(of),
        Message::Large(hint) => Some(of(hint)),
        Message::Deliveries(_) | Message::Changes(_) => None,
        Message::Sign | Message::Publish => Some(Identity::WakeUp),
    }
}

#[async_trait]
impl Queues for LocalQueues {
    async fn send(&self, message: &Message, delay: Duration) -> Result<()> {
        let delay = if message.queue().is_fifo() { Duration::ZERO } else { delay };
        self.put(message.clone(), delay);
        Ok(())
    }

    async fn dead_letters(&self, _queue: Queue, _limit: usize) -> Result<Vec<Letter>> {
        Ok(Vec::new())
    }

    async fn redrive(&self, queue: Queue, letter: &Letter) -> Result<()> {
        let message = Message::from_body(&letter.body).and_then(|message| message.of(queue));
        let unreadable = |error| StoreError::from_source(ErrorKind::Invalid, "send to", queue.name(), error);
        let message = message.map_err(unreadable)?;
        self.send(&message, Duration::ZERO).await
    }

    async fn waiting(&self, queue: Queue) -> Result<Waiting> {
        let state = lock(&self.one(queue).state);
        let waiting = state.later.len() + state.ready.len() + state.at_work.values().flatten().count();
        Ok(Waiting { messages: waiting as u64 + state.in_hand, dead_letters: 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tufline_tuf::RoleName;

    const LONG: Duration = Duration::from_hours(1);

    fn hint(name: &str, removed: bool) -> Hint {
        Hint { name: name.into(), removed, version: None }
    }

    fn hints(deliveries: &[Delivery]) -> Vec<Hint> {
        let hint = |delivery: &Delivery| match delivery.message() {
            Message::Uploads(hints) => hints.clone(),
            other => panic!("{other:?}"),
        };
        deliveries.iter().flat_map(hint).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn hints_about_one_name_are_one_and_a_removal_stays() {
        let queues = LocalQueues::new();
        let versioned = Hint { version: Some(VersionId("1".into())), ..hint("a", false) };
        queues.send(&Message::Uploads(vec![hint("a", false), hint("b", true)]), Duration::ZERO).await.unwrap();
        queues.send(&Message::Uploads(vec![hint("a", true), hint("b", false)]), Duration::ZERO).await.unwrap();
        queues.send(&Message::Uploads(vec![versioned.clone()]), Duration::ZERO).await.unwrap();
        assert_eq!(queues.waiting(Queue::Uploads).await.unwrap().messages, 3);
        let received = queues.receive(Queue::Uploads, 10, Duration::ZERO).await;
        assert_eq!(hints(&received), [hint("a", true), hint("b", true), versioned], "each version gets its answer");
        assert_eq!(queues.waiting(Queue::Uploads).await.unwrap().messages, 3, "in hand");
        received.into_iter().for_each(Delivery::done);
        assert_eq!(queues.waiting(Queue::Uploads).await.unwrap().messages, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_message_comes_back_later_each_time() {
        let queues = LocalQueues::new();
        queues.send(&Message::Uploads(vec![hint("a", false)]), Duration::ZERO).await.unwrap();
        let mut waits = Vec::new();
        for failures in 0..10 {
            let before = Instant::now();
            let delivery = queues.receive(Queue::Uploads, 1, LONG).await.pop().unwrap();
            assert_eq!(delivery.failures(), failures);
            waits.push(before.elapsed().as_millis());
            delivery.return_later();
        }
        // Timers of tokio tick in milliseconds.
        assert!(
            waits
                .iter()
                .zip([0, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000])
                .all(|(wait, expected)| { wait.abs_diff(expected) <= 1 }),
            "{waits:?}"
        );
        // A new hint is looked at at once, and once only.
        queues.send(&Message::Uploads(vec![hint("a", true)]), Duration::ZERO).await.unwrap();
        let received = queues.receive(Queue::Uploads, 10, Duration::ZERO).await;
        assert_eq!(hints(&received), [hint("a", true)]);
        assert_eq!(received[0].failures(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn delays_are_kept_and_arrivals_wake() {
        let queues = LocalQueues::new();
        let renew = tufline_store::Change::Renew { role: RoleName::snapshot(), version: 1 };
        queues.send(&Message::Changes(vec![renew]), Duration::from_secs(5)).await.unwrap();
        assert!(queues.receive(Queue::Changes, 1, Duration::from_secs(4)).await.is_empty());
        assert_eq!(queues.receive(Queue::Changes, 1, LONG).await.len(), 1);

        let begin = Instant::now();
        let receiver = tokio::spawn({
            let queues = queues.clone();
            async move { queues.receive(Queue::Sign, 1, LONG).await.len() }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        queues.send(&Message::Sign, LONG).await.unwrap();
        assert_eq!(receiver.await.unwrap(), 1);
        assert!(begin.elapsed() < Duration::from_secs(2), "a FIFO queue knows no delay");
    }

    #[tokio::test(start_paused = true)]
    async fn each_folder_has_its_turn() {
        let queues = LocalQueues::new();
        let flood: Vec<Hint> = (0..1000).map(|number| hint(&format!("flood/{}/{number}", number % 7), false)).collect();
        queues.send(&Message::Uploads(flood), Duration::ZERO).await.unwrap();
        let first = queues.receive(Queue::Uploads, 64, Duration::ZERO).await;
        assert!(hints(&first).iter().all(|hint| hint.name.starts_with("flood/")), "nobody else wants a turn");
        for name in ["small/a", "b", "small/c", "other/d", "small/e"] {
            queues.send(&Message::Uploads(vec![hint(name, false)]), Duration::ZERO).await.unwrap();
        }
        let names = |received: &[Delivery]| hints(received).into_iter().map(|hint| hint.name).collect::<Vec<_>>();
        let next = names(&queues.receive(Queue::Uploads, 12, Duration::ZERO).await);
        let others: Vec<&str> = next.iter().map(String::as_str).filter(|name| !name.starts_with("flood/")).collect();
        assert_eq!(others, ["small/a", "b", "other/d", "small/c", "small/e"]);
        // Within a folder in the order in which they came, and none is lost.
        let rest = names(&queues.receive(Queue::Uploads, 2000, Duration::ZERO).await);
        let numbers = names(&first)
            .into_iter()
            .chain(next)
            .chain(rest)
            .filter_map(|name| name.strip_prefix("flood/").map(|name| name[2..].parse::<u32>().unwrap()));
        assert!(numbers.eq(0..1000));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_upload_of_a_flood_keeps_nobody_waiting() {
        let queues = LocalQueues::new();
        let flood: Vec<Hint> = (0..100).map(|number| hint(&format!("flood/{number}"), false)).collect();
        queues.send(&Message::Uploads(flood), Duration::ZERO).await.unwrap();
        assert_eq!(queues.due(Queue::Uploads), 100);
        let received = queues.receive(Queue::Uploads, 100, Duration::ZERO).await;
        assert_eq!(queues.due(Queue::Uploads), 100, "in hand");
        received.into_iter().for_each(Delivery::return_later);
        assert_eq!(queues.due(Queue::Uploads), 0);
        tokio::time::sleep(Duration::from_secs(1)).await;
        queues.send(&Message::Uploads(vec![hint("small/a", false)]), Duration::ZERO).await.unwrap();
        let next = queues.receive(Queue::Uploads, 2, Duration::ZERO).await;
        assert!(hints(&next).contains(&hint("small/a", false)));
    }

    #[tokio::test(start_paused = true)]
    async fn of_a_large_upload_there_is_one_run_at_a_time() {
        let queues = LocalQueues::new();
        queues.send(&Message::Large(hint("a", false)), Duration::ZERO).await.unwrap();
        let received = queues.receive(Queue::Large, 10, Duration::ZERO).await;
        for removed in [false, true, false] {
            queues.send(&Message::Large(hint("a", removed)), Duration::ZERO).await.unwrap();
        }
        assert!(queues.receive(Queue::Large, 10, Duration::ZERO).await.is_empty(), "one run at a time");
        received.into_iter().for_each(Delivery::done);
        let received = queues.receive(Queue::Large, 10, Duration::ZERO).await;
        assert_eq!(received.len(), 1);
        assert_eq!(*received[0].message(), Message::Large(hint("a", true)));
    }

    #[tokio::test(start_paused = true)]
    async fn wake_up_calls_are_one_and_one_at_a_time() {
        let queues = LocalQueues::new();
        for _ in 0..3 {
            queues.send(&Message::Sign, Duration::ZERO).await.unwrap();
            queues.send(&Message::Publish, Duration::ZERO).await.unwrap();
        }
        let first = queues.receive(Queue::Sign, 10, Duration::ZERO).await;
        assert_eq!(first.len(), 1);
        queues.send(&Message::Sign, Duration::ZERO).await.unwrap();
        assert!(queues.receive(Queue::Sign, 10, Duration::ZERO).await.is_empty(), "one is in hand");
        assert_eq!(queues.receive(Queue::Publish, 10, Duration::ZERO).await.len(), 1, "another queue");
        let second = tokio::spawn({
            let queues = queues.clone();
            async move { queues.receive(Queue::Sign, 10, LONG).await.len() }
        });
        tokio::time::sleep(Duration::from_millis(10)).await;
        first.into_iter().for_each(Delivery::done);
        assert_eq!(second.await.unwrap(), 1, "what came meanwhile is not lost");
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_does_not_hurry_one_that_failed() {
        let queues = LocalQueues::new();
        queues.send(&Message::Sign, Duration::ZERO).await.unwrap();
        let mut waits = Vec::new();
        for failures in 0..4 {
            let before = Instant::now();
            let delivery = queues.receive(Queue::Sign, 1, LONG).await.pop().unwrap();
            assert_eq!(delivery.failures(), failures);
            waits.push(before.elapsed().as_millis());
            // One calls while it is in hand, another once it has failed.
            queues.send(&Message::Sign, Duration::ZERO).await.unwrap();
            delivery.return_later();
            queues.send(&Message::Sign, Duration::ZERO).await.unwrap();
        }
        assert!(waits.iter().zip([0, 200, 400, 800]).all(|(wait, expected)| wait.abs_diff(expected) <= 1), "{waits:?}");
        assert_eq!(queues.waiting(Queue::Sign).await.unwrap().messages, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_cancelled_stage_loses_nothing() {
        let queues = LocalQueues::new();
        queues.send(&Message::Publish, Duration::ZERO).await.unwrap();
        drop(queues.receive(Queue::Publish, 1, Duration::ZERO).await);
        assert_eq!(queues.receive(Queue::Publish, 1, LONG).await.len(), 1);
    }
}
