//! The client workflow of the TUF specification 1.0.34 (section 5) as a state machine.
//!
//! [`Updater::need`] names the next file that the update needs, and the caller passes its bytes to
//! [`Updater::give`]. Once the top-level metadata is current, [`Updater::search`] looks for a
//! target in the same way. It asks only for the roles on the way to that target. The caller fetches
//! the files, by any transport.
//!
//! ```
//! use tufline_client::{Answer, Clock, Limits, MemoryStorage, Need, Updater};
//!
//! # fn file(path: &str) -> Option<Vec<u8>> {
//! #     let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/metadata/example");
//! #     std::fs::read(format!("{example}/{path}")).ok()
//! # }
//! # let root = file("1.root.json").unwrap();
//! # let fetch = |path: &str, most: usize| file(path).filter(|bytes| bytes.len() <= most);
//! // The root came with the device. `fetch` asks a server; `None` says that it has no such file.
//! let mut storage = MemoryStorage::default();
//! tufline_client::begin_with(&mut storage, &root)?;
//!
//! let clock = Clock { now: "2026-12-01T00:00:00Z".parse()?, floor: None };
//! let mut updater = Updater::open(storage, clock, Limits::default())?;
//! while let Need::File(file) = updater.need()? {
//!     match fetch(&file.path, file.most) {
//!         Some(bytes) => updater.give(Answer::Bytes(&bytes))?,
//!         None => updater.give(Answer::Missing)?,
//!     }
//! }
//!
//! let mut search = updater.search("gateway/firmware.bin").ok_or("the metadata isn't current")?;
//! while let Need::File(file) = search.need()? {
//!     let bytes = fetch(&file.path, file.most).ok_or("the server lacks a role")?;
//!     search.give(Answer::Bytes(&bytes))?;
//! }
//! let found = search.found().ok_or("there is no such target")?;
//! assert_eq!(found.target.length, 15);
//! assert!(found.path.ends_with(".firmware.bin"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The caller then fetches [`FoundTarget::path`], and checks the bytes by [`Target::hasher`].
//!
//! *Invariants*: this crate does no I/O, reads no clock, needs no standard library and never
//! panics. It stores only verified files, and verifies them again whenever it reads them. A refused
//! file changes nothing: the storage and the next question stay the same.

#![no_std]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod begin;
mod clock;
mod error;
mod limits;
mod names;
mod need;
mod pack;
mod rotation;
mod search;
mod storage;
mod updater;
mod verified;

pub use begin::begin_with;
pub use clock::{Clock, Floor};
pub use error::{Error, Why};
pub use limits::Limits;
pub use names::{file_name, stored_name};
pub use need::{Answer, Need, NeededFile};
pub use pack::{Pack, PackQuestion, Packed};
pub use search::{FoundTarget, Search};
pub use storage::{MemoryStorage, Storage};
pub use tufline_metadata::{Error as Invalid, Target, Time, target_path};
pub use tufline_pack::{MOST_BYTES as MOST_PACK_BYTES, NotAPack};
pub use updater::Updater;
