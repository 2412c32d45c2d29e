//! The queues between the stages, in memory.
//!
//! They need no durability: a message is only a hint, and after a restart the process looks at
//! everything again. They never give up on a message either: a failed message comes back, after a
//! growing pause.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use tufline_store::{
    ErrorKind, Hint, Letter, Message, Queue, Queues, Result, StoreError, VersionId, Waiting,
};

use crate::lock::lock;

/// How long a message waits after its first failure. The pause doubles with each further failure.
const FIRST_RETRY: Duration = Duration::from_millis(200);

/// The longest pause of a failed message: once its cause is fixed, it is noticed within this time.
const LAST_RETRY: Duration = Duration::from_secs(30);

/// [`Queues`] within this process. Clones share them.
///
/// A message of several hints is split: each hint is delivered, and fails, on its own. Waiting
/// hints about the same name and version are merged into one. So are the wake-up calls to sign and
/// to publish, but a new call does not shorten the pause of one that failed.
///
/// The top folders take turns: each gets one hint before any gets its next. However many uploads
/// wait in one folder, an upload in another is in the next batch.
#[derive(Debug, Clone, Default)]
pub struct LocalQueues(Arc<[OneQueue; 5]>);

#[derive(Debug, Default)]
struct OneQueue {
    state: Mutex<QueueState>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct QueueState {
    /// Entries that are not due yet, or were not when messages were last taken.
    later: BTreeMap<DueAt, QueueEntry>,
    /// Entries that are due, in the order in which they are handed out.
    ready: BTreeMap<QueueTurn, QueueEntry>,
    /// The place of each waiting entry that has an identity.
    known: HashMap<Identity, QueuePlace>,
    /// The turn of the last entry handed out, and the last turn that each top folder has got.
    turn: u64,
    turns: HashMap<String, u64>,
    /// The large uploads in hand, each with the hint that arrived about it meanwhile. That hint
    /// waits, since two runs at once would read the same bytes.
    at_work: HashMap<Identity, Option<QueueEntry>>,
    in_hand: u64,
    sent: u64,
}

/// When a message is due, and its number among all messages.
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

/// Two waiting messages with the same identity are merged.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Identity {
    Hint { name: String, version: Option<VersionId> },
    WakeUp,
}

/// A message that a stage is handling. If it is dropped without [`Delivery::done`], it comes back
/// later.
#[derive(Debug)]
pub struct Delivery {
    queues: LocalQueues,
    message: Message,
    failures: u32,
    is_done: bool,
}

impl Delivery {
    /// The message. In the queue of uploads it has exactly one hint.
    #[must_use]
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// How often the message has failed.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Removes the message: the stage has handled it.
    pub fn done(mut self) {
        self.is_done = true;
    }

    /// Returns the message after a failure: it comes back after 0.2 s, and after twice as long each
    /// further time, up to 30 s. Dropping it does the same.
    pub fn return_later(self) {
        drop(self);
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        let again = (!self.is_done).then(|| QueueEntry {
            message: self.message.clone(),
            failures: self.failures.saturating_add(1),
        });
        self.queues.let_go(&self.message, again, retry_after(self.failures));
    }
}

fn retry_after(failures: u32) -> Duration {
    FIRST_RETRY.saturating_mul(2_u32.saturating_pow(failures)).min(LAST_RETRY)
}

impl LocalQueues {
    /// Makes empty queues.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes up to `limit` messages of `queue` that are due. It waits for the first one, but no
    /// longer than `wait`.
    ///
    /// A FIFO queue hands out one message at a time, and none while one is being handled.
    pub async fn receive(&self, queue: Queue, limit: usize, wait: Duration) -> Vec<Delivery> {
        let one = self.one(queue);
        let until = Instant::now() + wait;
        loop {
            let arrived = one.arrived.notified();
            tokio::pin!(arrived);
            // From here on no arrival is missed.
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
            // The next iteration looks again, whether a message arrived or the time is up.
            let _ = timeout_at(next.unwrap_or(until).min(until), arrived).await;
        }
    }

    /// How many messages of `queue` are due or being handled: all but those that wait after a
    /// failure, or for their delay.
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
                        state.put(
                            QueueEntry { message: Message::Uploads(vec![hint]), failures: 0 },
                            due,
                        );
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
    /// Adds `entry`, or merges it into the waiting entry with the same identity.
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
                // The entry keeps its turn.
                if let Some(other) = self.ready.remove(&turn) {
                    self.ready.insert(turn, other.merge(entry));
                }
                return;
            }
            Some(QueuePlace::Later(at)) => match self.later.remove(&at) {
                // Another call must not hurry one that failed: sign and publish call each other
                // while one of them can't go on.
                Some(other) if is_call && (other.failures > 0 || entry.failures > 0) => (
                    QueueEntry { failures: other.failures.max(entry.failures), ..entry },
                    due.max(at.0),
                ),
                // The merged entry has the earlier time and the fewer failures: a new hint about a
                // name that keeps failing is handled at once.
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

    /// Gives a turn to each entry that is due at `now`, in the order of arrival.
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

    /// Takes up to `limit` entries that are due at `now`; returns also when the next one is due.
    fn take(
        &mut self,
        queue: Queue,
        limit: usize,
        now: Instant,
    ) -> (Vec<QueueEntry>, Option<Instant>) {
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
    /// The top folder of a hint's name, empty for a name in no folder; `None` for other messages.
    fn folder(&self) -> Option<&str> {
        let hint = match &self.message {
            Message::Uploads(hints) => hints.first()?,
            Message::Large(hint) => hint,
            Message::Deliveries(_) | Message::Changes(_) | Message::Sign | Message::Publish => {
                return None;
            }
        };
        Some(hint.name.split_once('/').map_or("", |(folder, _)| folder))
    }

    fn merge(self, later: Self) -> Self {
        let message = match (self.message, later.message) {
            (Message::Large(one), Message::Large(other)) => Message::Large(merge(&one, other)),
            (Message::Uploads(one), Message::Uploads(other)) => Message::Uploads(
                one.into_iter().zip(other).map(|(one, other)| merge(&one, other)).collect(),
            ),
            (_, message) => message,
        };
        Self { message, failures: self.failures.min(later.failures) }
    }
}

/// Merges two hints about the same name. If one of them is a removal, the result is too: if the
/// name is gone when it is handled, that was intended.
fn merge(one: &Hint, other: Hint) -> Hint {
    Hint { removed: one.removed || other.removed, ..other }
}

fn identity(message: &Message) -> Option<Identity> {
    let of =
        |hint: &Hint| Identity::Hint { name: hint.name.clone(), version: hint.version.clone() };
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
        let unreadable =
            |error| StoreError::from_source(ErrorKind::Invalid, "send to", queue.name(), error);
        let message = message.map_err(unreadable)?;
        self.send(&message, Duration::ZERO).await
    }

    async fn waiting(&self, queue: Queue) -> Result<Waiting> {
        let state = lock(&self.one(queue).state);
        let waiting =
            state.later.len() + state.ready.len() + state.at_work.values().flatten().count();
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
        queues
            .send(&Message::Uploads(vec![hint("a", false), hint("b", true)]), Duration::ZERO)
            .await
            .unwrap();
        queues
            .send(&Message::Uploads(vec![hint("a", true), hint("b", false)]), Duration::ZERO)
            .await
            .unwrap();
        queues.send(&Message::Uploads(vec![versioned.clone()]), Duration::ZERO).await.unwrap();
        assert_eq!(queues.waiting(Queue::Uploads).await.unwrap().messages, 3);
        let received = queues.receive(Queue::Uploads, 10, Duration::ZERO).await;
        assert_eq!(
            hints(&received),
            [hint("a", true), hint("b", true), versioned],
            "each version gets its answer"
        );
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
        // Tokio's timers tick in milliseconds.
        assert!(
            waits
                .iter()
                .zip([0, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000])
                .all(|(wait, expected)| { wait.abs_diff(expected) <= 1 }),
            "{waits:?}"
        );
        // A new hint is handled at once, and only once.
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
        let flood: Vec<Hint> = (0..1000)
            .map(|number| hint(&format!("flood/{}/{number}", number % 7), false))
            .collect();
        queues.send(&Message::Uploads(flood), Duration::ZERO).await.unwrap();
        let first = queues.receive(Queue::Uploads, 64, Duration::ZERO).await;
        assert!(
            hints(&first).iter().all(|hint| hint.name.starts_with("flood/")),
            "nobody else wants a turn"
        );
        for name in ["small/a", "b", "small/c", "other/d", "small/e"] {
            queues.send(&Message::Uploads(vec![hint(name, false)]), Duration::ZERO).await.unwrap();
        }
        let names = |received: &[Delivery]| {
            hints(received).into_iter().map(|hint| hint.name).collect::<Vec<_>>()
        };
        let next = names(&queues.receive(Queue::Uploads, 12, Duration::ZERO).await);
        let others: Vec<&str> =
            next.iter().map(String::as_str).filter(|name| !name.starts_with("flood/")).collect();
        assert_eq!(others, ["small/a", "b", "other/d", "small/c", "small/e"]);
        // Within a folder they keep their order, and none is lost.
        let rest = names(&queues.receive(Queue::Uploads, 2000, Duration::ZERO).await);
        let numbers = names(&first).into_iter().chain(next).chain(rest).filter_map(|name| {
            name.strip_prefix("flood/").map(|name| name[2..].parse::<u32>().unwrap())
        });
        assert!(numbers.eq(0..1000));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_upload_of_a_flood_does_not_delay_others() {
        let queues = LocalQueues::new();
        let flood: Vec<Hint> =
            (0..100).map(|number| hint(&format!("flood/{number}"), false)).collect();
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
        assert!(
            queues.receive(Queue::Large, 10, Duration::ZERO).await.is_empty(),
            "one run at a time"
        );
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
        assert_eq!(
            queues.receive(Queue::Publish, 10, Duration::ZERO).await.len(),
            1,
            "another queue"
        );
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
            // One call arrives while it is in hand, another after it has failed.
            queues.send(&Message::Sign, Duration::ZERO).await.unwrap();
            delivery.return_later();
            queues.send(&Message::Sign, Duration::ZERO).await.unwrap();
        }
        assert!(
            waits
                .iter()
                .zip([0, 200, 400, 800])
                .all(|(wait, expected)| wait.abs_diff(expected) <= 1),
            "{waits:?}"
        );
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
