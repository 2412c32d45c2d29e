//! The differences between clients' canonical forms.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Display};

/// How deep objects and lists may be nested in a file. `serde_json`, which clients in Rust use,
/// reads no deeper ones.
pub const DEEPEST_FILE: usize = 127;

/// How deep a signed document may be nested: it is a field of its file.
pub(crate) const DEEPEST: usize = DEEPEST_FILE - 1;

/// Doubles represent all integers up to this exactly (RFC 8259, section 6).
pub(crate) const EXACT: u64 = 1 << 53;

/// Why clients don't all write the same canonical form of a value: the place of the first
/// difference, what differs, and what to do. The message is one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{why}", PlacePrefix(.place))]
pub struct Unalike {
    /// The keys on the path to it.
    pub place: Vec<String>,
    /// How clients differ there, and what to do.
    pub why: Why,
}

/// A difference between clients.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// They order these two keys differently.
    #[error(
        "some clients put the keys {0:?} and {1:?} in another order than others; rename one of them"
    )]
    Order(String, String),
    /// A string or key that some clients normalise.
    #[error(
        "{0:?} is not in Unicode normal form C, into which some clients convert it; normalise it"
    )]
    Text(String),
    /// A number that is not an integer, or is too large to be read as one.
    #[error(
        "{0} is a number with a fraction or an exponent, or too large, which some clients \
         refuse; write it as a string"
    )]
    Fraction(String),
    /// An integer that some clients read as another: the number, and what they read.
    #[error("some clients read the number {0} as {1}; write it as a string")]
    Integer(String, String),
    /// An integer that doesn't fit into 64 signed bits.
    #[error("the number {0} is larger than some clients read; write it as a string")]
    Large(String),
    /// The value is nested too deep.
    #[error(
        "it is nested more than {} levels deep, which some clients don't read; make it flatter",
        DEEPEST
    )]
    Depth,
    /// JSON can't hold the value.
    #[error("it cannot be written: {0}")]
    Json(String),
}

/// Writes the place before the message; nothing if the value itself is at fault.
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
