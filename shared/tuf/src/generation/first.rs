//! The first generation, of a new repository or of an imported one.

use super::drafting::Drafting;
use super::edit::{Edit, TargetEdit};
use super::error::GenerationError;
use super::first_bins::FirstBins;
use super::fold::{Folding, Next, Others};
use super::listed::Listed;
use super::manifest::{MANIFEST_FORMAT, Manifest, Outcome, RemovalWindow};
use super::policy::Policy;
use crate::delegations::Parties;
use crate::layout::{AddressedDraft, Content, Index};
use crate::primitives::{RoleName, TargetName, after};
use std::collections::{BTreeMap, BTreeSet};
use tough::schema::key::Key;

/// The first generation of a repository without targets. `bins` is the number of bins to begin
/// with, which `bins_key` will sign. Also returns the generation's documents, which the caller
/// stores before the manifest.
///
/// # Errors
/// [`GenerationError::Document`], never in practice.
pub fn first(
    policy: Policy,
    bins_key: Key,
    bins: FirstBins,
) -> Result<(Next, Vec<AddressedDraft>), GenerationError> {
    begin(1, &UsedUp::default(), policy, bins_key, bins)
}

fn begin(
    generation: u64,
    used_up: &UsedUp,
    policy: Policy,
    bins_key: Key,
    bins: FirstBins,
) -> Result<(Next, Vec<AddressedDraft>), GenerationError> {
    let Policy { recorded, now, .. } = policy;
    let expires = after(now, recorded.targets_seconds);
    let (targets, below) = Listed::grown(&RoleName::targets(), bins.digits());
    let (bins_keys, parties) = (vec![bins_key.clone()], &Parties::default());
    let (mut drafting, draft) =
        Drafting::begin(targets, used_up.targets, expires, bins_keys, parties)?;
    let mut drafts = vec![draft];
    drafts.extend(drafting.add(below)?);
    let Drafting { serial, index, changed, .. } = drafting;
    let (top, pages) = index.finish()?;
    let manifest = Manifest {
        format: MANIFEST_FORMAT,
        generation,
        base: generation - 1,
        created: now,
        policy: recorded,
        first: used_up.targets,
        serial,
        timestamp_above: used_up.timestamp,
        targets: 0,
        bins_key,
        old_bins_key: None,
        top,
        changed,
        parties: None,
        decisions: 0,
        waived: BTreeSet::new(),
        party_changes: BTreeMap::new(),
        renew_snapshot: false,
        snapshot_expires: after(now, recorded.snapshot_seconds),
        changes: Vec::new(),
        removals: RemovalWindow::default(),
    };
    Ok((Next { manifest, pages }, drafts))
}

/// The highest versions that devices may have seen of a repository that is imported. Its new
/// versions begin above them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UsedUp {
    /// The highest version of the timestamp.
    pub timestamp: u64,
    /// The highest version of the snapshot.
    pub snapshot: u64,
    /// The highest version of the targets role and of all roles below it.
    pub targets: u64,
}

/// The first generation of an imported repository. It has all targets at once, and continues the
/// old versions. Also returns the generation's documents, which the caller stores before the
/// manifest.
///
/// It answers no uploads. Hash finds them later, and rebuild answers them when it sees that they
/// change nothing.
///
/// # Errors
/// [`GenerationError::Target`] for a target that cannot be taken over.
pub fn imported(
    used_up: &UsedUp,
    bins_key: Key,
    targets: Vec<(TargetName, Content)>,
    policy: Policy,
) -> Result<(Next, Vec<AddressedDraft>), GenerationError> {
    // This base is never stored. The targets are folded into it.
    let (Next { manifest: base, .. }, drafts) =
        begin(used_up.snapshot, used_up, policy, bins_key, FirstBins::One)?;
    let edit = |(name, content)| TargetEdit {
        name,
        version: None,
        uploaded: None,
        edit: Edit::Set(content),
    };
    let edits: Vec<TargetEdit> = targets.into_iter().map(edit).collect();
    // Draft `targets` even if there are no targets.
    let renew = BTreeSet::from([RoleName::targets()]);
    let (index, others) = (Index::new(base.top.clone()), Others::default());
    let mut folding =
        Folding::new(&base, index, &edits, &renew, base.bins_keys(), &others, policy)?;
    let mut documents = Vec::new();
    for draft in &drafts {
        documents.extend(folding.fold(draft.record())?);
    }
    let Next { mut manifest, pages } = folding.finish()?;
    for change in manifest.changes.drain(..) {
        if let Outcome::Rejected(rejection) = change.outcome {
            return Err(GenerationError::Target(rejection));
        }
    }
    Ok((Next { manifest, pages }, documents))
}
