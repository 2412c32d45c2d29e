//! What an update and its searches share.

use alloc::borrow::ToOwned;
use alloc::sync::Arc;

use tufline_metadata::{Meta, Snapshot, Targets, Time};

use crate::error::{Error, Why};

/// The top-level metadata, all verified at the time `now`.
#[derive(Debug, Clone)]
pub(crate) struct Current {
    pub now: Time,
    pub snapshot: Arc<Snapshot>,
    pub targets: Arc<Targets>,
}

/// The most bytes that a file may have: its listed length, or `limit` if that is less or no length
/// is listed.
pub(crate) fn most(listed: &Meta, limit: usize) -> usize {
    listed
        .length
        .and_then(|length| usize::try_from(length).ok())
        .map_or(limit, |length| length.min(limit))
}

pub(crate) fn refused<E>(file: &str, why: Why) -> Error<E> {
    Error::Refused { file: file.to_owned(), why }
}
