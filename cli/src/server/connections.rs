//! The connections of devices: limits their number, and closes those that stay idle.
//!
//! *Invariants*: there are never more than a fixed number of connections, so the stages always have
//! file descriptors. A connection that waits for a request gives its place to a new one, so a
//! device that asks is answered, however many others keep silent connections open.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// How long a connection may wait for a complete request header, from the connection's start or
/// from its last request.
pub const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// All open connections.
#[derive(Debug)]
pub struct Connections {
    most: usize,
    next: AtomicU64,
    open: Mutex<BTreeMap<u64, OpenConnection>>,
    /// Signals that a connection has closed, or has begun to wait.
    changed: Notify,
}

/// The state of a connection.
#[derive(Debug)]
struct OpenConnection {
    /// Closes the connection.
    abort: Option<AbortHandle>,
    /// The number of requests being answered: one, or none.
    requests: usize,
    /// Whether its device doesn't read the bytes that are sent.
    blocked: bool,
    /// When it was opened, last answered a request, or last sent bytes.
    since: Instant,
}

impl OpenConnection {
    fn waits(&self) -> bool {
        self.requests == 0 && !self.blocked
    }
}

impl Connections {
    /// No connections yet, and never more than `most`.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            next: AtomicU64::new(0),
            open: Mutex::default(),
            changed: Notify::new(),
        })
    }

    /// A place for a new connection. If all are taken, it closes the connection that has waited
    /// longest; if none waits, this waits.
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
        open.insert(
            id,
            OpenConnection { abort: None, requests: 0, blocked: false, since: Instant::now() },
        );
        Some(Connection { id, all: Arc::clone(self) })
    }

    /// Runs for ever, and closes connections that have waited longer than [`LONGEST_WAIT`].
    pub async fn keep_short(&self) {
        loop {
            tokio::time::sleep(LONGEST_WAIT / 15).await;
            let mut open = self.open();
            let now = Instant::now();
            let late =
                open.extract_if(.., |_, place| place.waits() && now - place.since >= LONGEST_WAIT);
            late.for_each(|(_, place)| close(Some(place)));
        }
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<u64, OpenConnection>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, id: u64, change: impl FnOnce(&mut OpenConnection)) {
        // A connection that is being closed is no longer listed.
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
    /// Sets the handle that closes the connection.
    pub fn ends_by(&self, abort: AbortHandle) {
        self.all.change(self.id, |place| place.abort = Some(abort));
    }

    /// Marks that a request is being answered, until the returned value is dropped.
    pub fn answering(self: &Arc<Self>) -> Answering {
        self.all.change(self.id, |place| place.requests += 1);
        Answering(Arc::clone(self))
    }

    /// Notes whether its device fails to read the bytes that are sent.
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

    /// A connection, and the task that serves it.
    fn open(all: &Arc<Connections>) -> Option<(Arc<Connection>, JoinHandle<()>)> {
        let connection = Arc::new(all.enter().now_or_never()?);
        let task = tokio::spawn(std::future::pending());
        connection.ends_by(task.abort_handle());
        Some((connection, task))
    }

    #[tokio::test(start_paused = true)]
    async fn the_connection_that_waits_longest_makes_room() {
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
    async fn a_connection_that_waits_too_long_is_closed() {
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
