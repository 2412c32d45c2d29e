//! The specification that the documents follow, and what it says of numbers.

use std::num::NonZeroU64;

/// The version of the TUF specification that the documents follow.
pub const SPEC_VERSION: &str = "1.0.33";

/// Versions count from 1.
pub(crate) fn at_least_one(version: u64) -> NonZeroU64 {
    NonZeroU64::new(version).unwrap_or(NonZeroU64::MIN)
}
