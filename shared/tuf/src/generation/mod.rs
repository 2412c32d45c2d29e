//! Generations: applies a batch of changes to the newest generation, records the result, and says
//! why a generation may not be shown.

mod bins_key_rotation;
mod bins_keys;
mod drafting;
mod edit;
mod error;
mod first;
mod first_bins;
mod fold;
pub(crate) mod listed;
mod manifest;
mod policy;
mod refused;
mod removals;
mod snapshot;

pub use bins_key_rotation::outdated_bins;
pub use bins_keys::{BinsKeys, OldKey};
pub use drafting::targets_document;
pub(crate) use drafting::targets_draft;
pub use edit::{Edit, TargetEdit};
pub use error::GenerationError;
pub use first::{UsedUp, first, imported};
pub use first_bins::{BadBins, FirstBins};
pub use fold::{Folding, Next, Others};
pub(crate) use listed::Listed;
pub use manifest::{Applied, MANIFEST_FORMAT, Manifest, Outcome, RemovalWindow};
pub use policy::{DEEPEST_BIN, Policy, RecordedPolicy};
pub use refused::{Fault, Refused};
pub(crate) use removals::count_removals;
pub use snapshot::{Versions, advance, snapshot, versions};

pub use crate::layout::{digest_of, target_of};
pub use crate::primitives::SPEC_VERSION;
