//! A reason for which a repository needs attention.

use serde::Serialize;

/// What a reason is about; the advice depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// A published file that devices need is missing or damaged.
    Damage,
    /// A document is expired, or is not renewed in time.
    Expiry,
    /// The timestamp is expired, or is not renewed in time.
    TimestampExpiry,
    /// Another party's document is expired.
    PartyExpiry,
    /// The root is expired.
    RootExpiry,
    /// The root expires within some weeks: nothing is broken yet.
    RootIsDue,
    /// No process runs the embedded form.
    NotRunning,
    /// The clock is behind the last signature.
    Clock,
    /// The embedded form's process reports a failure.
    Trouble,
    /// A generation waits too long for its publication.
    Lag,
    /// The gate refused a generation.
    RefusedGeneration,
    /// Removals wait for an operator.
    HeldRemovals,
    /// Messages failed too often.
    DeadLetters,
    /// A file in the place of a root is not a root.
    IgnoredRoot,
}

/// A reason for attention. It is serialized as its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Reason {
    #[serde(skip)]
    pub about: About,
    /// The reason, in one line.
    pub text: String,
    /// More about it, for `tufline doctor`.
    #[serde(skip)]
    pub detail: Option<String>,
}

impl Reason {
    /// A reason without details.
    pub fn new(about: About, text: impl Into<String>) -> Self {
        Self { about, text: text.into(), detail: None }
    }

    /// Adds a detail.
    pub fn because(self, detail: impl Into<String>) -> Self {
        Self { detail: Some(detail.into()), ..self }
    }
}
