//! The limits of questions and packs.

/// The most bytes of a pack, packed and unpacked: a Lambda function can answer this much in Base64
/// (<https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>), and a small device
/// can hold it.
pub const MOST_BYTES: usize = 4 << 20;

/// The most entries of a pack, so that many entries of a few bytes don't fill a device's memory. No
/// question needs an answer with more.
pub const MOST_ENTRIES: usize = 256;

/// The most blocks in the frame of a pack. A block of ten bytes may have tables that take 40 µs to
/// build. Encoders make blocks of 8 KiB and more.
pub const MOST_BLOCKS: usize = 1024;

/// The most roots in a pack. A server reads each of them again, one after the other. A device
/// requests further ones by name.
pub const MOST_ROOTS: u64 = 16;

/// The most documents of targets and delegated roles in a pack, for the same reason.
pub const MOST_DOCUMENTS: usize = 48;

/// The most bytes of a dictionary's files together.
pub const MOST_DICTIONARY: usize = 4 << 20;

/// The most files that a device states it has.
pub const MOST_HAVE: usize = 32;

/// The most roles that a device may ask for.
pub const MOST_ROLES: usize = 16;

/// The most targets whose bytes a device may ask for.
pub const MOST_FILES: usize = 4;

/// The longest target that a pack contains, in bytes.
pub const MOST_TARGET: u64 = 16 << 10;

/// The content type of a pack (RFC 8878, section 7.1).
pub const CONTENT_TYPE: &str = "application/zstd";
