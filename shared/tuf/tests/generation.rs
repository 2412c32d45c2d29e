//! Generations against a plain map as the model.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{content, documents, fold, fold_small, now, remove, set, start};
use proptest::prelude::*;
use tufline_tuf::config::RemovalLimit;
use tufline_tuf::generation::{Edit, GenerationError, TargetEdit, content_of, role_of, snapshot};
use tufline_tuf::time::after;
use tufline_tuf::{Content, Outcome, RoleName, TargetName, trie};

fn edit() -> impl Strategy<Value = TargetEdit> {
    let edit = prop_oneof![
        3 => "[xyz]{0,2}".prop_map(|bytes| Edit::Set(content(&bytes))),
        1 => Just(Edit::Remove),
        1 => proptest::option::of("[xyz]").prop_map(|bytes| Edit::Revert(bytes.as_deref().map(content))),
    ];
    ("[a-d](/[a-b])?", edit).prop_map(|(name, edit)| TargetEdit {
        name: name.parse().unwrap(),
        version: None,
        uploaded: None,
        edit,
    })
}

fn apply(model: &mut BTreeMap<TargetName, Content>, edit: &TargetEdit) {
    match &edit.edit {
        Edit::Set(content) | Edit::Revert(Some(content)) => _ = model.insert(edit.name.clone(), content.clone()),
        Edit::Remove | Edit::Revert(None) => _ = model.remove(&edit.name),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Invariants of [`next`](tufline_tuf::generation::next): the documents say what the model says; every changed
    /// document takes a number of its own from the serial; no role leaves the index; what doesn't change stays as it is.
    #[test]
    fn generations_follow_the_model(
        batches in proptest::collection::vec(proptest::collection::vec(edit(), 0..6), 1..8),
        most in 1..6_usize,
    ) {
        let start = start();
        let (mut manifest, mut current) = (start.manifest.clone(), documents(&start));
        let mut model = BTreeMap::new();
        let mut versions = BTreeSet::from([manifest.serial]);
        for edits in batches {
            let next = fold_small(&manifest, &current, &edits, most);
            let before = model.clone();
            for edit in &edits {
                apply(&mut model, edit);
            }

            prop_assert_eq!(next.manifest.generation, manifest.generation + 1);
            prop_assert_eq!(next.manifest.changes.len(), edits.len());
            prop_assert_eq!(next.manifest.targets, model.len() as u64);
            prop_assert!(manifest.roles.keys().all(|role| next.manifest.roles.contains_key(role)));
            prop_assert_eq!(next.manifest.is_fence(), next.drafts.is_empty());
            if before == model {
                // A batch may go back and forth; a document is only drafted anew where something was touched.
                prop_assert!(next.drafts.iter().all(|draft| manifest.roles.contains_key(draft.role())));
            } else {
                prop_assert!(!next.drafts.is_empty());
            }
            for draft in &next.drafts {
                let version = draft.document().version.get();
                prop_assert!(version > manifest.serial && version <= next.manifest.serial);
                prop_assert!(versions.insert(version), "version {} is used twice", version);
            }
            for (role, entry) in &next.manifest.roles {
                if !next.manifest.changed.contains(role) {
                    prop_assert_eq!(Some(entry), manifest.roles.get(role));
                }
            }
            current.extend(documents(&next));
            manifest = next.manifest;
            prop_assert_eq!(current.len(), manifest.roles.len());
            for (role, draft) in &current {
                let document = draft.document();
                prop_assert!(document.targets.len() <= most, "{} lists {}", role, document.targets.len());
                let children = trie::children(role);
                match &document.delegations {
                    Some(delegations) => {
                        prop_assert!(document.targets.is_empty());
                        let names: Vec<_> = delegations.roles.iter().map(|entry| entry.name.clone()).collect();
                        prop_assert_eq!(names, children.iter().map(ToString::to_string).collect::<Vec<_>>());
                        prop_assert!(children.iter().all(|child| manifest.roles.contains_key(child)));
                    }
                    None => prop_assert!(children.iter().all(|child| !manifest.roles.contains_key(child))),
                }
            }
            for name in ["a", "b", "c", "d", "a/a", "b/b"] {
                let name: TargetName = name.parse().unwrap();
                let document = current[&role_of(&manifest, &name)].document();
                prop_assert_eq!(content_of(document, &name), model.get(&name).cloned());
            }
            let listed = snapshot(&manifest);
            prop_assert_eq!(listed.document().version.get(), manifest.generation);
            prop_assert_eq!(listed.document().meta.len(), manifest.roles.len());
        }
    }
}

/// A generation with `count` targets named `t0`, `t1`, ….
fn filled(count: usize) -> (tufline_tuf::Manifest, common::Documents) {
    let start = start();
    let edits: Vec<TargetEdit> = (0..count).map(|number| set(&format!("t{number}"), "x")).collect();
    let next = fold(&start.manifest, &documents(&start), &edits, None, now()).unwrap();
    let documents = documents(&next);
    (next.manifest, documents)
}

fn removals(range: std::ops::Range<usize>) -> Vec<TargetEdit> {
    range.map(|number| remove(&format!("t{number}"))).collect()
}

#[test]
fn more_than_half_and_more_than_twenty_removals_are_held() {
    let limit = Some(RemovalLimit::default());
    let (manifest, documents) = filled(100);
    assert!(fold(&manifest, &documents, &removals(0..50), limit, now()).is_ok(), "half is allowed");
    let held = fold(&manifest, &documents, &removals(0..51), limit, now()).unwrap_err();
    assert_eq!(held, GenerationError::TooManyRemovals { removals: 51, targets: 100 });
    let (small, few) = filled(30);
    assert!(fold(&small, &few, &removals(0..20), limit, now()).is_ok(), "twenty are allowed");
    assert!(fold(&small, &few, &removals(0..21), limit, now()).is_err());
}

#[test]
fn removals_in_several_batches_count_together() {
    let limit = Some(RemovalLimit::default());
    let (manifest, mut current) = filled(100);
    let half = fold(&manifest, &current, &removals(0..50), limit, now()).unwrap();
    current.extend(documents(&half));
    assert!(fold(&half.manifest, &current, &removals(50..51), limit, now()).is_err());
    let later = after(now(), RemovalLimit::WINDOW_SECONDS + 1);
    assert!(fold(&half.manifest, &current, &removals(50..51), limit, later).is_ok());
}

#[test]
fn an_emptied_folder_is_held_and_a_single_target_is_not() {
    let limit = Some(RemovalLimit::default());
    let (two, documents) = filled(2);
    assert!(fold(&two, &documents, &removals(0..2), limit, now()).is_err());
    assert!(fold(&two, &documents, &removals(0..1), limit, now()).is_ok());
    assert!(fold(&two, &documents, &removals(0..2), None, now()).is_ok(), "an operator accepted it");
    let (one, documents) = filled(1);
    let gone = fold(&one, &documents, &removals(0..1), limit, now()).unwrap();
    assert_eq!((gone.manifest.targets, &gone.manifest.changes[0].outcome), (0, &Outcome::Removed));
}

/// A trie with `count` targets of which no role may list more than `most`.
fn grown(count: usize, most: usize) -> (tufline_tuf::Manifest, common::Documents) {
    let start = start();
    let (mut manifest, mut current) = (start.manifest.clone(), documents(&start));
    for number in 0..count {
        let next = fold_small(&manifest, &current, &[set(&format!("t{number}"), "x")], most);
        current.extend(documents(&next));
        manifest = next.manifest;
    }
    (manifest, current)
}

#[test]
fn a_role_is_split_by_the_target_that_is_one_too_many() {
    for (count, roles) in [(0, 1), (1, 1), (10, 1), (11, 17)] {
        assert_eq!(grown(count, 10).0.roles.len(), roles, "{count} targets");
    }
    // Once split, it stays so: devices take a role that goes away for an attack.
    let (manifest, current) = grown(11, 10);
    let edits: Vec<TargetEdit> = (0..11).map(|number| remove(&format!("t{number}"))).collect();
    let emptied = fold_small(&manifest, &current, &edits, 10);
    assert_eq!((emptied.manifest.roles.len(), emptied.manifest.targets), (17, 0));
}

#[test]
fn a_change_touches_its_leaf_only() {
    let (manifest, current) = grown(400, 4);
    assert!(manifest.roles.len() > 100);
    let edit = set("t0", "other");
    let leaf = role_of(&manifest, &edit.name);
    assert!(leaf != RoleName::targets());
    let only: common::Documents = std::iter::once((leaf.clone(), current[&leaf].clone())).collect();
    let next = fold_small(&manifest, &only, &[edit], 4);
    assert_eq!(next.manifest.changed, [leaf]);
}

#[test]
fn names_that_share_a_prefix_are_split_until_they_part() {
    // Their SHA-256 begin with the same three digits.
    let all = (0..).map(|number| format!("t{number}"));
    let skewed: Vec<String> =
        all.filter(|name| trie::digits(&name.parse().unwrap()).starts_with("abc")).take(3).collect();
    let start = start();
    let edits: Vec<TargetEdit> = skewed.iter().map(|name| set(name, "x")).collect();
    let next = fold_small(&start.manifest, &documents(&start), &edits, 2);
    // `targets`, and 16 roles on each of the levels on which they go together.
    assert_eq!(next.manifest.roles.len(), 1 + 16 * 4);
    for name in skewed {
        assert!(role_of(&next.manifest, &name.parse().unwrap()).as_str().starts_with("abc"));
    }
}

#[test]
fn a_role_of_few_but_long_targets_is_split_too() {
    let start = start();
    let custom: tufline_tuf::Custom = std::iter::once(("note".to_owned(), "x".repeat(1900).into())).collect();
    let edits: Vec<TargetEdit> = (0..300)
        .map(|number| {
            let mut edit = set(&format!("t{number}"), "x");
            let Edit::Set(content) = &mut edit.edit else { unreachable!() };
            content.custom = custom.clone();
            edit
        })
        .collect();
    let next = fold_small(&start.manifest, &documents(&start), &edits, 1000);
    assert!(next.manifest.roles.len() > 1);
    for draft in &next.drafts {
        assert!(draft.to_bytes().unwrap().len() < 500_000);
    }
}

#[test]
fn without_a_key_for_bins_nothing_is_split() {
    let start = start();
    let mut manifest = start.manifest.clone();
    manifest.bins_key = None;
    let edits: Vec<TargetEdit> = (0..5).map(|number| set(&format!("t{number}"), "x")).collect();
    assert_eq!(fold_small(&manifest, &documents(&start), &edits, 1).manifest.roles.len(), 1);
}
