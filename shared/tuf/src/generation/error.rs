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
