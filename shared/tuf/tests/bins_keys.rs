//! Replaces the key of the bins generation by generation. Each generation lists the keys that
//! signed its bins.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeSet;

use common::{Generation, key, now, policy, set};
use tough::schema::key::Key;
use tough::sign::Sign;
use tufline_tuf::generation::FirstBins;
use tufline_tuf::generation::{OldKey, outdated_bins};
use tufline_tuf::{BinsKeys, RoleName, trie};

/// The generation after `before` with other keys of the bins, in which all delegating roles are
/// drafted again.
fn with_keys(before: &Generation, bins: BinsKeys) -> Generation {
    let split = before
        .entries()
        .into_iter()
        .filter(|(_, entry)| entry.bins.is_some())
        .map(|(role, _)| role);
    before
        .fold_with(before.whole_index(), &[], &split.collect(), bins, policy(None, now()))
        .unwrap()
}

fn next(generation: &Generation, newest: &Key) -> Option<BinsKeys> {
    BinsKeys::next(&generation.manifest, &generation.whole_index(), newest)
}

/// The ids of the keys that each delegating role lists.
fn listed(generation: &Generation) -> BTreeSet<Vec<String>> {
    let delegations = generation.documents.iter().filter_map(|(role, draft)| {
        let delegations = draft.document().delegations.as_ref()?;
        let keys = generation.manifest.bins_keys().listed();
        assert_eq!(
            *delegations,
            trie::delegations(role, &keys).unwrap(),
            "{role}: as the gate expects it"
        );
        Some(delegations.roles[0].keyids.iter().map(hex::encode).collect())
    });
    delegations.collect()
}

fn id(key: &Key) -> String {
    hex::encode(key.key_id().unwrap())
}

#[test]
fn both_keys_are_listed_until_every_bin_is_signed_by_the_new_one() {
    let (old, new) = (key(), key());
    let (old_key, new_key) = (old.tuf_key(), new.tuf_key());
    let mut generation = Generation::first(&old, FirstBins::TwoHundredFiftySix);
    assert_eq!(next(&generation, &old_key), None);

    let serial = generation.manifest.serial;
    let keys = next(&generation, &new_key).unwrap();
    assert_eq!(keys.old, Some(OldKey { key: old_key.clone(), up_to: serial }));
    generation = with_keys(&generation, keys);
    assert_eq!(listed(&generation), BTreeSet::from([vec![id(&new_key), id(&old_key)]]));
    // The 16 delegating roles were drafted again, the 256 bins below them were not.
    assert_eq!(outdated_bins(&generation.manifest, &generation.whole_index()).count(), 256);

    // Uploads continue. The new key signs every bin that they change.
    generation = generation.fold(&[set("a", "1")], policy(None, now())).unwrap();
    let leaf = generation.role_of("a");
    let left: BTreeSet<RoleName> = outdated_bins(&generation.manifest, &generation.whole_index())
        .map(|(role, _)| role)
        .collect();
    assert!(left.len() == 255 && !left.contains(&leaf));
    assert_eq!(next(&generation, &new_key), None, "some are left");
    assert_eq!(next(&generation, &key().tuf_key()), None, "one replacement after the other");

    let bins = generation.manifest.bins_keys();
    generation = generation
        .fold_with(generation.whole_index(), &[], &left, bins, policy(None, now()))
        .unwrap();
    let keys = next(&generation, &new_key).unwrap();
    assert_eq!(keys, BinsKeys { signing: new_key.clone(), old: None });
    generation = with_keys(&generation, keys);
    assert_eq!(listed(&generation), BTreeSet::from([vec![id(&new_key)]]));
    assert_eq!(next(&generation, &new_key), None);
}

#[test]
fn without_bins_there_is_nothing_to_sign_again() {
    let generation = Generation::first(&key(), FirstBins::One);
    let new = key().tuf_key();
    assert_eq!(next(&generation, &new), Some(BinsKeys { signing: new, old: None }));
}
