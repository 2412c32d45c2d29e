//! Why a request to the world failed, and what may be done about it.

use std::error::Error;
use std::fmt;

use serde::{Deserialize, Serialize};

/// What kind of failure it is: what whoever asked may do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// Nobody knows whether it was done; the same may work later, and by itself: throttling, a lost connection, a full disk.
    Retry,
    /// Nothing failed: what was asked for is still being written, and whoever writes it decides how long. It comes again.
    Unfinished,
    /// What it needs isn't there: a bucket, a queue, a key, a file. Somebody must bring it back, or name the right one.
    Missing,
    /// Whoever asked may not, or nobody knows who asks. It was not done, and won't be until somebody changes that: to be told at once, and
    /// worth no other try before.
    Denied,
    /// Others write the same at the same time: look again at what is there now, and begin anew.
    Conflict,
    /// What is stored, or what was answered, is not what it must be. Somebody must look at it.
    Corrupt,
    /// What was asked for can't be, as it was asked or as things are set up: the same again fails again.
    Invalid,
}

impl ErrorKind {
    /// Whether the same may work a moment later, with nobody doing anything about it.
    #[must_use]
    pub fn may_pass(self) -> bool {
        matches!(self, Self::Retry | Self::Unfinished | Self::Conflict)
    }

    /// Its plain name, in logs and in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Unfinished => "unfinished",
            Self::Missing => "missing",
            Self::Denied => "denied",
            Self::Conflict => "conflict",
            Self::Corrupt => "corrupt",
            Self::Invalid => "invalid",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Why a request to the world failed. None says anything about the data.
///
/// Its text is all of it in one line, with what it came from: most of those who tell of it know no more than its text. So whoever walks the
/// [sources](Error::source) as well, for what is in them, prints none of them again.
#[derive(Debug, thiserror::Error)]
#[error("{action} {place}: {why}")]
pub struct StoreError {
    /// What may be done about it.
    pub kind: ErrorKind,
    /// What was tried, as a verb: `read`, `create`, `copy`, `send to`.
    pub action: &'static str,
    /// On what: a path, a queue, a key.
    pub place: String,
    /// What the other side said, in one line.
    pub why: String,
    /// The service's own code for it (`AccessDenied`), where a service answered with one.
    pub code: Option<String>,
    /// What it came from, if anything.
    pub source: Option<BoxedError>,
}

/// Any error.
pub type BoxedError = Box<dyn Error + Send + Sync + 'static>;

impl StoreError {
    /// An error with what was tried, on what, and why it failed, in words.
    #[expect(clippy::needless_pass_by_value, reason = "callers pass what they have: a path, a string")]
    pub fn new(kind: ErrorKind, action: &'static str, place: impl ToString, why: impl ToString) -> Self {
        let why = why.to_string().replace('\n', " ");
        Self { kind, action, place: place.to_string(), why, code: None, source: None }
    }

    /// An error that came from `source`, and says so in its words.
    pub fn from_source(
        kind: ErrorKind,
        action: &'static str,
        place: impl ToString,
        source: impl Into<BoxedError>,
    ) -> Self {
        let source = source.into();
        let told = Self::new(kind, action, place, &source);
        Self { source: Some(source), ..told }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_it_came_from_once_in_one_line_and_keeps_it() {
        let source = std::io::Error::other("the disk\nfails");
        let error = StoreError::from_source(ErrorKind::Retry, "read", "/a", source);
        assert_eq!(error.to_string(), "read /a: the disk fails");
        assert!(error.source().is_some_and(<dyn Error>::is::<std::io::Error>));
        let error = StoreError::new(ErrorKind::Denied, "read", "/a", "you\nmay not");
        assert_eq!(error.to_string(), "read /a: you may not");
        assert!(error.source().is_none() && error.code.is_none());
    }

    #[test]
    fn a_kind_is_written_as_it_is_called() {
        for kind in [
            ErrorKind::Retry,
            ErrorKind::Unfinished,
            ErrorKind::Missing,
            ErrorKind::Denied,
            ErrorKind::Conflict,
            ErrorKind::Corrupt,
            ErrorKind::Invalid,
        ] {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
    }
}
