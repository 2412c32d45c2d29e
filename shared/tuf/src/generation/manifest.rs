//! Manifests: the immutable record of each generation.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tough::schema::key::Key;

use super::bins_keys::{BinsKeys, OldKey};
use super::policy::RecordedPolicy;
use crate::delegations::{PartyChange, PartyDocument};
use crate::layout::{Content, Expiring, IndexEntry, RoleEntry};
use crate::primitives::{Rejection, RoleName, Sha256, TargetName, Time};

/// The format of manifests that this code writes, and the only one that it reads.
pub const MANIFEST_FORMAT: u32 = 1;

/// The record of generation G in the ledger: which role documents it changes, and why.
///
/// *Invariants*: created once and never rewritten; manifests are numbered without gaps, from 1 or where an import begins; along the generations
/// that are based on each other `serial` never decreases, and every version in `changed` was taken from it exactly once; all that it says follows
/// from its base, its `changes` and the few fields that [`crate::replay`] names; its size is that of its changes, not of the repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`MANIFEST_FORMAT`].
    pub format: u32,
    /// G: the number of this generation, and the version of its snapshot.
    pub generation: u64,
    /// The generation that it changes: the one before, or an older one where those in between are void.
    pub base: u64,
    /// When this manifest was made.
    pub created: Time,
    /// What the operator's policy said then.
    pub policy: RecordedPolicy,
    /// Its documents take the versions above this one: the base's serial, or more where others took numbers.
    pub first: u64,
    /// The highest version that any document of the targets family has: the next one gets `serial + 1`.
    pub serial: u64,
    /// The timestamp's versions begin above this: others used them up before the repository was imported.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub timestamp_above: u64,
    /// How many targets the repository has with this generation.
    pub targets: u64,
    /// The public key that signs the bins among [`Manifest::changed`].
    pub bins_key: Key,
    /// The one before it, while there are bins that it signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_bins_key: Option<OldKey>,
    /// The entry of `targets`, from which every other is found ([`crate::index`]).
    pub top: IndexEntry,
    /// The documents that this generation makes. Empty in a fence, see [`Manifest::is_fence`].
    pub changed: BTreeMap<RoleName, RoleEntry>,
    /// What is delegated to other parties, as a [`crate::Parties`] of this digest in the ledger; nothing before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parties: Option<Sha256>,
    /// So many decisions of operators about that were carried out, this generation's with them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub decisions: u64,
    /// Those of them that this generation counts and doesn't carry out: they would hide targets.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub waived: BTreeSet<u64>,
    /// What this generation changes of that, by roles.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub party_changes: BTreeMap<RoleName, PartyChange>,
    /// Whether a snapshot is due though no document changed (the published one expires soon, or was refused).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub renew_snapshot: bool,
    /// When this generation's snapshot expires, so that every attempt to sign it signs the same.
    pub snapshot_expires: Time,
    /// What this generation answers, in the order in which it was applied.
    pub changes: Vec<Applied>,
    /// Removals lately made, for the limit on how many go at once.
    #[serde(default)]
    pub removals: RemovalWindow,
}

/// One change as a generation applied it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The target.
    pub name: TargetName,
    /// The upload (or delete marker) that this answers; `None` for a removal of which no version is left, and for what was listed and
    /// is refused now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// When that was uploaded, where that is known and it changed the target: for measuring only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uploaded: Option<Time>,
    /// What the target is from this generation on.
    pub outcome: Outcome,
}

/// What a change made of a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The target has these bytes and this custom metadata.
    Set(Content),
    /// The target is gone.
    Removed,
    /// The upload is refused, the target stays what it was; where no upload is named the target is gone.
    #[serde(rename = "refused")]
    Rejected(Rejection),
    /// The name is another party's: the upload's bytes are kept, and that role's document says whether devices see them.
    Delegated(RoleName),
}

/// How many targets were removed since `since`, when there were `targets`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovalWindow {
    /// When the window began; `None` before the first removal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// The number of targets at that time.
    #[serde(default)]
    pub targets: u64,
    /// Removed since.
    #[serde(default)]
    pub removed: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes what it looks at by reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Manifest {
    /// The keys of the bins.
    #[must_use]
    pub fn bins_keys(&self) -> BinsKeys {
        BinsKeys { signing: self.bins_key.clone(), old: self.old_bins_key.clone() }
    }

    /// A manifest without anything to sign: it only makes older attempts lose. Sign and publish pass over it.
    #[must_use]
    pub fn is_fence(&self) -> bool {
        self.changed.is_empty() && self.deliveries().next().is_none() && !self.renew_snapshot
    }

    /// The documents of other parties that this generation takes in.
    pub fn deliveries(&self) -> impl Iterator<Item = (&RoleName, &PartyDocument)> {
        self.party_changes.iter().filter_map(|(role, change)| Some((role, change.document.as_ref()?)))
    }

    /// Which document of the targets family expires first, with this generation.
    #[must_use]
    pub fn first_to_expire(&self) -> Expiring {
        self.top.first_to_expire(&RoleName::targets())
    }

    /// The uploads that this generation takes in: version and name. The version is what follows an upload through all logs.
    pub fn uploads(&self) -> impl Iterator<Item = (&str, &TargetName)> {
        let taken = self.changes.iter().filter(|change| matches!(change.outcome, Outcome::Set(_) | Outcome::Removed));
        taken.filter_map(|change| Some((change.version.as_deref()?, &change.name)))
    }
}
