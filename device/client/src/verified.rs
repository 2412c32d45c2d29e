//! What an update and its searches have in common.

use alloc::borrow::ToOwned;
use alloc::sync::Arc;

use tufline_metadata::{Meta, Snapshot, Targets, Time};

use crate::error::{Error, Why};

/// All top-level metadata, verified at one time.
#[derive(Debug, Clone)]
pub(crate) struct Current {
    pub now: Time,
    pub snapshot: Arc<Snapshot>,
    pub targets: Arc<Targets>,
}

/// How long a file may be of which this is listed.
pub(crate) fn most(listed: &Meta, limit: usize) -> usize {
    listed.length.and_then(|length| usize::try_from(length).ok()).map_or(limit, |length| length.min(limit))
}

pub(crate) fn refused<E>(file: &str, why: Why) -> Error<E> {
    Error::Refused { file: file.to_owned(), why }
}
