//! What the gate asks for.

use std::collections::BTreeSet;

use tough::schema::{Delegations, PathSet};

use crate::delegations::{Parties, Party};
use crate::primitives::{BadPattern, Pattern, RoleName, TargetName};
/// What is delegated to other parties.
#[derive(Debug, Clone, Copy)]
pub struct OtherParties<'a> {
    /// In the generation that devices see.
    pub published: &'a Parties,
    /// In the candidate.
    pub candidate: &'a Parties,
}

/// A document of another party to give to [`Gate::delivery`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedDelivery {
    /// Its role.
    pub role: RoleName,
    /// Its version.
    pub version: u64,
    /// The version that devices see now.
    pub published: Option<u64>,
}

/// A blob that an added target needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedBlob {
    /// The length that each target states for it.
    pub lengths: BTreeSet<u64>,
    /// The targets that need it.
    pub names: Vec<TargetName>,
}

/// The names that `delegations` give to `role`.
pub(super) fn own_paths(delegations: &Delegations, role: &RoleName) -> Result<Vec<Pattern>, BadPattern> {
    let entry = delegations.roles.iter().find(|entry| entry.name == role.as_str());
    let Some(PathSet::Paths(paths)) = entry.map(|entry| &entry.paths) else { return Ok(Vec::new()) };
    paths.iter().map(|path| path.value().parse()).collect()
}

/// The roles in use whose document is another than devices see, or whose party devices see otherwise: with all roles of that party, since each
/// says whose signature counts below it.
pub(super) fn changed_deliveries(others: OtherParties<'_>) -> BTreeSet<RoleName> {
    let OtherParties { published, candidate } = others;
    let is_same = |role: &RoleName| published.documents.get(role) == candidate.documents.get(role);
    let unchanged = |(own, party): &(&RoleName, &Party)| {
        published.parties.get(*own) == Some(*party) && party.roles(own).all(is_same)
    };
    let changed = candidate.listed().filter(|party| !unchanged(party));
    changed.flat_map(|(own, party)| party.roles(own)).cloned().collect()
}
