//! Why a stage could not finish.

use std::sync::Arc;

use tufline_store::{ErrorKind, StoreError};
use tufline_tuf::VerifyError;
use tufline_tuf::generation::GenerationError;
use tufline_tuf::root::RootError;

/// Why a stage could not finish. Its message comes again later, and so does refresh.
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
    /// A record cannot be written or read as JSON.
    #[error("{0}: not readable: {1}")]
    Record(String, String),
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
    /// The root cannot be used, or a record fails its check.
    #[error("{0}")]
    Refused(String),
    /// One failure that several messages, or several documents, share.
    #[error(transparent)]
    Shared(Arc<StageError>),
    /// The same, and of what.
    #[error("{0}: {1}")]
    Of(String, #[source] Arc<StageError>),
}

impl StageError {
    /// What failed in the end.
    #[must_use]
    pub fn cause(&self) -> &Self {
        match self {
            Self::Shared(error) | Self::Of(_, error) => error.cause(),
            error => error,
        }
    }

    /// Whether nothing failed: what it is about is still being written ([`ErrorKind::Unfinished`]).
    #[must_use]
    pub fn is_unfinished(&self) -> bool {
        matches!(self.cause(), Self::Store(error) if error.kind == ErrorKind::Unfinished)
    }

    /// Whether something that is stored is gone or damaged, and no request failed.
    pub(crate) fn is_damage(&self) -> bool {
        matches!(self.cause(), Self::Missing(..) | Self::Record(..) | Self::Document(_))
    }

    /// Whether a request failed: nothing is known then.
    pub(crate) fn is_request(&self) -> bool {
        matches!(self.cause(), Self::Store(_))
    }
}

impl From<Arc<Self>> for StageError {
    fn from(error: Arc<Self>) -> Self {
        Self::Shared(error)
    }
}

/// What a stage answers.
pub type Result<T> = std::result::Result<T, StageError>;
