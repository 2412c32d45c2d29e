//! The questions of an update or a search, and the answers to them.

use alloc::string::String;

/// What an update or a search needs next.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "what is needed must be fetched and given"]
pub enum Need {
    /// This file: fetch it and pass it to `give`.
    File(NeededFile),
    /// Nothing: the update or the search is complete.
    Nothing,
}

/// A metadata file to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeededFile {
    /// The path below the metadata URL, percent-encoded.
    pub path: String,
    /// The most bytes that the file may have. Reading more is a waste: a longer file is refused.
    pub most: usize,
    /// Whether the server may answer that there is no such file. Only the next root may be missing,
    /// and its absence ends the walk of roots (TUF specification 5.3.3).
    pub may_be_missing: bool,
}

impl NeededFile {
    /// A file that must exist.
    pub(crate) fn new(path: String, most: usize) -> Self {
        Self { path, most, may_be_missing: false }
    }
}

/// The server's answer to a [`NeededFile`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer<'a> {
    /// The file's bytes.
    Bytes(&'a [u8]),
    /// The server says that there is no such file. Anything else, such as a broken connection or
    /// HTTP 500, is no answer: ask again.
    Missing,
}
