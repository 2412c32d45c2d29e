//! Why a setting is refused.

/// A configuration with a value out of bounds. The text says what to use instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadConfig(pub(super) String);
