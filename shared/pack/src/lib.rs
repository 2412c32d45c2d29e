//! Packs: one answer with all the files that a device would request next.
//!
//! A device states which files it has ([`Question`]). The server answers with one Zstandard frame
//! (RFC 8878). It holds the files that the device lacks ([`Entry`]), compressed with the files that
//! the device has as the dictionary ([`dictionary()`]). This crate is the protocol that both sides
//! share. It compresses nothing itself.
//!
//! *Invariants*: no I/O, no clock, no standard library, no panic. A pack adds no trust: a device
//! verifies each file in it as if it had requested that file by name, and requests missing or
//! refused files by name.

#![no_std]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod dictionary;
mod entry;
mod limits;
mod question;

pub use dictionary::{TABLES_ID, dictionary, digest};
pub use entry::{Entry, NotAPack, read, write};
pub use limits::{
    CONTENT_TYPE, MOST_BLOCKS, MOST_BYTES, MOST_DICTIONARY, MOST_DOCUMENTS, MOST_ENTRIES,
    MOST_FILES, MOST_HAVE, MOST_ROLES, MOST_ROOTS, MOST_TARGET,
};
pub use question::{Have, Question, Refused, role_prefix};
