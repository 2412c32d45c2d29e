//! What a client asks for, and what it is given.

use alloc::string::String;

/// What is needed next.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "what is needed must be fetched and given"]
pub enum Need {
    /// This file.
    File(NeededFile),
    /// Nothing more.
    Nothing,
}

/// A metadata file that is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeededFile {
    /// Its path below the metadata URL, percent-encoded.
    pub path: String,
    /// It has so many bytes at most. Reading more is a waste: it would be refused.
    pub most: usize,
    /// Whether it may well be missing, which ends the walk of roots (TUF specification 5.3.3).
    pub may_be_missing: bool,
}

impl NeededFile {
    /// One that must be there.
    pub(crate) fn new(path: String, most: usize) -> Self {
        Self { path, most, may_be_missing: false }
    }
}

/// What the server answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer<'a> {
    /// These bytes.
    Bytes(&'a [u8]),
    /// That there is no such file. An answer that doesn't say so (no connection, HTTP 500) is none: it must be asked again.
    Missing,
}
