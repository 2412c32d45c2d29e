//! The pure heart of Tufline: names, role documents, generations, root rules, verification.
//!
//! *Invariant*: no I/O, no clock, no async. Everything takes bytes and a time, and returns verified values or an error.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod addressed;
pub mod bins_keys;
pub mod config;
pub mod custom;
pub mod delivery;
mod fold;
pub mod foreign;
pub mod gate;
pub mod generation;
pub mod index;
pub mod json;
pub mod key_file;
mod key_kind;
mod listed;
mod manifest;
mod name;
pub mod parties;
mod pattern;
pub mod plain;
mod refusal;
pub mod replay;
pub mod root;
mod sha256;
mod signature;
mod signed;
pub mod time;
pub mod trie;

/// The one canonical form, which the crate for reading others' metadata has too.
pub use tufline_metadata::canonical;

pub use addressed::{Addressed, AddressedDraft};
pub use bins_keys::BinsKeys;
pub use config::Config;
pub use custom::Custom;
pub use index::{Index, RoleEntry};
pub use manifest::{Applied, Content, MANIFEST_FORMAT, Manifest, Outcome, RecordedPolicy, RemovalWindow};
pub use name::{NotRoleName, RoleName, SIDE_FILE_SUFFIX, TargetName};
pub use parties::Parties;
pub use pattern::{BadPattern, Pattern};
pub use refusal::{Refusal, RefusalCode};
pub use sha256::{Hasher, NotSha256, PausedHasher, Sha256};
pub use signed::{Document as SignedDocument, Draft, RoleKeys, Signed, VerifyError, verify, verify_published};
pub use time::Time;
