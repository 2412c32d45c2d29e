//! Why a generation is not shown.

use crate::primitives::{RoleName, TargetName};
/// Why a generation is not shown, and what is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("generation {generation} refused: {reason}")]
pub struct Refused {
    /// The generation.
    pub generation: u64,
    /// What must be made anew.
    pub fault: Fault,
    /// One line.
    pub reason: String,
}

/// What is at fault in a refused generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The root: only an operator can mend it.
    Root,
    /// This version of this role (for the snapshot: its generation) expired: another must be drafted.
    Expired(RoleName, u64),
    /// What is stored as this version of this role (for the snapshot: its generation) is not what the generation says: somebody else took the
    /// number.
    Role(RoleName, u64),
    /// These targets' bytes are missing or wrong.
    Targets(Vec<TargetName>),
    /// It doesn't follow from the generation that it is based on: none of it is to be used ([`crate::replay`]).
    Void,
    /// It was made under a policy that isn't known here, as while a new configuration is deployed: it is made anew.
    Policy,
}
