//! The generations to replay.

use crate::delegations::Parties;
use crate::generation::{Manifest, Versions};
use crate::layout::Place;
use crate::primitives::RoleName;
/// Waiting generations, each based on the previous one and the first on the published one, with the
/// parties of each.
#[derive(Debug, Clone, Copy)]
pub struct Succession<'a> {
    /// The generation that devices see.
    pub published: &'a Manifest,
    /// The parties of the published generation.
    pub parties: &'a Parties,
    /// The versions that devices see.
    pub versions: &'a Versions,
    /// The waiting generations with their parties, the oldest first. The last one is the candidate.
    pub waiting: &'a [(&'a Manifest, &'a Parties)],
}

/// The places in the published index that a replay of these generations needs.
pub fn places<'a>(waiting: &'a [(&'a Manifest, &'a Parties)]) -> Vec<Place<'a>> {
    let names = waiting
        .iter()
        .flat_map(|(manifest, _)| &manifest.changes)
        .map(|change| Place::Name(&change.name));
    let roles = waiting.iter().flat_map(|(manifest, _)| manifest.changed.keys()).map(Place::Role);
    names.chain(roles).collect()
}

/// Whether a generation's document of `targets` is one that people signed. It then has a number
/// that was reserved earlier. Documents that the generation drafts itself have higher numbers.
pub(super) fn is_adopted(before: &Manifest, manifest: &Manifest) -> bool {
    manifest.changed.get(&RoleName::targets()).is_some_and(|entry| entry.version <= before.serial)
}
