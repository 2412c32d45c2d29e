//! What is held against a generation without any document.

use crate::delegations::Parties;
use crate::generation::{BinsKeys, Fault, Manifest, OldKey, RecordedPolicy, Refused, Versions};
use crate::layout::trie;
use crate::primitives::{RoleName, Time, after, seconds_between};
use crate::signing::same_key;
use tough::schema::key::Key;

/// The clocks of those who make generations and of those who judge them differ by less than this. In seconds.
pub const CLOCK_TOLERANCE_SECONDS: i64 = 60;

/// So much earlier than its base a generation may say that it was made: its maker's clock may be behind another's. In seconds.
const LARGEST_STEP_BACK_SECONDS: i64 = 600;

/// A generation may leave out so many numbers: more than anybody can take beforehand, for whoever must get above them, and few enough that it
/// takes more than 30 million generations to use up all that clients read alike (2^53).
pub const LARGEST_JUMP: u64 = 1 << 28;

/// What a generation is held against, beside its base.
#[derive(Debug, Clone, Copy)]
pub struct ReplayRules<'a> {
    /// The time.
    pub now: Time,
    /// The policy of now.
    pub policy: RecordedPolicy,
    /// The keys for bins that are held.
    pub bins_keys: &'a [Key],
    /// Whether people sign `targets`.
    pub offline_targets: bool,
}

pub(super) fn refused(manifest: &Manifest, fault: Fault, why: &str) -> Refused {
    let generation = manifest.generation;
    Refused { generation, fault, reason: format!("it doesn't follow from generation {}: {why}", manifest.base) }
}

/// What a generation says without any document.
pub(super) fn check_facts(before: &Manifest, manifest: &Manifest, rules: ReplayRules<'_>) -> Result<(), Refused> {
    let void = |why: &str| Err(refused(manifest, Fault::Void, why));
    if manifest.base != before.generation || manifest.generation <= before.generation {
        return void("it is based on another");
    }
    if seconds_between(rules.now, manifest.created) > CLOCK_TOLERANCE_SECONDS {
        return void("it was made in the future");
    }
    if seconds_between(manifest.created, before.created) > LARGEST_STEP_BACK_SECONDS {
        return void("it was made before that one");
    }
    if manifest.first < before.serial || manifest.first - before.serial > LARGEST_JUMP {
        return void("it takes numbers that are not the next ones");
    }
    if manifest.snapshot_expires != after(manifest.created, manifest.policy.snapshot_seconds) {
        return void("its snapshot expires at another time than the policy says");
    }
    if manifest.decisions < before.decisions {
        return void("it forgets a decision about other parties");
    }
    if manifest.timestamp_above != before.timestamp_above {
        return void("it says otherwise where the timestamp's versions begin");
    }
    if manifest.policy != rules.policy && manifest.policy != before.policy {
        return Err(refused(manifest, Fault::Policy, "its policy is neither that one's nor the configured one"));
    }
    Ok(())
}

/// Which keys of the bins may follow: the same, or the next step of a replacement by a key that is held ([`BinsKeys::next`]).
pub(super) fn check_bins_keys(
    before: &Manifest,
    manifest: &Manifest,
    versions: &Versions,
    held: &[Key],
) -> Result<(), String> {
    let (old, new) = (before.bins_keys(), manifest.bins_keys());
    if old == new {
        return Ok(());
    }
    let split: Vec<&RoleName> = versions.keys().filter(|role| is_split(role, versions)).collect();
    let expected = match &old.old {
        Some(OldKey { up_to, .. }) => {
            let mut bins = versions.iter().filter(|(role, _)| trie::parent(role).is_some());
            bins.all(|(_, version)| version > up_to).then(|| old.alone())
        }
        None if held.iter().any(|key| same_key(key, &new.signing)) && !same_key(&old.signing, &new.signing) => {
            let next = BinsKeys::with(before, &new.signing);
            Some(if split.is_empty() { next.alone() } else { next })
        }
        None => None,
    };
    if expected.as_ref() != Some(&new) {
        return Err("its keys of the bins are no next step of a replacement".into());
    }
    match split.into_iter().find(|role| !manifest.changed.contains_key(*role)) {
        Some(role) => Err(format!("it changes the keys of the bins, and doesn't draft {role}")),
        None => Ok(()),
    }
}

/// Where `targets` must delegate otherwise to other parties, it must be drafted.
pub(super) fn check_delegating(
    before: &Manifest,
    old: &Parties,
    manifest: &Manifest,
    new: &Parties,
) -> Result<(), String> {
    if before.parties == manifest.parties || manifest.changed.contains_key(&RoleName::targets()) {
        return Ok(());
    }
    let says = |parties: &Parties| parties.delegations(&RoleName::targets(), false, &[]);
    let same = says(old).and_then(|old| Ok(old == says(new)?)).map_err(|error| error.to_string())?;
    if same { Ok(()) } else { Err("it changes what targets delegates, and doesn't draft it".into()) }
}

pub(super) fn is_split(role: &RoleName, versions: &Versions) -> bool {
    trie::children(role).first().is_some_and(|child| versions.contains_key(child))
}
