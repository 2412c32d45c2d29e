//! The roles of a root.

use tough::schema::RoleType;

/// The roles of a root. It may have no others, since some clients refuse a root with another role.
pub const ROLES: [RoleType; 4] =
    [RoleType::Root, RoleType::Timestamp, RoleType::Snapshot, RoleType::Targets];

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
