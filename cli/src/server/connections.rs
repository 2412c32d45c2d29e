//! The connections of devices: how many there are, and which of them keep a place for nothing.
//!
//! *Invariants*: there are never more than a fixed number of them, so that the stages always have descriptors; one that waits for a request
//! gives its place to a new one, so that whoever asks is answered, however many others are open and say nothing.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// How long a connection may be without a request, whole from its first byte to the end of its header. Also between two requests.
pub const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// All open connections.
#[derive(Debug)]
pub struct Connections {
    most: usize,
    next: AtomicU64,
    open: Mutex<BTreeMap<u64, OpenConnection>>,
    /// One has closed, or begun to wait.
    changed: Notify,
}

/// What is known of a connection.
#[derive(Debug)]
struct OpenConnection {
    /// Ends it.
    abort: Option<AbortHandle>,
    /// Requests that are being answered: one, or none.
    requests: usize,
    /// Whether its device doesn't take what is sent.
    blocked: bool,
    /// When it was opened, a request was answered, or bytes were taken.
    since: Instant,
}

impl OpenConnection {
    fn waits(&self) -> bool {
        self.requests == 0 && !self.blocked
    }
}

impl Connections {
    /// None yet, and never more than `most`.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, next: AtomicU64::new(0), open: Mutex::default(), changed: Notify::new() })
    }

    /// A place for a connection; where all are taken, the one that has waited for the longest. Waits where none waits.
    pub async fn enter(self: &Arc<Self>) -> Connection {
        loop {
            let changed = self.changed.notified();
            if let Some(connection) = self.try_enter() {
                return connection;
            }
            changed.await;
        }
    }

    fn try_enter(self: &Arc<Self>) -> Option<Connection> {
        let mut open = self.open();
        if open.len() >= self.most {
            let waiting = open.iter().filter(|(_, place)| place.waits());
            let (id, _) = waiting.min_by_key(|(_, place)| place.since)?;
            let id = *id;
            close(open.remove(&id));
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        open.insert(id, OpenConnection { abort: None, requests: 0, blocked: false, since: Instant::now() });
        Some(Connection { id, all: Arc::clone(self) })
    }

    /// Closes those that have waited for too long, from time to time.
    pub async fn keep_short(&self) {
        loop {
            tokio::time::sleep(LONGEST_WAIT / 15).await;
            let mut open = self.open();
            let now = Instant::now();
            let late = open.extract_if(.., |_, place| place.waits() && now - place.since >= LONGEST_WAIT);
            late.for_each(|(_, place)| close(Some(place)));
        }
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<u64, OpenConnection>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, id: u64, change: impl FnOnce(&mut OpenConnection)) {
        // There is none where it is about to be closed.
        if let Some(place) = self.open().get_mut(&id) {
            change(place);
        }
    }
}

fn close(place: Option<OpenConnection>) {
    if let Some(abort) = place.and_then(|place| place.abort) {
        abort.abort();
    }
}

/// The place of a connection, until this is dropped.
#[derive(Debug)]
pub struct Connection {
    id: u64,
    all: Arc<Connections>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.all.open().remove(&self.id);
        self.all.changed.notify_waiters();
    }
}

impl Connection {
    /// By what it is ended.
    pub fn ends_by(&self, abort: AbortHandle) {
        self.all.change(self.id, |place| place.abort = Some(abort));
    }

    /// A request is being answered, until what this gives is dropped.
    pub fn answering(self: &Arc<Self>) -> Answering {
        self.all.change(self.id, |place| place.requests += 1);
        Answering(Arc::clone(self))
    }

    /// Its device took bytes, or doesn't take any.
    pub fn blocked(&self, blocked: bool) {
        self.all.change(self.id, |place| {
            place.blocked = blocked;
            place.since = Instant::now();
        });
        if !blocked {
            self.all.changed.notify_waiters();
        }
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub struct Answering(Arc<Connection>);

impl Drop for Answering {
    fn drop(&mut self) {
        let Connection { id, all } = &*self.0;
        all.change(*id, |place| {
            place.requests = place.requests.saturating_sub(1);
            place.since = Instant::now();
        });
        all.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use tokio::task::JoinHandle;

    use super::*;

    /// A connection, and what runs for it.
    fn open(all: &Arc<Connections>) -> Option<(Arc<Connection>, JoinHandle<()>)> {
        let connection = Arc::new(all.enter().now_or_never()?);
        let task = tokio::spawn(std::future::pending());
        connection.ends_by(task.abort_handle());
        Some((connection, task))
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_the_longest_makes_room() {
        let all = Connections::new(2);
        let (first, first_task) = open(&all).unwrap();
        tokio::time::advance(Duration::from_secs(1)).await;
        let (second, second_task) = open(&all).unwrap();
        let answering = first.answering();
        let (third, _task) = open(&all).unwrap();
        assert!(second_task.await.unwrap_err().is_cancelled(), "the first is being answered");
        let (other, also) = (third.answering(), open(&all));
        assert!(also.is_none() && !first_task.is_finished());
        drop(answering);
        assert!(open(&all).is_some());
        assert!(first_task.await.unwrap_err().is_cancelled());
        drop((first, second, other));
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_too_long_is_closed() {
        let all = Connections::new(8);
        let (waits, (answered, answered_task), (takes, takes_task)) =
            (open(&all).unwrap(), open(&all).unwrap(), open(&all).unwrap());
        let _answering = answered.answering();
        takes.blocked(true);
        tokio::select! {
            () = all.keep_short() => {}
            ended = waits.1 => assert!(ended.unwrap_err().is_cancelled()),
        }
        assert!(!answered_task.is_finished() && !takes_task.is_finished());
        takes.blocked(false);
        tokio::select! {
            () = all.keep_short() => {}
            ended = takes_task => assert!(ended.unwrap_err().is_cancelled()),
        }
    }
}
