//! How much there may be of everything.

/// A pack has so many bytes at most, packed and unpacked: what a Lambda function can answer as Base64
/// (<https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>), and what a small device can hold.
pub const MOST_BYTES: usize = 4 << 20;

/// A pack has so many entries at most, so that a few bytes each don't become many in memory: all that a question may be answered with are fewer.
pub const MOST_ENTRIES: usize = 256;

/// The frame of a pack has so many blocks at most: a block of ten bytes may have tables that take 40 µs to make. Encoders make blocks of 8 KiB and more.
pub const MOST_BLOCKS: usize = 1024;

/// So many roots come in a pack at most: a server reads each anew, one after the other. The device asks for others by name.
pub const MOST_ROOTS: u64 = 16;

/// So many documents of targets and of roles come in a pack at most, for the same reason.
pub const MOST_DOCUMENTS: usize = 48;

/// The files of a dictionary have so many bytes together at most.
pub const MOST_DICTIONARY: usize = 4 << 20;

/// A device tells of so many files at most.
pub const MOST_HAVE: usize = 32;

/// It asks for so many roles at most.
pub const MOST_ROLES: usize = 16;

/// It asks for the bytes of so many targets at most.
pub const MOST_FILES: usize = 4;

/// Targets longer than this don't come in a pack, in bytes.
pub const MOST_TARGET: u64 = 16 << 10;

/// The content type of a pack (RFC 8878, section 7.1).
pub const CONTENT_TYPE: &str = "application/zstd";
