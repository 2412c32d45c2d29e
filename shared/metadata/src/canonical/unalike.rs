//! What clients write in different ways.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Display};

/// So deep may objects and lists be nested in a file: `serde_json`, with which clients in Rust read, takes no more.
pub const DEEPEST_FILE: usize = 127;

/// A signed document is a field of its file.
pub(crate) const DEEPEST: usize = DEEPEST_FILE - 1;

/// Doubles are exact up to this (RFC 8259, section 6).
pub(crate) const EXACT: u64 = 1 << 53;

/// Why clients don't write one canonical form of a value: where the first difference is, what it is, and what to do. One line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{why}", PlacePrefix(.place))]
pub struct Unalike {
    /// The keys on the way to it.
    pub place: Vec<String>,
    /// What it is.
    pub why: Why,
}

/// What clients write in different ways.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// The order of these two keys.
    #[error("some clients put the keys {0:?} and {1:?} in another order than others; rename one of them")]
    Order(String, String),
    /// A string, or a key.
    #[error("{0:?} is not in Unicode normal form C, which some clients make of it; normalise it")]
    Text(String),
    /// A number that is not an integer.
    #[error(
        "{0} is a number with a fraction or an exponent, or too large, which some clients refuse; write it as a string"
    )]
    Fraction(String),
    /// An integer.
    #[error("some clients read the number {0} as {1}; write it as a string")]
    Integer(String, String),
    /// An integer of more than 64 bits with its sign.
    #[error("the number {0} is larger than some clients read; write it as a string")]
    Large(String),
    /// The nesting.
    #[error("it is nested more than {} levels deep, which some clients don't read; make it flatter", DEEPEST)]
    Depth,
    /// A value that JSON can't hold.
    #[error("it cannot be written: {0}")]
    Json(String),
}

/// Before what is said of it: nothing for the value itself.
struct PlacePrefix<'a>(&'a [String]);

impl Display for PlacePrefix<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        let place = self.0.join(".");
        write!(formatter, "in {}: ", place.escape_debug())
    }
}
