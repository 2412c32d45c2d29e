//! Why somebody should look at a repository.

use serde::Serialize;

/// What a reason is about: what to do depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// A published file that devices need.
    Damage,
    /// A document that is expired, or is not renewed.
    Expiry,
    /// The same of the timestamp.
    TimestampExpiry,
    /// Another party's document that is expired.
    PartyExpiry,
    /// A root that is expired.
    RootExpiry,
    /// A root that expires in some weeks: there is time left, and nothing is broken.
    RootIsDue,
    /// No process runs the embedded form.
    NotRunning,
    /// The clock.
    Clock,
    /// What the embedded form's process fails at.
    Trouble,
    /// A generation that waits.
    Lag,
    /// A generation that the gate refused.
    RefusedGeneration,
    /// Removals that wait for an operator.
    HeldRemovals,
    /// Messages that failed too often.
    DeadLetters,
    /// What lies where a root belongs, and is none.
    IgnoredRoot,
}

/// Why somebody should look. It is written as its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Reason {
    /// What it is about.
    #[serde(skip)]
    pub about: About,
    /// One line.
    pub text: String,
    /// What else is known of it.
    #[serde(skip)]
    pub detail: Option<String>,
}

impl Reason {
    /// One of which nothing else is known.
    pub fn new(about: About, text: impl Into<String>) -> Self {
        Self { about, text: text.into(), detail: None }
    }

    /// The same, with what else is known of it.
    pub fn because(self, detail: impl Into<String>) -> Self {
        Self { detail: Some(detail.into()), ..self }
    }
}
