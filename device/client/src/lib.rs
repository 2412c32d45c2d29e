//! The client workflow of the TUF specification 1.0.34 (section 5) as a state machine.
//!
//! An [`Updater`] says which file it needs next ([`Updater::need`]), and is given its bytes ([`Updater::give`]). When the top-level metadata is
//! current, [`Updater::search`] looks for a target the same way: it asks only for the roles on the way to it. Whoever drives them fetches the files,
//! by whatever transport there is.
//!
//! ```
//! # use tufline_client::{Answer, Limits, Need, Updater, Clock, Error, MemoryStorage};
//! # fn update(root: &[u8], clock: Clock, fetch: impl Fn(&str, usize) -> Option<Vec<u8>>) -> Result<(), Error<core::convert::Infallible>> {
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
//! *Invariants*: no I/O, no clock, no standard library, no panic. What is stored was verified, and is verified again whenever it is read. A refused
//! file changes nothing: neither what is stored nor what is asked for next.

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
