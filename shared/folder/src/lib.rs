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
//! ```
//! use tufline_folder::{DataFolder, FolderStore};
//! use tufline_store::{Document, Key, Store, Written};
//!
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("data");
//! # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
//! // One process at a time runs the stages. Others open the folder without the lock.
//! let data = DataFolder::lock(&path)?;
//! assert!(DataFolder::lock(&path).is_err());
//! assert!(DataFolder::is_running(&path));
//!
//! let store = FolderStore::new(&data);
//! let record = Document::record(Key::Manifest(1), &"a manifest")?;
//! assert_eq!(store.create(&record).await?, Written::Done);
//! assert!(path.join("ledger/generations/00000000000000000001.json").exists());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! *Invariant*: a file below `repository` or `ledger` is complete as soon as it is visible. What a
//! port has returned, or let anybody read, survives a power cut; only hash's receipts may not, and
//! those are made again. The uploads are only read; the only files removed there are those that a
//! killed `tufline upload` left.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod atomic_files;
mod blobs;
mod chunks;
mod data;
mod directories;
mod events;
mod free_space;
pub mod given;
mod holder_key;
mod keys;
mod lock;
mod open_folder;
mod queues;
mod signer;
mod store;
mod threads;
mod upload_names;
mod uploads;
mod watch;
mod writers;

pub use blobs::FolderBlobs;
pub use chunks::FolderChunks;
pub use data::DataFolder;
pub use events::FileEvents;
pub use free_space::KEPT_FREE;
pub use holder_key::{HolderKey, KeyKind, Passphrase};
pub use keys::KeyFile;
pub use queues::{Delivery, LocalQueues};
pub use signer::FileSigner;
pub use store::FolderStore;
pub use upload_names::TEMPORARY_PREFIX;
pub use uploads::{FolderUploads, FoundFolder};
pub use watch::Watcher;
