//! Why a stage could not finish.

use std::error::Error;
use std::iter::successors;
use std::sync::Arc;

use tufline_store::{BoxedError, ErrorKind, StoreError};
use tufline_tuf::VerifyError;
use tufline_tuf::generation::GenerationError;
use tufline_tuf::root::RootError;

/// Why a stage could not finish. Its message comes again later, and so does refresh.
///
/// Its text has that of its source in it, as that of [`StoreError`].
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// A request failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A document is not what it should be.
    #[error(transparent)]
    Document(#[from] VerifyError),
    /// A root cannot be published.
    #[error("this root cannot be published: {0}")]
    Root(#[from] RootError),
    /// A batch cannot be folded in.
    #[error(transparent)]
    Generation(#[from] GenerationError),
    /// A record cannot be written or read as JSON, or isn't what it must be: which one, and why.
    #[error("{0}: not readable: {1}")]
    Record(String, #[source] BoxedError),
    /// Something that must be stored is not.
    #[error("{0} is missing: {1}")]
    Missing(String, &'static str),
    /// The repository has no root or no first generation yet.
    #[error("the repository is not initialised: run `tufline init` first")]
    NotInitialised,
    /// The online key of a role is not the one that devices trust.
    #[error("the online key of {0} is not among the keys that the newest root lists for it: publish a root that does")]
    UntrustedKey(String),
    /// The clock is behind the last signing: an expiry counted from it would be wrong.
    #[error(
        "the clock says {now}, but the timestamp was stored at {stored}: not signing until the clock is right; if it is, and was ahead then, \
         see docs/operations.md, \"The clock\""
    )]
    ClockBehind {
        /// This machine's time.
        now: tufline_tuf::Time,
        /// The store's time of the last publication.
        stored: tufline_tuf::Time,
    },
    /// Others won every race.
    #[error("{0} lost {1} races in a row: trying again later")]
    Contended(&'static str, usize),
    /// The uploads could not all be asked in the time that a run has.
    #[error(
        "there was no time for {left} of the names that generation {generation} changes, after {looked}: the next run goes on there"
    )]
    OutOfTime {
        /// The generation that is judged.
        generation: u64,
        /// Of so many names the uploads were asked in this run.
        looked: usize,
        /// Of so many they must still be.
        left: usize,
    },
    /// What was asked for is refused, for reasons that are told.
    #[error(transparent)]
    Refused(Refusal),
    /// One failure that several messages, or several documents, share.
    #[error(transparent)]
    Shared(Arc<StageError>),
    /// The same, and of what.
    #[error("{0}: {1}")]
    Of(String, #[source] Arc<StageError>),
}

/// What is refused, why, and what to do, in one line; and what that comes from, if it is an error.
#[derive(Debug, thiserror::Error)]
#[error("{told}")]
pub struct Refusal {
    told: String,
    source: Option<BoxedError>,
}

impl From<&str> for Refusal {
    fn from(told: &str) -> Self {
        Self { told: told.to_owned(), source: None }
    }
}

impl StageError {
    /// Refuses what was asked for.
    pub(crate) fn refused(told: impl Into<String>) -> Self {
        Self::Refused(Refusal { told: told.into(), source: None })
    }

    /// The same for `source`, of which `told` says all.
    pub(crate) fn refused_for(told: impl Into<String>, source: impl Into<BoxedError>) -> Self {
        Self::Refused(Refusal { told: told.into(), source: Some(source.into()) })
    }

    /// What may be done about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        use GenerationError::{Document, Missing, Unread};
        match self.cause() {
            Self::Store(error) => error.kind,
            // A request may have failed on the way to it.
            Self::Refused(refusal) => kind_of_request(refusal).unwrap_or(ErrorKind::Invalid),
            Self::Document(_) | Self::Record(..) | Self::Generation(Document(_)) => ErrorKind::Corrupt,
            Self::Missing(..) | Self::NotInitialised | Self::Generation(Missing(_) | Unread(_)) => ErrorKind::Missing,
            Self::Contended(..) => ErrorKind::Conflict,
            Self::OutOfTime { .. } => ErrorKind::Retry,
            // Somebody must see to the clock, the keys, or what was asked for.
            Self::Root(_) | Self::Generation(_) | Self::UntrustedKey(_) | Self::ClockBehind { .. } => {
                ErrorKind::Invalid
            }
            Self::Shared(error) | Self::Of(_, error) => error.kind(),
        }
    }

    /// What failed in the end.
    #[must_use]
    pub fn cause(&self) -> &Self {
        match self {
            Self::Shared(error) | Self::Of(_, error) => Self::cause(error),
            error => error,
        }
    }

    /// Whether nothing failed: what it is about is still being written ([`ErrorKind::Unfinished`]).
    #[must_use]
    pub fn is_unfinished(&self) -> bool {
        self.kind() == ErrorKind::Unfinished
    }

    /// Whether something that is stored is gone or damaged, and no request failed: a request that did is of any kind, but says nothing about what
    /// is stored.
    pub(crate) fn is_damage(&self) -> bool {
        matches!(self.cause(), Self::Missing(..) | Self::Record(..) | Self::Document(_))
    }

    /// Whether a request failed: nothing is known then.
    pub(crate) fn is_request(&self) -> bool {
        matches!(self.cause(), Self::Store(_))
    }
}

/// The kind of the request that failed, where an error comes from one.
fn kind_of_request(error: &(dyn Error + 'static)) -> Option<ErrorKind> {
    successors(Some(error), |error| (*error).source()).find_map(|cause| Some(cause.downcast_ref::<StoreError>()?.kind))
}

impl From<Arc<Self>> for StageError {
    fn from(error: Arc<Self>) -> Self {
        Self::Shared(error)
    }
}

/// What a stage answers.
pub type Result<T> = std::result::Result<T, StageError>;

#[cfg(test)]
mod tests {
    use super::*;

    fn denied() -> StoreError {
        let refused = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        StoreError::from_source(ErrorKind::Denied, "read", "/a", refused)
    }

    fn chain(error: &StageError) -> Vec<String> {
        successors(Some(error as &dyn Error), |error| (*error).source()).map(ToString::to_string).collect()
    }

    #[test]
    fn an_error_has_the_kind_of_what_failed_in_the_end_and_keeps_it() {
        let role = || "bin-0".to_owned();
        let of = |error: StageError| StageError::Of(role(), Arc::new(StageError::Shared(Arc::new(error))));
        let unreadable = || StageError::Record("r".into(), serde_json::from_str::<u8>("x").unwrap_err().into());
        for (error, kind, text, root) in [
            (denied().into(), ErrorKind::Denied, "read /a: permission denied", "permission denied"),
            (of(denied().into()), ErrorKind::Denied, "bin-0: read /a: permission denied", "permission denied"),
            (
                StageError::refused_for("the root key does not sign", denied()),
                ErrorKind::Denied,
                "the root key does not sign",
                "permission denied",
            ),
            (StageError::refused("no"), ErrorKind::Invalid, "no", "no"),
            (
                unreadable(),
                ErrorKind::Corrupt,
                "r: not readable: expected value at line 1 column 1",
                "expected value at line 1 column 1",
            ),
            (
                of(unreadable()),
                ErrorKind::Corrupt,
                "bin-0: r: not readable: expected value at line 1 column 1",
                "expected value at line 1 column 1",
            ),
            (
                StageError::Missing("m".into(), "bring it back"),
                ErrorKind::Missing,
                "m is missing: bring it back",
                "m is missing: bring it back",
            ),
            (
                StageError::Contended("rebuild", 5),
                ErrorKind::Conflict,
                "rebuild lost 5 races in a row: trying again later",
                "rebuild lost 5 races in a row: trying again later",
            ),
        ] {
            assert_eq!((error.kind(), &*error.to_string()), (kind, text));
            assert_eq!(chain(&error).last().unwrap(), root, "{text}");
        }
    }

    /// What some kinds have in common with damage must not hide that a request failed: nothing is known then.
    #[test]
    fn no_failed_request_is_damage() {
        for kind in [ErrorKind::Missing, ErrorKind::Corrupt, ErrorKind::Denied, ErrorKind::Retry] {
            let error = StageError::from(StoreError::new(kind, "read", "/a", "why"));
            assert!(error.is_request() && !error.is_damage(), "{kind}");
        }
        let missing = StageError::Missing("m".into(), "bring it back");
        assert!(missing.is_damage() && !missing.is_request());
    }
}
