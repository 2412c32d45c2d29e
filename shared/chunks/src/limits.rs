//! What is cut, and into how many chunks.

/// Blobs shorter than this aren't cut, in bytes: they are fetched whole in less time.
pub const SMALLEST_BLOB: u64 = 64 << 10;

/// Blobs longer than this aren't cut, in bytes.
pub const LARGEST_BLOB: u64 = 1 << 30;

/// A list has at most this many chunks.
pub const MOST_CHUNKS: usize = 65_536;
