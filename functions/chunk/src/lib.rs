//! Chunk: cuts a blob at places that its content determines, and compresses each chunk by itself.
//! It stores one object: the list of the chunks, followed by the packed chunks (`tufline-chunks`
//! has the format).
//!
//! Nothing waits for this function. A target is published before it has chunks, and a device
//! fetches the whole target as long as it has none.
//!
//! *Invariants*: a blob's chunks are stored as a whole or not at all, and once. Memory holds some
//! pieces of the blob and the list, whatever the blob's length. A run ends before its time limit.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::cast_precision_loss)
)]

mod chunker;
mod handle;
mod message;
mod pack;
mod pieces;
mod speed;

/// The functions that the benchmark measures.
#[doc(hidden)]
pub mod bench {
    pub use crate::pack::{Cut, count, pack};
}

pub use chunker::{Chunked, Chunker};
pub use handle::handle;
pub use message::{MESSAGE_FORMAT, NotAMessage, request};
