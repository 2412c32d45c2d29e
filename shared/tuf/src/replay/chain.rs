//! The generations that are replayed.

use crate::delegations::Parties;
use crate::generation::{Manifest, Versions};
use crate::layout::Place;
use crate::primitives::RoleName;
/// Generations that wait, each based on the one before and the first on what is published; and of each what it delegates to other parties.
#[derive(Debug, Clone, Copy)]
pub struct Succession<'a> {
    /// What devices see.
    pub published: &'a Manifest,
    /// What that delegates to other parties.
    pub parties: &'a Parties,
    /// The versions that devices see.
    pub versions: &'a Versions,
    /// The generations, the oldest first, with their parties; the last one is the candidate.
    pub waiting: &'a [(&'a Manifest, &'a Parties)],
}

/// The places of the published index that must be known to replay these generations.
pub fn places<'a>(waiting: &'a [(&'a Manifest, &'a Parties)]) -> Vec<Place<'a>> {
    let names = waiting.iter().flat_map(|(manifest, _)| &manifest.changes).map(|change| Place::Name(&change.name));
    let roles = waiting.iter().flat_map(|(manifest, _)| manifest.changed.keys()).map(Place::Role);
    names.chain(roles).collect()
}

/// Whether the document of `targets` in a generation is one that people signed under a number that was given out before: whatever a
/// generation drafts itself has a higher one.
pub(super) fn is_adopted(before: &Manifest, manifest: &Manifest) -> bool {
    manifest.changed.get(&RoleName::targets()).is_some_and(|entry| entry.version <= before.serial)
}
