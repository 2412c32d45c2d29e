//! Chunk: cuts a blob where its content says so, compresses each chunk by itself, and stores the list of the chunks and
//! the packed chunks as one object (`tufline-chunks` has the format).
//!
//! Nothing waits for it: a target is published before, and is fetched whole wherever it has no chunks.
//!
//! *Invariants*: a blob's chunks are stored as a whole or not at all, and once. Memory is bounded by some pieces of the
//! blob and the list, whatever the blob's length. A run ends before its time does.

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

/// What the benchmark measures.
#[doc(hidden)]
pub mod bench {
    pub use crate::pack::{Cut, count, pack};
}

pub use chunker::{Chunked, Chunker};
pub use handle::handle;
pub use message::{MESSAGE_FORMAT, NotAMessage, request};
