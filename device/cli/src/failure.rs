//! The failures of a device, with messages for people and kinds for programs.

use std::io;
use std::path::{Path, PathBuf};

use tufline_client::Error;

use crate::location::shown;

/// Why something failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The repository's metadata did not verify, or could not be stored.
    #[error(transparent)]
    Update(#[from] Error<io::Error>),
    /// A server could not be reached or gave no usable answer, after all tries.
    #[error("{url}: {failure}")]
    Network {
        /// The URL, without secrets.
        url: String,
        /// The failure of the last try.
        failure: NetworkFailure,
    },
    /// The device can't get the token or keys that let it in, or they are malformed.
    #[error("the device can't show who it is: {0}")]
    Identity(String),
    /// The repository has no such target.
    #[error("{0} is not a target of this repository: check the name, or ask the publisher")]
    NoSuchTarget(String),
    /// The server's bytes for a target differ from what was signed.
    #[error("{name} is refused: {why}; none of it was kept")]
    Target {
        /// The target's name.
        name: String,
        /// What differs.
        why: String,
    },
    /// The download would exceed [`Settings::max_bytes`](crate::Settings::max_bytes).
    #[error(
        "{what} was not fetched: it needs {needs} bytes, and max-bytes allows {left} more; raise max-bytes, or try again on a cheaper network"
    )]
    Budget {
        /// The target's name or the URL.
        what: String,
        /// The bytes that the download needs at least.
        needs: u64,
        /// The bytes that are left.
        left: u64,
    },
    /// A file of this device could not be read or written.
    #[error("{path} could not be {action}: {error}", path = path.display())]
    File {
        /// `"read"`, `"written"`.
        action: &'static str,
        /// The file's path.
        path: PathBuf,
        /// The operating system's error.
        error: io::Error,
    },
    /// The settings can't be used; the text says why.
    #[error("{0}")]
    Settings(String),
}

impl Failure {
    /// Makes a failure of the last try for this URL.
    pub(crate) fn network(url: &str, failure: NetworkFailure) -> Self {
        match failure {
            NetworkFailure::Identity { why, .. } => Self::Identity(why),
            NetworkFailure::OverBudget { needs, left } => {
                Self::Budget { what: shown(url), needs, left }
            }
            failure => Self::Network { url: shown(url), failure },
        }
    }

    pub(crate) fn file(
        action: &'static str,
        path: &Path,
    ) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |error| Self::File { action, path, error }
    }

    /// The kind of failure, for programs: `"refused"`, `"missing"`, `"network"`, `"budget"`,
    /// `"identity"`, `"no-such-target"`, `"file"` or `"settings"`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Update(Error::Storage { .. }) | Self::File { .. } => "file",
            Self::Update(
                Error::NotInitialised | Error::DamagedRoot(_) | Error::InitialisedOtherwise(_),
            )
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
    /// The server answered with this status, which brings no file.
    #[error("the server answers HTTP {0}")]
    Status(u16),
    /// The answer broke off, or the request failed; the text says why.
    #[error("{0}")]
    Broken(String),
    /// The answer came more slowly than this many bytes a second.
    #[error("the answer comes more slowly than {0} bytes a second")]
    TooSlow(u64),
    /// The deadline passed before the whole answer came.
    #[error(
        "the deadline passed before all bytes came; the bytes of a target are kept for the next try"
    )]
    TooLate,
    /// The answer would exceed [`Settings::max_bytes`](crate::Settings::max_bytes).
    #[error("the answer needs {needs} bytes, and max-bytes allows {left} more")]
    OverBudget {
        /// The bytes that the answer needs at least.
        needs: u64,
        /// The bytes that are left.
        left: u64,
    },
    /// The device made no request, since it could not get its token or keys.
    #[error("{why}")]
    Identity {
        /// Why not.
        why: String,
        /// Whether a later try may succeed.
        is_passing: bool,
    },
    /// The answer is no document: a page in its place, or half of it.
    #[error("{0}")]
    NotADocument(String),
}

impl NetworkFailure {
    /// Whether the same request may succeed later.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            // RFC 9110, section 15; 425: RFC 8470; 429: RFC 6585. A status that is neither a file
            // nor an error comes from something on the way, such as a captive portal, and may stop
            // soon.
            Self::Status(status) => matches!(status, 200..=399 | 408 | 425 | 429 | 500..=599),
            Self::Identity { is_passing, .. } => *is_passing,
            Self::TooLate | Self::OverBudget { .. } => false,
            Self::Broken(_) | Self::TooSlow(_) | Self::NotADocument(_) => true,
        }
    }
}
