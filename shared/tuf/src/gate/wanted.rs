//! The documents and blobs that the gate wants.

use std::collections::BTreeSet;

use tough::schema::{Delegations, PathSet};

use crate::delegations::{Parties, Party};
use crate::primitives::{BadPattern, Pattern, RoleName, TargetName};
/// The other parties before and after the candidate.
#[derive(Debug, Clone, Copy)]
pub struct OtherParties<'a> {
    /// The parties of the generation that devices see.
    pub published: &'a Parties,
    /// The parties of the candidate.
    pub candidate: &'a Parties,
}

/// A document of another party to give to [`Gate::delivery`](super::Gate::delivery).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedDelivery {
    /// The party's role that the document is for.
    pub role: RoleName,
    /// The version that the candidate includes.
    pub version: u64,
    /// The version that devices see now; `None` if they see none.
    pub published: Option<u64>,
}

/// A blob that an added target needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedBlob {
    /// The lengths that targets state for it.
    pub lengths: BTreeSet<u64>,
    /// The targets that need it.
    pub names: Vec<TargetName>,
}

/// The patterns of the names that `delegations` give to `role`.
pub(super) fn own_paths(
    delegations: &Delegations,
    role: &RoleName,
) -> Result<Vec<Pattern>, BadPattern> {
    let entry = delegations.roles.iter().find(|entry| entry.name == role.as_str());
    let Some(PathSet::Paths(paths)) = entry.map(|entry| &entry.paths) else {
        return Ok(Vec::new());
    };
    paths.iter().map(|path| path.value().parse()).collect()
}

/// The roles in use of every party whose entry or documents changed. All roles of such a party are
/// included, since each determines whose signature counts below it.
pub(super) fn changed_deliveries(others: OtherParties<'_>) -> BTreeSet<RoleName> {
    let OtherParties { published, candidate } = others;
    let is_same = |role: &RoleName| published.documents.get(role) == candidate.documents.get(role);
    let unchanged = |(own, party): &(&RoleName, &Party)| {
        published.parties.get(*own) == Some(*party) && party.roles(own).all(is_same)
    };
    let changed = candidate.listed().filter(|party| !unchanged(party));
    changed.flat_map(|(own, party)| party.roles(own)).cloned().collect()
}
