//! Why a request to a port failed, and what the caller can do about it.

use std::error::Error;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The kind of a failure. It says what the caller can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// Nobody knows whether it was done. The same request may work later without anybody's help:
    /// after throttling, a lost connection or a full disk.
    Retry,
    /// Nothing failed. The object is still being written, and its writer decides for how long. The
    /// message comes again.
    Unfinished,
    /// Something that the request needs does not exist: a bucket, a queue, a key or a file. A
    /// person must restore it, or name the right one.
    Missing,
    /// The caller lacks the permission, or valid credentials. Nothing was done, and nothing will be
    /// until a person changes that. It should be reported at once and not retried.
    Denied,
    /// Others are writing the same object. The caller should read again and start over.
    Conflict,
    /// A stored object or an answer is not what it must be. A person must look at it.
    Corrupt,
    /// The request is impossible as it was made, or as things are set up. It will fail again.
    Invalid,
}

impl ErrorKind {
    /// Whether the same request may work a moment later, without anybody's help.
    #[must_use]
    pub fn may_pass(self) -> bool {
        matches!(self, Self::Retry | Self::Unfinished | Self::Conflict)
    }

    /// Its name in logs and in JSON.
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

/// Why a request to a port failed. The error says nothing about the stored data.
///
/// Its text is one line that includes the text of its source, because most callers print nothing
/// else. A caller that walks the [sources](Error::source) to inspect them must not print them
/// again.
#[derive(Debug, thiserror::Error)]
#[error("{action} {place}: {why}")]
pub struct StoreError {
    /// What the caller can do about it.
    pub kind: ErrorKind,
    /// What was tried, as a verb: `read`, `create`, `copy`, `send to`.
    pub action: &'static str,
    /// The object of the action: a path, a queue or a key.
    pub place: String,
    /// What the other side said, in one line.
    pub why: String,
    /// The service's own error code (`AccessDenied`), if a service answered with one.
    pub code: Option<String>,
    /// The error that caused this one, if there is one.
    pub source: Option<BoxedError>,
}

/// An error of any type.
pub type BoxedError = Box<dyn Error + Send + Sync + 'static>;

impl StoreError {
    /// Makes an error from words: what was tried, on what, and why it failed.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "callers pass what they have: a path, a string"
    )]
    pub fn new(
        kind: ErrorKind,
        action: &'static str,
        place: impl ToString,
        why: impl ToString,
    ) -> Self {
        let why = why.to_string().replace('\n', " ");
        Self { kind, action, place: place.to_string(), why, code: None, source: None }
    }

    /// Makes an error from `source`, whose text becomes the reason.
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
