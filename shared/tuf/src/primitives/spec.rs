//! The specification that the documents follow.

/// The version of the TUF specification that the documents follow.
pub const SPEC_VERSION: &str = "1.0.33";
