//! Manifests, the immutable records of generations.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tough::schema::key::Key;

use super::bins_keys::{BinsKeys, OldKey};
use super::policy::RecordedPolicy;
use crate::delegations::{PartyChange, PartyDocument};
use crate::layout::{Content, Expiring, IndexEntry, RoleEntry};
use crate::primitives::{Rejection, RoleName, Sha256, TargetName, Time};

/// The format version of the manifests that this code writes. It reads no other.
pub const MANIFEST_FORMAT: u32 = 1;

/// The record of generation G in the ledger: which role documents it changes, and why.
///
/// *Invariants*: a manifest is created once and never rewritten; manifests are numbered without
/// gaps, from 1 or from where an import begins; along a chain of bases `serial` never decreases,
/// and each version in `changed` was taken from it exactly once; all content follows from the base,
/// the `changes` and the few fields that [`crate::replay`] names; its size is that of its changes,
/// not of the repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The format version, [`MANIFEST_FORMAT`].
    pub format: u32,
    /// G: the number of this generation, and the version of its snapshot.
    pub generation: u64,
    /// The generation that it changes: the previous one, or an older one if those in between are
    /// void.
    pub base: u64,
    /// The time at which this manifest was made.
    pub created: Time,
    /// The operator's policy at that time.
    pub policy: RecordedPolicy,
    /// The versions of its documents begin above this one: the base's serial, or more if somebody
    /// else took numbers.
    pub first: u64,
    /// The highest version of any document of the targets family. The next document gets `serial +
    /// 1`.
    pub serial: u64,
    /// The timestamp's versions begin above this one: an imported repository used up the versions
    /// below.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub timestamp_above: u64,
    /// The number of targets in the repository as of this generation.
    pub targets: u64,
    /// The public key that signs the bins in [`Manifest::changed`].
    pub bins_key: Key,
    /// The previous key, as long as some bins are signed by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_bins_key: Option<OldKey>,
    /// The index entry of `targets`, which leads to all other entries ([`crate::index`]).
    pub top: IndexEntry,
    /// The documents that this generation drafts, by role. Empty in a fence, see
    /// [`Manifest::is_fence`].
    pub changed: BTreeMap<RoleName, RoleEntry>,
    /// The digest of the [`crate::Parties`] in the ledger; `None` before the first delegation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parties: Option<Sha256>,
    /// How many decisions of operators about parties were applied up to and including this
    /// generation.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub decisions: u64,
    /// The decisions that this generation counts but does not carry out, since they would hide
    /// targets.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub waived: BTreeSet<u64>,
    /// The changes that this generation makes to parties, by role.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub party_changes: BTreeMap<RoleName, PartyChange>,
    /// Whether a snapshot is due even if no document changed (the published one expires soon, or
    /// was refused).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub renew_snapshot: bool,
    /// The expiry of this generation's snapshot. It is recorded so that every attempt to sign the
    /// snapshot signs the same document.
    pub snapshot_expires: Time,
    /// The changes that this generation answers, in the order in which it applied them.
    pub changes: Vec<Applied>,
    /// Recent removals, which count towards the limit on removals.
    #[serde(default)]
    pub removals: RemovalWindow,
}

/// A change that a generation applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The name of the changed target.
    pub name: TargetName,
    /// The upload or delete marker that this answers. `None` for a removal of which no version is
    /// left, and for a listed target that is now refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The time of the upload, if it is known and the upload changed the target. For measurements
    /// only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uploaded: Option<Time>,
    /// The target from this generation on.
    pub outcome: Outcome,
}

/// The outcome of a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The target has this content.
    Set(Content),
    /// The target no longer exists.
    Removed,
    /// The upload is refused, and the target stays as it was. If no upload is named, the target
    /// itself is refused and no longer exists.
    #[serde(rename = "refused")]
    Rejected(Rejection),
    /// The name belongs to another party's role, here named. The upload's bytes are kept, and that
    /// role's document determines whether devices see them.
    Delegated(RoleName),
}

/// How many targets were removed within a window of time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovalWindow {
    /// The beginning of the window; `None` before the first removal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// The number of targets at that time.
    #[serde(default)]
    pub targets: u64,
    /// The number of targets removed since then.
    #[serde(default)]
    pub removed: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes what it looks at by reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Manifest {
    /// The keys of the bins as of this generation.
    #[must_use]
    pub fn bins_keys(&self) -> BinsKeys {
        BinsKeys { signing: self.bins_key.clone(), old: self.old_bins_key.clone() }
    }

    /// Whether there is nothing to sign. Such a manifest, a fence, only answers changes and makes
    /// older attempts lose. Sign and publish skip it.
    #[must_use]
    pub fn is_fence(&self) -> bool {
        self.changed.is_empty() && self.deliveries().next().is_none() && !self.renew_snapshot
    }

    /// The other parties' documents that this generation takes in.
    pub fn deliveries(&self) -> impl Iterator<Item = (&RoleName, &PartyDocument)> {
        self.party_changes
            .iter()
            .filter_map(|(role, change)| Some((role, change.document.as_ref()?)))
    }

    /// The document of the targets family that expires first, as of this generation.
    #[must_use]
    pub fn first_to_expire(&self) -> Expiring {
        self.top.first_to_expire(&RoleName::targets())
    }

    /// The uploads that this generation takes in: their versions and names. The version identifies
    /// an upload in all logs.
    pub fn uploads(&self) -> impl Iterator<Item = (&str, &TargetName)> {
        let taken = self
            .changes
            .iter()
            .filter(|change| matches!(change.outcome, Outcome::Set(_) | Outcome::Removed));
        taken.filter_map(|change| Some((change.version.as_deref()?, &change.name)))
    }
}
