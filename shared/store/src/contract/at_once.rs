//! How many requests compete in the suite.

/// How many requests the suite makes at once to see whether one of them wins.
pub(super) const AT_ONCE: usize = 32;
