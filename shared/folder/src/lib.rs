//! The ports on plain folders and key files: the embedded form.
//!
//! ```text
//! DATA/format              the layout's version
//! DATA/lock                held by the one process that runs the stages
//! DATA/repository, ledger  objects, at the paths that `Key` gives them
//! DATA/keys                private keys, for the owner only
//! DATA/events.jsonl        events, one a line
//! DATA/uploads.id          which folder the uploads come from
//! DATA/tmp                 files that are being written
//! ```
//!
//! *Invariant*: a file below `repository` or `ledger` is complete from the moment it can be seen, and what a port has
//! answered, or let anyone read, survives a power cut; but for hash's receipts, which are made again. The uploads are only
//! read; of them nothing is removed but what a killed `tufline upload` left.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod blobs;
mod clock;
mod data;
mod directories;
mod disk;
mod events;
pub mod given;
mod holder_key;
mod keys;
mod names;
mod queues;
mod room;
mod signer;
mod store;
mod tree;
mod uploads;
mod watch;
mod writers;

pub use blobs::FolderBlobs;
pub use clock::SystemClock;
pub use data::DataFolder;
pub use events::FileEvents;
pub use holder_key::{HolderKey, KeyKind, Passphrase};
pub use keys::KeyFile;
pub use names::TEMPORARY_PREFIX;
pub use queues::{Delivery, LocalQueues};
pub use room::KEPT_FREE;
pub use signer::FileSigner;
pub use store::FolderStore;
pub use uploads::{FolderUploads, Standing};
pub use watch::Watcher;

use std::io;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tufline_store::{Result, StoreError};

/// Threads for file operations. Those that wait for a thread lie in one queue, so few threads that are always busy take less time than
/// many that are woken for each.
type Threads = LazyLock<io::Result<Runtime>>;

/// For what is written to the data folder.
static DATA: Threads = LazyLock::new(|| threads(16));

/// For looking at uploads: if their disk hangs, nothing else does.
static UPLOADS: Threads = LazyLock::new(|| threads(16));

/// For copying uploads: each may take long, and shall hold up nothing else.
static COPIES: Threads = LazyLock::new(|| threads(8));

/// How long a thread stays that has nothing to do.
const KEEP_ALIVE: Duration = Duration::from_secs(2);

fn threads(most: usize) -> io::Result<Runtime> {
    Builder::new_current_thread().max_blocking_threads(most).thread_keep_alive(KEEP_ALIVE).build()
}

/// Runs file work on one of these threads.
async fn in_turn<T: Send + 'static>(
    threads: &'static Threads,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match &**threads {
        Ok(threads) => outcome(threads.spawn_blocking(work)).await,
        Err(error) => Err(StoreError::new("begin", "a file operation", error)),
    }
}

/// Runs file work where it may block, and waits for no other.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    outcome(tokio::task::spawn_blocking(work)).await
}

async fn outcome<T>(work: JoinHandle<Result<T>>) -> Result<T> {
    match work.await {
        Ok(result) => result,
        Err(error) => Err(StoreError::new("finish", "a file operation", error)),
    }
}

/// Locks `mutex`. What these mutexes guard is consistent after every statement, so a panic elsewhere does no harm.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};

    use super::*;

    #[tokio::test]
    async fn uploads_that_hang_hold_up_no_timestamp() {
        let (end, hanging) = mpsc::channel::<()>();
        let hanging = Arc::new(Mutex::new(hanging));
        let look = |threads| {
            let hanging = Arc::clone(&hanging);
            // Until the other side is dropped.
            tokio::spawn(in_turn(threads, move || lock(&hanging).recv().or(Ok(()))))
        };
        let looks: Vec<_> = (0..100).flat_map(|_| [look(&UPLOADS), look(&COPIES)]).collect();
        assert_eq!(in_turn(&DATA, || Ok(1)).await.unwrap(), 1);
        assert_eq!(blocking(|| Ok(2)).await.unwrap(), 2);
        drop(end);
        for look in looks {
            look.await.unwrap().unwrap();
        }
    }
}
