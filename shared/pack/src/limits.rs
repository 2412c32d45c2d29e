//! How much there may be of everything.

/// A pack has so many bytes at most, packed and unpacked: what a Lambda function can answer as Base64
/// (<https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>), and what a small device can hold.
pub const MOST_BYTES: usize = 4 << 20;

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
