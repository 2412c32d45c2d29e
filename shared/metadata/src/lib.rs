//! Reads and verifies TUF metadata that any tool made. It is exactly as strict as the TUF
//! specification 1.0.34 lets a client be.
//!
//! Here a client reads a whole repository, from the root that it trusts to a target's bytes:
//!
//! ```
//! use tufline_metadata::{Time, TrustedRoot};
//!
//! # macro_rules! file {
//! #     ($name:literal) => {
//! #         &include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/example/", $name))[..]
//! #     };
//! # }
//! # let (root, timestamp) = (file!("1.root.json"), file!("timestamp.json"));
//! # let (snapshot, targets) = (file!("1.snapshot.json"), file!("1.targets.json"));
//! # let firmware = file!("firmware.bin");
//! let now: Time = "2026-12-01T00:00:00Z".parse()?;
//! let root = TrustedRoot::begin(root)?;
//! root.expect_fresh(now)?;
//! let timestamp = root.timestamp(timestamp, now)?;
//! let snapshot = root.snapshot(snapshot, &timestamp, now)?;
//! let targets = root.targets(targets, &snapshot, now)?;
//!
//! let target = &targets.targets()["gateway/firmware.bin"];
//! assert_eq!(target.length, 15);
//! let mut hasher = target.hasher();
//! hasher.update(firmware);
//! hasher.check()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
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
