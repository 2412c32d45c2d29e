//! Chunks: a device with an older image fetches only the parts of the new image that the old one
//! lacks.
//!
//! The server cuts a blob at places that its content determines ([`Cutter`]), and compresses each
//! chunk as a Zstandard frame of its own (RFC 8878), with the bytes before it as
//! history ([`HISTORY`]). It stores one object: the [`List`] of the
//! chunks, followed by the packed chunks in their order. A device cuts its old image in the same
//! way, finds by their digests which chunks it has, and requests the others as HTTP ranges. This
//! crate is the format that both sides share. It compresses nothing itself.
//!
//! zchunk's format is not suitable. It identifies chunks by digests of their *packed* bytes, which
//! a device with a plain old image can't compute. Its flag that adds digests of the plain bytes
//! requires SHA-256 or longer for both, which takes 69 bytes a chunk, where this list takes 22
//! (<https://github.com/zchunk/zchunk/blob/main/zchunk_format.txt>).
//!
//! *Invariants*: a list adds no trust. [`List::read`] refuses a list that could make a device use
//! too much memory or time, and the device hashes the whole target at the end, as if it had fetched
//! it plain.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::cast_possible_truncation))]

mod cut;
mod limits;
mod list;

pub use cut::{Cutter, LARGEST_AVERAGE, SMALLEST_AVERAGE, USUAL_AVERAGE};
pub use limits::{HISTORY, LARGEST_BLOB, MOST_CHUNKS, SMALLEST_BLOB, is_cut};
pub use list::{
    Entry, LEAST_LIST, List, ListWriter, NotAList, digest, list_bytes, usual_list_bytes,
};
