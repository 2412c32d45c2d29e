//! Why an update did not go through.

use alloc::string::String;

use tufline_metadata::Time;

/// Why an update did not go through. What was stored before is stored still.
#[derive(Debug, thiserror::Error)]
pub enum Error<E> {
    /// A file that was given is not what must be there.
    #[error("{file} is refused: {why}")]
    Refused {
        /// Its path below the metadata URL, or the name under which it is stored.
        file: String,
        /// Why.
        why: Why,
    },
    /// A file that must be there is not.
    #[error(
        "{0} is missing: what refers to it was verified, so the server has lost it, or keeps it back; try again later"
    )]
    Missing(String),
    /// So many new roots were read in one go. They are stored: the next update goes on from there.
    #[error("{0} new roots were read, and there may be more; they are stored: update again, and it goes on from there")]
    TooManyRoots(u32),
    /// So many roles were asked for the target, and none of them has it.
    #[error(
        "{name} is looked for in more than {roles} roles, which is too many: it isn't known whether there is such a target"
    )]
    TooManyRoles {
        /// The target's name.
        name: String,
        /// The limit.
        roles: usize,
    },
    /// Nothing is trusted yet.
    #[error("no root is stored: begin with a trusted one")]
    NotInitialised,
    /// What is stored as the trusted root is damaged.
    #[error("the root that is stored here is damaged ({0}): begin anew with the trusted one that came with the device")]
    DamagedRoot(Why),
    /// Another root was the first that this device trusted.
    #[error(
        "another root is trusted here already (version {0}): remove what is stored, and begin anew, if that is what you want"
    )]
    InitialisedOtherwise(u64),
    /// The storage failed.
    #[error("{file} could not be {action}: {error}")]
    Storage {
        /// `"read"`, `"stored"` or `"removed"`.
        action: &'static str,
        /// The name under which it is stored.
        file: String,
        /// What the storage says.
        error: E,
    },
}

/// Why a file is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// It doesn't verify.
    #[error(transparent)]
    Invalid(#[from] tufline_metadata::Error),
    /// It is longer than it may be.
    #[error("it has more than the {0} bytes that it may have")]
    TooLong(usize),
    /// It expired by the time that counts.
    #[error("it expired at {expires}, and it is {now}; if that isn't so, set this device's clock right")]
    Expired {
        /// When it expired.
        expires: Time,
        /// The time that counts.
        now: Time,
    },
    /// A rollback (TUF specification 5.4.3, 5.5.5).
    #[error("it goes back from version {trusted} of {of} to version {found}")]
    Rollback {
        /// The role whose version goes back.
        of: String,
        /// The version that was trusted before.
        trusted: u64,
        /// The version that it has now.
        found: u64,
    },
    /// A role that was listed is not any more (5.5.5).
    #[error("it doesn't list {0} any more, which was listed before")]
    Dropped(String),
    /// The snapshot doesn't list a role that is delegated to.
    #[error("it doesn't list {0}")]
    NotListed(String),
}

impl Why {
    /// What verifying said, with the time that counts.
    pub(crate) fn at(error: tufline_metadata::Error, now: Time) -> Self {
        match error {
            tufline_metadata::Error::Expired(expires) => Self::Expired { expires, now },
            error => Self::Invalid(error),
        }
    }
}

pub(crate) type Result<T, E> = core::result::Result<T, Error<E>>;
