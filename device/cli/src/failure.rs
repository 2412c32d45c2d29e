//! Why something did not work, for people and for programs.

use std::io;
use std::path::{Path, PathBuf};

use tufline_client::Error;

use crate::location::shown;

/// Why something did not work.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The repository's metadata did not verify, or could not be stored.
    #[error(transparent)]
    Update(#[from] Error<io::Error>),
    /// A server could not be reached, or did not answer as it should, however often it was asked.
    #[error("{url}: {failure}")]
    Network {
        /// What was asked for.
        url: String,
        /// What came last.
        failure: NetworkFailure,
    },
    /// What lets the device in could not be had, or is none.
    #[error("the device can't show who it is: {0}")]
    Identity(String),
    /// The repository has no such target.
    #[error("{0} is no target of this repository: look for a mistake in its name, or ask whoever publishes it")]
    NoSuchTarget(String),
    /// What the server has in a target's place is not what was signed.
    #[error("{name} is refused: {why}; nothing of it was kept")]
    Target {
        /// The target.
        name: String,
        /// Why.
        why: String,
    },
    /// More would come over the network than may.
    #[error(
        "{what} is not asked for: {needs} bytes would come, and at most {left} may (max-bytes); allow more, or try where bytes cost less"
    )]
    Budget {
        /// A target, or what was asked for.
        what: String,
        /// So many bytes would come, or more.
        needs: u64,
        /// So many may.
        left: u64,
    },
    /// A file of this device.
    #[error("{path} could not be {action}: {error}", path = path.display())]
    File {
        /// `"read"`, `"written"`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The settings can't be used.
    #[error("{0}")]
    Settings(String),
}

impl Failure {
    /// What came last for this URL.
    pub(crate) fn network(url: &str, failure: NetworkFailure) -> Self {
        match failure {
            NetworkFailure::Identity { why, .. } => Self::Identity(why),
            NetworkFailure::OverBudget { needs, left } => Self::Budget { what: shown(url), needs, left },
            failure => Self::Network { url: shown(url), failure },
        }
    }

    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |error| Self::File { action, path, error }
    }

    /// What kind of failure it is, for programs: `"refused"`, `"missing"`, `"network"`, `"budget"`, `"identity"`, `"no-such-target"`, `"file"`,
    /// `"settings"`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Update(Error::Storage { .. }) | Self::File { .. } => "file",
            Self::Update(Error::NotInitialised | Error::DamagedRoot(_) | Error::InitialisedOtherwise(_))
            | Self::Settings(_) => "settings",
            Self::Update(Error::Missing(_)) => "missing",
            Self::Update(_) | Self::Target { .. } => "refused",
            Self::Network { .. } => "network",
            Self::Budget { .. } => "budget",
            Self::Identity(_) => "identity",
            Self::NoSuchTarget(_) => "no-such-target",
        }
    }
}

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkFailure {
    /// The server answered with a status that is no answer.
    #[error("the server answers HTTP {0}")]
    Status(u16),
    /// No whole answer came.
    #[error("{0}")]
    Broken(String),
    /// The answer comes too slowly.
    #[error("it comes more slowly than {0} bytes a second")]
    TooSlow(u64),
    /// Not all came before the deadline.
    #[error("not all came before the deadline; what came of a target is kept")]
    TooLate,
    /// More would come than may.
    #[error("{needs} bytes would come, and at most {left} may")]
    OverBudget {
        /// So many, or more.
        needs: u64,
        /// So many may.
        left: u64,
    },
    /// The request was not made, since what lets the device in could not be had.
    #[error("{why}")]
    Identity {
        /// Why.
        why: String,
        /// Whether it may well be had later.
        is_passing: bool,
    },
    /// What came is no document: a page in its place, or half of one.
    #[error("{0}")]
    NotADocument(String),
}

impl NetworkFailure {
    /// Whether the same request may well be answered later.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            // RFC 9110, section 15; 425: RFC 8470; 429: RFC 6585.
            // What is neither a file nor an error is somebody on the way, for a while (a captive portal).
            Self::Status(status) => matches!(status, 200..=399 | 408 | 425 | 429 | 500..=599),
            Self::Identity { is_passing, .. } => *is_passing,
            Self::TooLate | Self::OverBudget { .. } => false,
            Self::Broken(_) | Self::TooSlow(_) | Self::NotADocument(_) => true,
        }
    }
}
