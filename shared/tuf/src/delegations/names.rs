//! The names of other parties' roles: each begins with the name of the role that delegates to it.

use crate::primitives::RoleName;
/// Separates the delegating role's name from the role's own part.
pub(super) const BELOW: &str = "--";

/// The name of the party to which `role` belongs.
pub(crate) fn root_of(role: &RoleName) -> &str {
    role.as_str().split_once(BELOW).map_or(role.as_str(), |(party, _)| party)
}

/// The role that delegates to a party's role. `targets` delegates to a party's own role. Every role
/// below is named after the one above it.
#[must_use]
pub fn delegator(role: &RoleName) -> RoleName {
    let above = role.as_str().rsplit_once(BELOW).and_then(|(above, _)| above.parse().ok());
    above.unwrap_or_else(RoleName::targets)
}

/// Whether the name of `role` allows `above` to delegate to it.
pub(crate) fn is_below(role: &RoleName, above: &RoleName) -> bool {
    role.as_str()
        .strip_prefix(above.as_str())
        .and_then(|rest| rest.strip_prefix(BELOW))
        .is_some_and(|own| {
            let plain = !own.is_empty() && !own.contains(BELOW);
            plain && !own.starts_with('-')
        })
}
