//! Replays of generations: what rebuild makes passes, and a manifest with any other content does
//! not.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{Documents, Generation, content, content_of, now, remove, set, small};
use proptest::prelude::*;
use tough::sign::Sign;
use tufline_tuf::config::Expiry;
use tufline_tuf::gate::{Fault, Refused};
use tufline_tuf::generation::{Edit, FirstBins, Policy, TargetEdit};
use tufline_tuf::replay::{LARGEST_JUMP, Net, Replay, ReplayRules, Succession, places};
use tufline_tuf::time::after;
use tufline_tuf::{
    Applied, BinsKeys, Content, Manifest, Outcome, Parties, RecordedPolicy, RoleName, TargetName,
    trie,
};

const MOST: usize = 2;

fn edit() -> impl Strategy<Value = TargetEdit> {
    let edit = prop_oneof![3 => "[xyz]{0,2}".prop_map(|bytes| Edit::Set(content(&bytes))), 1 => Just(Edit::Remove)];
    ("[a-d](/[a-b])?", edit).prop_map(|(name, edit)| TargetEdit {
        name: name.parse().unwrap(),
        version: Some("v".into()),
        uploaded: None,
        edit,
    })
}

/// A batch changes a name at most once.
fn batch() -> impl Strategy<Value = Vec<TargetEdit>> {
    proptest::collection::vec(edit(), 0..5).prop_map(|edits| {
        let edits: BTreeMap<TargetName, TargetEdit> =
            edits.into_iter().map(|edit| (edit.name.clone(), edit)).collect();
        edits.into_values().collect()
    })
}

/// The generation after `base`, in which some roles are drafted again.
fn next(base: &Generation, edits: &[TargetEdit], renew: usize, seconds: u64) -> Generation {
    let roles: Vec<RoleName> = base.entries().into_keys().collect();
    let renew: BTreeSet<RoleName> = roles.into_iter().take(renew).collect();
    let policy = small(MOST, after(base.manifest.created, seconds));
    base.fold_with(base.whole_index(), edits, &renew, base.manifest.bins_keys(), policy).unwrap()
}

/// Replays the `waiting` generations on `published`. Returns the documents that devices would see,
/// and what changes for them.
fn replay(
    published: &Generation,
    waiting: &[Manifest],
    rules: ReplayRules<'_>,
) -> Result<(Documents, BTreeMap<TargetName, Net>), Refused> {
    let nobody = Parties::default();
    let waiting: Vec<(&Manifest, &Parties)> =
        waiting.iter().map(|manifest| (manifest, &nobody)).collect();
    let (index, _) = published.index(&places(&waiting));
    let chain = Succession {
        published: &published.manifest,
        parties: &nobody,
        versions: &published.versions,
        waiting: &waiting,
    };
    let mut replay = Replay::open(chain, index, rules)?;
    let mut documents = Documents::new();
    for (role, entry) in replay.wanted() {
        let document = &published.documents[&role];
        assert_eq!(entry, published.entries()[&role].document);
        for replayed in replay.fold(document)? {
            let draft = replayed.draft.into_record();
            documents.insert(draft.role().clone(), draft);
        }
    }
    let net = replay.net().clone();
    replay.finish()?;
    Ok((documents, net))
}

fn rules(now: tufline_tuf::Time) -> ReplayRules<'static> {
    ReplayRules { now, policy: small(MOST, now).recorded, bins_keys: &[], offline_targets: false }
}

fn targets_of(generation: &Generation) -> BTreeMap<TargetName, Content> {
    let names = generation.documents.values().flat_map(|draft| draft.document().targets.keys());
    let names: BTreeSet<TargetName> = names.map(|name| name.raw().parse().unwrap()).collect();
    let content = |name: &TargetName| {
        content_of(generation.documents[&generation.role_of(name.as_str())].document(), name)
            .unwrap()
    };
    names.into_iter().map(|name| (name.clone(), content(&name))).collect()
}

/// A change that an attacker may make to an honest manifest.
#[derive(Debug, Clone, Copy)]
enum Lie {
    Content,
    AnotherName,
    Removal,
    Version,
    NoVersion,
    Expiry,
    SnapshotExpiry,
    Serial,
    First,
    FarFirst,
    Created,
    Future,
    Policy,
    Count,
    Window,
    Draft,
    LeftOut,
    Index,
    BinsKey,
    TimestampAbove,
    Base,
    Twice,
}

const LIES: [Lie; 22] = [
    Lie::Content,
    Lie::AnotherName,
    Lie::Removal,
    Lie::Version,
    Lie::NoVersion,
    Lie::Expiry,
    Lie::SnapshotExpiry,
    Lie::Serial,
    Lie::First,
    Lie::FarFirst,
    Lie::Created,
    Lie::Future,
    Lie::Policy,
    Lie::Count,
    Lie::Window,
    Lie::Draft,
    Lie::LeftOut,
    Lie::Index,
    Lie::BinsKey,
    Lie::TimestampAbove,
    Lie::Base,
    Lie::Twice,
];

/// Makes the change, if the manifest has the part that it concerns. Returns whether it did.
fn tell(lie: Lie, manifest: &mut Manifest) -> bool {
    let is_set = |change: &&mut Applied| matches!(change.outcome, Outcome::Set(_));
    match lie {
        Lie::Content => match manifest.changes.iter_mut().find(is_set) {
            Some(change) if !manifest.changed.is_empty() => {
                change.outcome = Outcome::Set(content("evil"));
            }
            _ => return false,
        },
        Lie::AnotherName => match manifest.changes.iter_mut().find(is_set) {
            Some(change) if !manifest.changed.is_empty() => change.name = "evil".parse().unwrap(),
            _ => return false,
        },
        Lie::Removal => match manifest.changes.iter_mut().find(is_set) {
            Some(change) if !manifest.changed.is_empty() => change.outcome = Outcome::Removed,
            _ => return false,
        },
        Lie::Version => match manifest.changed.values_mut().next() {
            Some(entry) => entry.version += 7,
            None => return false,
        },
        // No document can have this version.
        Lie::NoVersion => match manifest.changed.values_mut().next() {
            Some(entry) => entry.version = 0,
            None => return false,
        },
        Lie::Expiry => match manifest.changed.values_mut().next() {
            Some(entry) => entry.expires = after(entry.expires, 1),
            None => return false,
        },
        Lie::SnapshotExpiry => manifest.snapshot_expires = after(manifest.snapshot_expires, 1),
        Lie::Serial => manifest.serial += 1,
        Lie::First => manifest.first -= 1,
        Lie::FarFirst => manifest.first += LARGEST_JUMP + 1,
        Lie::Created => manifest.created = after(manifest.created, 1),
        Lie::Future => manifest.created = after(manifest.created, 100_000),
        Lie::Policy => {
            let expiry = Expiry { targets: "1000d".parse().unwrap(), ..Expiry::default() };
            manifest.policy = RecordedPolicy::new(&expiry, MOST);
        }
        Lie::Count => manifest.targets += 1,
        Lie::Window => manifest.removals.removed += 1,
        Lie::Draft => match manifest.changed.values_mut().next() {
            Some(entry) => entry.draft = tufline_tuf::Sha256::of(b"evil"),
            None => return false,
        },
        Lie::LeftOut => return manifest.changed.pop_first().is_some(),
        Lie::Index => manifest.top.document.draft = tufline_tuf::Sha256::of(b"evil"),
        Lie::BinsKey => manifest.bins_key = common::key().tuf_key(),
        Lie::TimestampAbove => manifest.timestamp_above += 1,
        Lie::Base => manifest.base = manifest.base.wrapping_sub(1),
        Lie::Twice => match manifest.changes.first().cloned() {
            Some(change) => manifest.changes.push(change),
            None => return false,
        },
    }
    true
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// Folded generations replay to the same documents, from any published generation on. The net
    /// changes are the differences. And no lie passes.
    #[test]
    fn what_was_folded_passes_and_no_lie_does(
        batches in proptest::collection::vec((batch(), 0..3_usize, 0..100_u64), 1..6),
        shown in 0..4_usize,
        bins in prop_oneof![Just(FirstBins::One), Just(FirstBins::Sixteen)],
        lying in 0..5_usize,
    ) {
        let mut all = vec![Generation::first(&common::key(), bins)];
        for (edits, renew, seconds) in &batches {
            all.push(next(all.last().unwrap(), edits, *renew, *seconds));
        }
        let shown = shown.min(all.len() - 2);
        let (published, newest) = (&all[shown], all.last().unwrap());
        let waiting: Vec<Manifest> = all[shown + 1..].iter().map(|generation| generation.manifest.clone()).collect();
        let rules = rules(newest.manifest.created);
        let (documents, net) = replay(published, &waiting, rules).unwrap();
        for (role, version) in &newest.versions {
            let is_new = published.versions.get(role) != Some(version);
            prop_assert_eq!(documents.contains_key(role), is_new, "{}", role);
            prop_assert!(!is_new || documents[role] == newest.documents[role]);
        }
        let (before, after) = (targets_of(published), targets_of(newest));
        let names: BTreeSet<&TargetName> = before.keys().chain(after.keys()).collect();
        let differing = names.into_iter().filter(|name| before.get(name) != after.get(name));
        let differing: BTreeMap<TargetName, Option<Content>> =
            differing.map(|name| (name.clone(), after.get(name).cloned())).collect();
        let found: BTreeMap<TargetName, Option<Content>> =
            net.into_iter().map(|(name, net)| (name, net.content)).collect();
        prop_assert_eq!(found, differing);

        let lying = lying % waiting.len();
        for lie in LIES {
            let mut forged = waiting.clone();
            if !tell(lie, &mut forged[lying]) {
                continue;
            }
            match replay(published, &forged, rules) {
                // Lies about documents that devices would never see pass: a later document replaces
                // them, or nothing changes in them.
                Ok(passed) => {
                    let about_documents =
                        matches!(lie, Lie::Content | Lie::AnotherName | Lie::Removal | Lie::Draft | Lie::Index);
                    prop_assert!(about_documents, "{:?} passed", lie);
                    prop_assert!(passed.0 == documents, "{:?} passed, and devices would see it", lie);
                    prop_assert!(!matches!(lie, Lie::Draft | Lie::Index) || lying + 1 < forged.len());
                }
                Err(refused) => {
                    let expected = if matches!(lie, Lie::Policy) { Fault::Policy } else { Fault::Void };
                    prop_assert!(refused.fault == expected, "{:?}: {}", lie, refused);
                    prop_assert!(
                        refused.generation >= forged[lying].generation,
                        "{:?} in {} was found in {}", lie, forged[lying].generation, refused
                    );
                }
            }
        }
    }
}

#[test]
fn a_policy_is_the_current_one_or_that_of_the_base() {
    let first = common::start();
    let old = first.fold(&[set("a", "1")], small(5, now())).unwrap();
    let new = old.fold(&[set("b", "1")], small(5, now())).unwrap();
    let (old_now, new_now) = (small(5, now()).recorded, small(7, now()).recorded);
    let base = |policy| ReplayRules { policy, ..rules(now()) };
    // The policy of `old` was the configured one when it was made.
    assert!(replay(&first, std::slice::from_ref(&old.manifest), base(old_now)).is_ok());
    let refused = replay(&first, std::slice::from_ref(&old.manifest), base(new_now)).unwrap_err();
    assert_eq!(refused.fault, Fault::Policy);
    assert!(replay(&old, &[new.manifest], base(new_now)).is_ok(), "it has that of its base");
}

#[test]
fn numbers_and_generations_may_be_skipped() {
    let first = common::start();
    let edits = [set("a", "1")];
    let (index, nothing) = (first.whole_index(), BTreeSet::new());
    let others = tufline_tuf::generation::Others::default();
    let keys = first.manifest.bins_keys();
    let policy: Policy = small(MOST, now());
    let folding = tufline_tuf::generation::Folding::new(
        &first.manifest,
        index,
        &edits,
        &nothing,
        keys,
        &others,
        policy,
    );
    let mut folding = folding.unwrap().numbered(7, first.manifest.serial + 1000);
    folding.fold(&first.documents[&RoleName::targets()]).unwrap();
    let manifest = folding.finish().unwrap().manifest;
    assert_eq!((manifest.generation, manifest.base), (7, 1));
    assert_eq!(manifest.changed[&RoleName::targets()].version, first.manifest.serial + 1001);
    assert!(replay(&first, &[manifest], rules(now())).is_ok());
}

#[test]
fn the_keys_of_the_bins_are_replaced_step_by_step_and_by_held_keys_only() {
    let first = Generation::first(&common::key(), FirstBins::Sixteen);
    let new = common::key().tuf_key();
    let top = BTreeSet::from([RoleName::targets()]);
    let with = |base: &Generation, keys: BinsKeys, renew: &BTreeSet<RoleName>| {
        base.fold_with(base.whole_index(), &[], renew, keys, small(MOST, now())).unwrap()
    };
    let second = with(&first, BinsKeys::with(&first.manifest, &new), &top);
    let held = [first.manifest.bins_key.clone(), new.clone()];
    let knows = ReplayRules { bins_keys: &held, ..rules(now()) };
    assert!(replay(&first, std::slice::from_ref(&second.manifest), knows).is_ok());
    assert!(
        replay(&first, std::slice::from_ref(&second.manifest), rules(now())).is_err(),
        "a key that nobody holds"
    );

    // The old key is dropped before all bins are signed again.
    let early = with(&second, second.manifest.bins_keys().alone(), &top);
    assert!(replay(&first, &[second.manifest.clone(), early.manifest.clone()], knows).is_err());
    assert!(replay(&second, &[early.manifest], knows).is_err());
    let bins: BTreeSet<RoleName> = trie::children(&RoleName::targets()).into_iter().collect();
    let third = with(&second, second.manifest.bins_keys(), &bins);
    let last = with(&third, third.manifest.bins_keys().alone(), &top);
    let all = [second.manifest.clone(), third.manifest, last.manifest.clone()];
    assert!(replay(&first, &all, knows).is_ok());

    // A role that delegates is not drafted again.
    let mut silent = second.manifest.clone();
    silent.changed.clear();
    assert!(replay(&first, &[silent], knows).is_err());
}

#[test]
fn removals_count_in_their_window() {
    let first = common::start();
    let set = first.fold(&[set("a", "1"), set("b", "1")], small(MOST, now())).unwrap();
    let removed = set.fold(&[remove("a")], small(MOST, now())).unwrap();
    assert_eq!(removed.manifest.removals.removed, 1);
    let waiting = [set.manifest.clone(), removed.manifest.clone()];
    let (documents, net) = replay(&first, &waiting, rules(now())).unwrap();
    assert_eq!(documents.len(), 1, "only what devices would see");
    assert_eq!(net.len(), 1, "what came and went is no change for them");
    let (_, net) = replay(&set, &[removed.manifest], rules(now())).unwrap();
    assert_eq!(net[&"a".parse::<TargetName>().unwrap()], Net { version: None, content: None });
}

/// An older release published the target, before that rule existed. Replay leaves it out, as
/// drafting does.
#[test]
fn targets_that_clients_read_differently_are_removed_without_a_change() {
    let mut old = set("old", "x");
    let Edit::Set(content) = &mut old.edit else { unreachable!() };
    content.custom = serde_json::from_str(r#"{"a":1,"a b":2}"#).unwrap();
    let first = Generation::first(&common::key(), FirstBins::One);
    let published = next(&first, &[old, set("good", "x")], 0, 1);
    let waiting = next(&published, &[set("new", "x")], 0, 1).manifest;
    assert_eq!((published.manifest.targets, waiting.targets), (2, 2));
    let (documents, net) =
        replay(&published, std::slice::from_ref(&waiting), rules(waiting.created)).unwrap();
    let listed: BTreeSet<String> = documents
        .values()
        .flat_map(|draft| draft.document().targets.keys())
        .map(|name| name.raw().to_owned())
        .collect();
    assert_eq!(listed, ["good", "new"].map(str::to_owned).into());
    assert_eq!(
        net.keys().map(TargetName::as_str).collect::<Vec<_>>(),
        ["new"],
        "no upload need justify it"
    );
    let miscounted = Manifest { targets: 3, ..waiting };
    assert_eq!(
        replay(&published, std::slice::from_ref(&miscounted), rules(miscounted.created))
            .unwrap_err()
            .fault,
        Fault::Void
    );
}
