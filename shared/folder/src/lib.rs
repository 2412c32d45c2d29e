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
//! read.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod blobs;
mod clock;
mod data;
mod directories;
mod disk;
mod events;
mod holder_key;
mod keys;
mod names;
mod queues;
mod signer;
mod store;
mod tree;
mod uploads;
mod watch;

pub use blobs::FolderBlobs;
pub use clock::SystemClock;
pub use data::DataFolder;
pub use events::FileEvents;
pub use holder_key::{HolderKey, KeyKind, Passphrase};
pub use keys::KeyFile;
pub use queues::{Delivery, LocalQueues};
pub use signer::FileSigner;
pub use store::FolderStore;
pub use uploads::FolderUploads;
pub use watch::Watcher;

use std::sync::{Mutex, MutexGuard, PoisonError};

use tufline_store::{Result, StoreError};

/// Runs file work where it may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(StoreError::new("finish", "a file operation", error)),
    }
}

/// Locks `mutex`. What these mutexes guard is consistent after every statement, so a panic elsewhere does no harm.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
