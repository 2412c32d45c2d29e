//! Checks on a generation that need no documents.

use crate::delegations::Parties;
use crate::generation::{BinsKeys, Fault, Manifest, OldKey, RecordedPolicy, Refused, Versions};
use crate::layout::trie;
use crate::primitives::{RoleName, Time, after, seconds_between};
use crate::signing::same_key;
use tough::schema::key::Key;

/// The most that the clocks of stages may differ, in seconds.
pub const CLOCK_TOLERANCE_SECONDS: i64 = 60;

/// The most that a generation may be dated before its base, in seconds: the clock of its maker may
/// be behind.
const LARGEST_STEP_BACK_SECONDS: i64 = 600;

/// The most numbers of the serial that a generation may skip. Nobody can use up so many in advance,
/// so rebuild can always get above numbers that somebody took. And it takes more than 30 million
/// generations to use up all numbers that clients read alike (2^53).
pub const LARGEST_JUMP: u64 = 1 << 28;

/// What a generation is checked against, besides its base.
#[derive(Debug, Clone, Copy)]
pub struct ReplayRules<'a> {
    /// The current time, which no generation may be far ahead of.
    pub now: Time,
    /// The policy that is configured now.
    pub policy: RecordedPolicy,
    /// The keys for bins that the repository holds.
    pub bins_keys: &'a [Key],
    /// Whether people sign `targets`.
    pub offline_targets: bool,
}

pub(super) fn refused(manifest: &Manifest, fault: Fault, why: &str) -> Refused {
    let generation = manifest.generation;
    Refused {
        generation,
        fault,
        reason: format!("it doesn't follow from generation {}: {why}", manifest.base),
    }
}

/// Checks the fields of a generation that need no documents.
pub(super) fn check_facts(
    before: &Manifest,
    manifest: &Manifest,
    rules: ReplayRules<'_>,
) -> Result<(), Refused> {
    let void = |why: &str| Err(refused(manifest, Fault::Void, why));
    if manifest.base != before.generation || manifest.generation <= before.generation {
        return void("it is based on another generation");
    }
    if seconds_between(rules.now, manifest.created) > CLOCK_TOLERANCE_SECONDS {
        return void("it was made in the future");
    }
    if seconds_between(manifest.created, before.created) > LARGEST_STEP_BACK_SECONDS {
        return void("it was made long before that one");
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
        return void("it changes the number above which the timestamp's versions begin");
    }
    if manifest.policy != rules.policy && manifest.policy != before.policy {
        return Err(refused(
            manifest,
            Fault::Policy,
            "its policy is neither that one's nor the configured one",
        ));
    }
    Ok(())
}

/// Checks the keys of the bins: they must be the base's, or the next step of a replacement by a key
/// that the repository holds ([`BinsKeys::next`]).
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
        None if held.iter().any(|key| same_key(key, &new.signing))
            && !same_key(&old.signing, &new.signing) =>
        {
            let next = BinsKeys::with(before, &new.signing);
            Some(if split.is_empty() { next.alone() } else { next })
        }
        None => None,
    };
    if expected.as_ref() != Some(&new) {
        return Err("its keys of the bins are not the next step of a replacement".into());
    }
    match split.into_iter().find(|role| !manifest.changed.contains_key(*role)) {
        Some(role) => Err(format!("it changes the keys of the bins, but doesn't draft {role}")),
        None => Ok(()),
    }
}

/// Checks that `targets` is drafted if its delegations to other parties change.
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
    let same =
        says(old).and_then(|old| Ok(old == says(new)?)).map_err(|error| error.to_string())?;
    if same {
        Ok(())
    } else {
        Err("it changes what targets delegates, but doesn't draft targets".into())
    }
}

pub(super) fn is_split(role: &RoleName, versions: &Versions) -> bool {
    trie::children(role).first().is_some_and(|child| versions.contains_key(child))
}
