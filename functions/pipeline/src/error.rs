//! Why a stage could not finish.

use std::error::Error;
use std::iter::successors;
use std::sync::Arc;

use tufline_store::{BoxedError, ErrorKind, StoreError};
use tufline_tuf::VerifyError;
use tufline_tuf::generation::GenerationError;
use tufline_tuf::root::RootError;

/// Why a stage could not finish. Its message comes again later, and refresh runs again every
/// minute.
///
/// As with [`StoreError`], the text includes the text of the source.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// A request to a port failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A document does not verify or is damaged.
    #[error(transparent)]
    Document(#[from] VerifyError),
    /// Devices or the pipeline could not go on with this root.
    #[error("this root cannot be published: {0}")]
    Root(#[from] RootError),
    /// Rebuild cannot fold a batch of changes into a generation.
    #[error(transparent)]
    Generation(#[from] GenerationError),
    /// A record cannot be written or read as JSON, or says something that it must not. Gives its
    /// path and the reason.
    #[error("{0}: not readable: {1}")]
    Record(String, #[source] BoxedError),
    /// An object that must be stored is not. Gives its path and what to do.
    #[error("{0} is missing: {1}")]
    Missing(String, &'static str),
    /// The repository has no root or no first generation yet.
    #[error("the repository is not initialised: run `tufline init` first")]
    NotInitialised,
    /// The online key of this role is not one that devices trust.
    #[error(
        "the online key of {0} is not among the keys that the newest root lists for it: publish a \
         root that lists it"
    )]
    UntrustedKey(String),
    /// The clock is behind the last signing, so an expiry counted from it would be wrong.
    #[error(
        "the clock says {now}, but the timestamp was stored at {stored}: not signing until the \
         clock is right; if it is right now and was ahead then, see docs/operations.md, \"The \
         clock\""
    )]
    ClockBehind {
        /// What this machine's clock says.
        now: tufline_tuf::Time,
        /// The store's time of the last publication.
        stored: tufline_tuf::Time,
    },
    /// Other runs won every race. Gives the stage and how many races it lost.
    #[error("{0} lost {1} races in a row: trying again later")]
    Contended(&'static str, usize),
    /// The run ended before it had asked the uploads about every name.
    #[error(
        "no time left to ask about {left} names that generation {generation} changes, after \
         {looked} in this run: the next run continues with them"
    )]
    OutOfTime {
        /// The generation that the run judged.
        generation: u64,
        /// How many names this run asked the uploads about.
        looked: usize,
        /// How many names are left to ask about.
        left: usize,
    },
    /// An operation is refused, for the given reasons.
    #[error(transparent)]
    Refused(Refusal),
    /// One failure that several messages or documents share.
    #[error(transparent)]
    Shared(Arc<StageError>),
    /// The same, with the role or document that failed.
    #[error("{0}: {1}")]
    Of(String, #[source] Arc<StageError>),
}

/// A refusal: one line that says what is refused, why, and what to do; and the error behind it, if
/// there is one.
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
    /// Refuses an operation. `told` is the whole message.
    pub(crate) fn refused(told: impl Into<String>) -> Self {
        Self::Refused(Refusal { told: told.into(), source: None })
    }

    /// Refuses an operation because of `source`. `told` is the whole message, `source` included.
    pub(crate) fn refused_for(told: impl Into<String>, source: impl Into<BoxedError>) -> Self {
        Self::Refused(Refusal { told: told.into(), source: Some(source.into()) })
    }

    /// The kind of the failure, which says what can be done about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        use GenerationError::{Document, Missing, Unread};
        match self.cause() {
            Self::Store(error) => error.kind,
            // The refusal may come from a failed request.
            Self::Refused(refusal) => kind_of_request(refusal).unwrap_or(ErrorKind::Invalid),
            Self::Document(_) | Self::Record(..) | Self::Generation(Document(_)) => {
                ErrorKind::Corrupt
            }
            Self::Missing(..) | Self::NotInitialised | Self::Generation(Missing(_) | Unread(_)) => {
                ErrorKind::Missing
            }
            Self::Contended(..) => ErrorKind::Conflict,
            Self::OutOfTime { .. } => ErrorKind::Retry,
            // A person must see to the clock, the keys or the request.
            Self::Root(_)
            | Self::Generation(_)
            | Self::UntrustedKey(_)
            | Self::ClockBehind { .. } => ErrorKind::Invalid,
            Self::Shared(error) | Self::Of(_, error) => error.kind(),
        }
    }

    /// The failure itself, without the wrappers that say of which document it is.
    #[must_use]
    pub fn cause(&self) -> &Self {
        match self {
            Self::Shared(error) | Self::Of(_, error) => Self::cause(error),
            error => error,
        }
    }

    /// Whether nothing failed: the file in question is still being written
    /// ([`ErrorKind::Unfinished`]).
    #[must_use]
    pub fn is_unfinished(&self) -> bool {
        self.kind() == ErrorKind::Unfinished
    }

    /// Whether a stored object is gone or damaged. A failed request is never damage: it may be of
    /// any kind, and says nothing about what is stored.
    pub(crate) fn is_damage(&self) -> bool {
        matches!(self.cause(), Self::Missing(..) | Self::Record(..) | Self::Document(_))
    }

    /// Whether a request failed, so that nothing is known about what is stored.
    pub(crate) fn is_request(&self) -> bool {
        matches!(self.cause(), Self::Store(_))
    }
}

/// The kind of the failed request from which `error` comes, if it comes from one.
fn kind_of_request(error: &(dyn Error + 'static)) -> Option<ErrorKind> {
    successors(Some(error), |error| (*error).source())
        .find_map(|cause| Some(cause.downcast_ref::<StoreError>()?.kind))
}

impl From<Arc<Self>> for StageError {
    fn from(error: Arc<Self>) -> Self {
        Self::Shared(error)
    }
}

/// The result of a stage or of a part of it.
pub type Result<T> = std::result::Result<T, StageError>;

#[cfg(test)]
mod tests {
    use super::*;

    fn denied() -> StoreError {
        let refused = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        StoreError::from_source(ErrorKind::Denied, "read", "/a", refused)
    }

    fn chain(error: &StageError) -> Vec<String> {
        successors(Some(error as &dyn Error), |error| (*error).source())
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn an_error_has_the_kind_of_what_failed_in_the_end_and_keeps_it() {
        let role = || "bin-0".to_owned();
        let of = |error: StageError| {
            StageError::Of(role(), Arc::new(StageError::Shared(Arc::new(error))))
        };
        let unreadable =
            || StageError::Record("r".into(), serde_json::from_str::<u8>("x").unwrap_err().into());
        for (error, kind, text, root) in [
            (denied().into(), ErrorKind::Denied, "read /a: permission denied", "permission denied"),
            (
                of(denied().into()),
                ErrorKind::Denied,
                "bin-0: read /a: permission denied",
                "permission denied",
            ),
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

    /// A failed request may have a kind that damage has too. It must still count as a request,
    /// since nothing is known about what is stored.
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
