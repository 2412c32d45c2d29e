//! The client workflow of the TUF specification 1.0.34 (section 5) as a state machine.
//!
//! [`Updater::need`] names the next file that the update needs, and the caller passes its bytes to
//! [`Updater::give`]. Once the top-level metadata is current, [`Updater::search`] looks for a
//! target in the same way. It asks only for the roles on the way to that target. The caller fetches
//! the files, by any transport.
//!
//! ```
//! # use tufline_client::{Answer, Limits, Need, Updater, Clock, Error, MemoryStorage};
//! # fn update(
//! #     root: &[u8], clock: Clock, fetch: impl Fn(&str, usize) -> Option<Vec<u8>>,
//! # ) -> Result<(), Error<core::convert::Infallible>> {
//! let mut storage = MemoryStorage::default();
//! tufline_client::begin_with(&mut storage, root)?;
//! let mut updater = Updater::open(storage, clock, Limits::default())?;
//! while let Need::File(file) = updater.need()? {
//!     match fetch(&file.path, file.most) {
//!         Some(bytes) => updater.give(Answer::Bytes(&bytes))?,
//!         None => updater.give(Answer::Missing)?,
//!     }
//! }
//! # Ok(()) }
//! ```
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
