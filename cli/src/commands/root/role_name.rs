//! A role of the root, as an argument.

use clap::ValueEnum;
use tough::schema::RoleType;

/// A role that the root lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RootRoleName {
    Root,
    Targets,
    Snapshot,
    Timestamp,
}

impl From<RootRoleName> for RoleType {
    fn from(name: RootRoleName) -> Self {
        match name {
            RootRoleName::Root => Self::Root,
            RootRoleName::Targets => Self::Targets,
            RootRoleName::Snapshot => Self::Snapshot,
            RootRoleName::Timestamp => Self::Timestamp,
        }
    }
}
