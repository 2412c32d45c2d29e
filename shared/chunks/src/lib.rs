//! Chunks: a device that has an older image fetches only what its image lacks of the new one.
//!
//! The server cuts a blob where its content says so ([`Cutter`]), compresses each chunk by itself as
//! a Zstandard frame (RFC 8878), and stores one object: the [`List`] of the chunks, and behind it the
//! packed chunks in their order. A device cuts its old image in the same way, finds by their digests
//! which chunks it has, and asks for the others by HTTP ranges. This crate is what both sides must
//! agree on; neither compresses here.
//!
//! zchunk's format doesn't serve: its chunks are known by digests of their *packed* bytes, which a
//! device with a plain old image can't compute. With the flag that adds digests of the plain bytes
//! it demands SHA-256 or longer for both, 69 bytes a chunk where this list has 22
//! (<https://github.com/zchunk/zchunk/blob/main/zchunk_format.txt>).
//!
//! *Invariants*: a list adds no trust. It is checked for what would let it take memory or time
//! ([`List::read`]), and a device hashes the whole target at the end as if it had come plain.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::cast_possible_truncation))]

mod cut;
mod limits;
mod list;

pub use cut::{Cutter, LARGEST_AVERAGE, SMALLEST_AVERAGE, USUAL_AVERAGE};
pub use limits::{LARGEST_BLOB, MOST_CHUNKS, SMALLEST_BLOB};
pub use list::{Entry, LEAST_LIST, List, ListWriter, NotAList, digest, list_bytes, usual_list_bytes};
