//! Why there is no next generation.

use crate::primitives::{Rejection, RoleName};
use crate::signing::VerifyError;
/// Why a batch cannot be folded in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GenerationError {
    /// A document that the batch touches was not given.
    #[error("the document of role {0} is missing")]
    Missing(RoleName),
    /// A page of the index that the batch needs was not read.
    #[error("the page of the bins below {0} was not read")]
    Unread(RoleName),
    /// A document was given that was not asked for, or twice.
    #[error("the document of role {0} was given, and was not asked for")]
    Unasked(RoleName),
    /// What no sound record and no caller that keeps the rules can bring about.
    #[error("{0}, which can't be; report this with the function's log")]
    Impossible(String),
    /// A document cannot be written or read.
    #[error(transparent)]
    Document(#[from] VerifyError),
    /// A target that can't be taken in.
    #[error(transparent)]
    Target(Rejection),
    /// More targets would go at once than the configured limit allows.
    #[error("{removals} of {targets} targets would be removed at once")]
    TooManyRemovals {
        /// Removals in the window, with this batch's.
        removals: u64,
        /// Targets when the window began.
        targets: u64,
    },
}
