//! Which blobs are cut, and into how many chunks at most.

/// Blobs shorter than this are not cut, in bytes: fetching them whole takes less time.
pub const SMALLEST_BLOB: u64 = 64 << 10;

/// Blobs longer than this are not cut, in bytes.
pub const LARGEST_BLOB: u64 = 1 << 30;

/// The most chunks in a list.
pub const MOST_CHUNKS: usize = 65_536;
