//! What a batch changes.

use crate::layout::Content;
use crate::primitives::{TargetName, Time};
/// What a change makes of one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// It has this content.
    Set(Content),
    /// It is gone.
    Remove,
}

impl Edit {
    /// What the target has then; `None` where there is none.
    #[must_use]
    pub fn content(&self) -> Option<&Content> {
        match self {
            Self::Set(content) => Some(content),
            Self::Remove => None,
        }
    }
}

/// One change to fold in, in the order in which it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetEdit {
    /// The target.
    pub name: TargetName,
    /// The version of the upload, or of its delete marker.
    pub version: Option<String>,
    /// When it was uploaded, where that is known.
    pub uploaded: Option<Time>,
    /// The change.
    pub edit: Edit,
}
