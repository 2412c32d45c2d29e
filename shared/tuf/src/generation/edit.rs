//! The changes in a batch.

use crate::layout::Content;
use crate::primitives::{TargetName, Time};
/// What a change does to a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// Gives the target this content.
    Set(Content),
    /// Removes the target, so that devices no longer find it.
    Remove,
}

impl Edit {
    /// The target's content after the change; `None` if it is removed.
    #[must_use]
    pub fn content(&self) -> Option<&Content> {
        match self {
            Self::Set(content) => Some(content),
            Self::Remove => None,
        }
    }
}

/// A change to fold in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetEdit {
    /// The name of the target to change.
    pub name: TargetName,
    /// The version of the upload or of its delete marker.
    pub version: Option<String>,
    /// The time of the upload, if known.
    pub uploaded: Option<Time>,
    /// What happens to the target.
    pub edit: Edit,
}
