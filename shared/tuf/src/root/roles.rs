//! The roles of a root.

use tough::schema::RoleType;

/// The roles of a root: these and no others, since some clients don't read a root with another.
pub const ROLES: [RoleType; 4] = [RoleType::Root, RoleType::Timestamp, RoleType::Snapshot, RoleType::Targets];

/// The name of a top-level role.
pub(super) fn name(role: RoleType) -> &'static str {
    match role {
        RoleType::Root => "root",
        RoleType::Targets => "targets",
        RoleType::Snapshot => "snapshot",
        RoleType::Timestamp => "timestamp",
        RoleType::DelegatedTargets => "delegated targets",
    }
}
