//! The errors of updates and searches.

use alloc::string::String;

use tufline_metadata::Time;

/// Why an update failed. The storage still holds what it held before the refused step.
#[derive(Debug, thiserror::Error)]
pub enum Error<E> {
    /// A given file failed a check.
    #[error("{file} is refused: {why}")]
    Refused {
        /// The file's path below the metadata URL, or its name in the storage.
        file: String,
        /// The check that failed.
        why: Why,
    },
    /// The server doesn't have a file that verified metadata refers to.
    #[error(
        "{0} is missing, although verified metadata refers to it: the server lost it or is withholding it; try again later"
    )]
    Missing(String),
    /// The update read this many new roots, the most that one update may
    /// ([`Limits::roots`](crate::Limits::roots)). They are stored, and the next update continues
    /// from there.
    #[error(
        "this update read and stored {0} new roots, and there may be more: update again to continue from there"
    )]
    TooManyRoots(u32),
    /// The search asked as many roles as it may, and none of them lists the target.
    #[error(
        "the search for {name} needs more than {roles} roles, the most that it may ask: whether that target exists is unknown"
    )]
    TooManyRoles {
        /// The target's name.
        name: String,
        /// The limit, [`Limits::roles`](crate::Limits::roles).
        roles: usize,
    },
    /// The device trusts no root yet: call [`begin_with`](crate::begin_with) first.
    #[error("no root is stored: initialize with a trusted root first")]
    NotInitialised,
    /// The stored root doesn't verify.
    #[error(
        "the stored root is damaged ({0}): initialize again with the trusted root that came with the device"
    )]
    DamagedRoot(Why),
    /// The device trusts another root of this same version.
    #[error(
        "this device already trusts another root of version {0}: if you want to replace it, remove the stored metadata and initialize again"
    )]
    InitialisedOtherwise(u64),
    /// The storage failed.
    #[error("{file} could not be {action}: {error}")]
    Storage {
        /// `"read"`, `"stored"` or `"removed"`.
        action: &'static str,
        /// The file's name in the storage.
        file: String,
        /// The storage's own error.
        error: E,
    },
}

/// Why a file is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// The file can't be read, or its signatures don't verify.
    #[error(transparent)]
    Invalid(#[from] tufline_metadata::Error),
    /// The file is longer than this many bytes, its limit.
    #[error("it is longer than its limit of {0} bytes")]
    TooLong(usize),
    /// The file has expired by [`Clock`](crate::Clock)'s time.
    #[error(
        "it expired at {expires}, and the time is {now}; if that time is wrong, set this device's clock"
    )]
    Expired {
        /// The expiry in the file.
        expires: Time,
        /// The time by which it was judged.
        now: Time,
    },
    /// A version went down: a rollback (TUF specification 5.4.3, 5.5.5).
    #[error("it goes back from version {trusted} of {of} to version {found}")]
    Rollback {
        /// The role whose version goes back.
        of: String,
        /// The version that the device trusted before.
        trusted: u64,
        /// The version in the given file.
        found: u64,
    },
    /// The new snapshot no longer lists a role that the trusted one listed (TUF specification
    /// 5.5.5).
    #[error("it no longer lists {0}, which the trusted snapshot lists")]
    Dropped(String),
    /// The snapshot doesn't list a role that `targets` or another role delegates to.
    #[error("it doesn't list {0}")]
    NotListed(String),
}

impl Why {
    /// Adds the time of judgement to an expiry; keeps any other error.
    pub(crate) fn at(error: tufline_metadata::Error, now: Time) -> Self {
        match error {
            tufline_metadata::Error::Expired(expires) => Self::Expired { expires, now },
            error => Self::Invalid(error),
        }
    }
}

pub(crate) type Result<T, E> = core::result::Result<T, Error<E>>;
