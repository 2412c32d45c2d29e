//! Why a batch makes no generation.

use crate::primitives::{Rejection, RoleName};
use crate::signing::VerifyError;
/// Why a batch cannot be folded in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GenerationError {
    /// The caller did not give a document that the batch changes, or the role doesn't exist.
    #[error("the document of role {0} is missing")]
    Missing(RoleName),
    /// The caller did not read a page of the index that the batch needs.
    #[error("the page of the bins below {0} was not read")]
    Unread(RoleName),
    /// The caller gave a document that was not wanted, or gave it twice.
    #[error("the document of role {0} was given, but not wanted")]
    Unasked(RoleName),
    /// An inconsistency that sound records and correct callers cannot cause.
    #[error("{0}, which should be impossible; report this with the function's log")]
    Impossible(String),
    /// A document cannot be written or read.
    #[error(transparent)]
    Document(#[from] VerifyError),
    /// A target that an import cannot take over.
    #[error(transparent)]
    Target(Rejection),
    /// The batch would remove more targets at once than the configured limit allows.
    #[error("{removals} of {targets} targets would be removed at once")]
    TooManyRemovals {
        /// The removals in the window, including this batch's.
        removals: u64,
        /// The number of targets when the window began.
        targets: u64,
    },
}
