//! Why a generation is not shown.

use crate::primitives::{RoleName, TargetName};
/// Why a generation is not shown, and which part is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("generation {generation} refused: {reason}")]
pub struct Refused {
    /// The number of the refused generation.
    pub generation: u64,
    /// The part that must be made again.
    pub fault: Fault,
    /// The reason, in one line.
    pub reason: String,
}

/// The part of a refused generation that is at fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The root. Only an operator can replace it.
    Root,
    /// This version of this role (for the snapshot: its generation) expired, so another must be
    /// drafted.
    Expired(RoleName, u64),
    /// The stored file of this version of this role (for the snapshot: its generation) is not the
    /// one that the generation records: somebody else took the number.
    Role(RoleName, u64),
    /// The bytes of these targets are missing or wrong.
    Targets(Vec<TargetName>),
    /// The generation doesn't follow from its base, so none of it may be used ([`crate::replay`]).
    Void,
    /// The generation was made under another policy, for example while a new configuration is
    /// deployed. It is made again.
    Policy,
}
