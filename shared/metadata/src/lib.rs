//! Reads and verifies TUF metadata that any tool made. It is exactly as strict as the TUF
//! specification 1.0.34 lets a client be.
//!
//! *Invariants*: no I/O, no clock, no async and no standard library. Bytes and a time go in,
//! verified values or an error come out. Nothing here writes metadata files. Tufline's own metadata
//! follows stricter rules (`tufline-tuf`).

#![no_std]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod canonical;
mod error;
mod fields;
mod file;
mod hashes;
mod json;
mod key;
mod path;
mod pattern;
mod root;
mod snapshot;
mod targets;
mod time;

pub use error::Error;
pub use file::{Common, File, MetadataType, TrustedKeys};
pub use hashes::Hasher;
pub use key::PublicKey;
pub use path::{escaped, metadata_path, target_path};
pub use root::{Root, TrustedRoot};
pub use snapshot::{Meta, Snapshot, Timestamp};
pub use targets::{Delegated, Target, Targets, find};
pub use time::Time;
