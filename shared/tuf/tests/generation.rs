//! Generations, compared with a plain map as the model.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{Generation, content, content_of, now, policy, remove, set, start};
use proptest::prelude::*;
use tough::schema::Targets;
use tufline_tuf::config::RemovalLimit;
use tufline_tuf::generation::{
    Edit, FirstBins, Folding, GenerationError, Others, Policy, TargetEdit, UsedUp, digest_of,
    snapshot, target_of, targets_document,
};
use tufline_tuf::index::{Expiring, Page, Place, RoleEntry};
use tufline_tuf::time::after;
use tufline_tuf::{Content, Draft, Index, Outcome, Parties, RoleName, Sha256, TargetName, trie};

fn edit() -> impl Strategy<Value = TargetEdit> {
    let edit = prop_oneof![
        3 => "[xyz]{0,2}".prop_map(|bytes| Edit::Set(content(&bytes))),
        1 => Just(Edit::Remove),
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
        Edit::Set(content) => _ = model.insert(edit.name.clone(), content.clone()),
        Edit::Remove => _ = model.remove(&edit.name),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Invariants of [`Folding`]: the documents list what the model contains; every changed
    /// document takes its own number from the serial; no role leaves the index; an unchanged
    /// document keeps its version and bytes.
    #[test]
    fn generations_follow_the_model(
        batches in proptest::collection::vec(proptest::collection::vec(edit(), 0..6), 1..8),
        most in 1..6_usize,
        bins in prop_oneof![Just(FirstBins::One), Just(FirstBins::Sixteen)],
    ) {
        let mut newest = Generation::first(&common::key(), bins);
        let mut model = BTreeMap::new();
        let mut versions: BTreeSet<u64> = newest.versions.values().copied().collect();
        prop_assert_eq!(versions.len(), newest.versions.len());
        for edits in batches {
            let before = model.clone();
            for edit in &edits {
                apply(&mut model, edit);
            }
            let (older, entries) = (newest.clone(), newest.entries());
            newest = newest.fold_small(&edits, most);
            let manifest = &newest.manifest;

            prop_assert_eq!(manifest.generation, older.manifest.generation + 1);
            prop_assert_eq!(manifest.changes.len(), edits.len());
            prop_assert_eq!(manifest.targets, model.len() as u64);
            prop_assert_eq!(manifest.is_fence(), manifest.changed.is_empty());
            if before == model {
                // A batch may undo its own changes. A document is drafted again only if a change
                // touched it.
                prop_assert!(manifest.changed.keys().all(|role| entries.contains_key(role)));
            } else {
                prop_assert!(!manifest.is_fence());
            }
            for entry in manifest.changed.values() {
                let version = entry.version;
                prop_assert!(version > older.manifest.serial && version <= manifest.serial);
                prop_assert!(versions.insert(version), "version {} is used twice", version);
            }
            // The index lists exactly the documents, and unchanged entries stay as they were.
            let now = newest.entries();
            prop_assert!(entries.keys().all(|role| now.contains_key(role)));
            prop_assert_eq!(now.keys().collect::<Vec<_>>(), newest.documents.keys().collect::<Vec<_>>());
            prop_assert_eq!(now.keys().collect::<Vec<_>>(), newest.versions.keys().collect::<Vec<_>>());
            for (role, entry) in &now {
                let document = newest.documents[role].document();
                let own = &entry.document;
                prop_assert_eq!((own.version, own.expires), (document.version.get(), document.expires));
                prop_assert_eq!(newest.versions[role], own.version);
                prop_assert_eq!(own.draft, Sha256::of(&newest.documents[role].to_bytes().unwrap()));
                prop_assert_eq!(entry.bins.is_some(), document.delegations.is_some());
                prop_assert_eq!(own, manifest.changed.get(role).unwrap_or_else(|| &entries[role].document));
            }
            let first = now.iter().map(|(role, entry)| {
                let RoleEntry { version, expires, .. } = entry.document;
                Expiring { expires, role: role.clone(), version }
            });
            prop_assert_eq!(manifest.first_to_expire(), first.min().unwrap());
            for (role, draft) in &newest.documents {
                let document = draft.document();
                prop_assert!(document.targets.len() <= most, "{} lists {}", role, document.targets.len());
                let children = trie::children(role);
                match &document.delegations {
                    Some(delegations) => {
                        prop_assert!(document.targets.is_empty());
                        let names: Vec<_> = delegations.roles.iter().map(|entry| entry.name.clone()).collect();
                        prop_assert_eq!(names, children.iter().map(ToString::to_string).collect::<Vec<_>>());
                        prop_assert!(children.iter().all(|child| now.contains_key(child)));
                    }
                    None => prop_assert!(children.iter().all(|child| !now.contains_key(child))),
                }
            }
            for name in ["a", "b", "c", "d", "a/a", "b/b"] {
                let document = newest.documents[&newest.role_of(name)].document();
                let name: TargetName = name.parse().unwrap();
                prop_assert_eq!(content_of(document, &name), model.get(&name).cloned());
            }
            let listed = snapshot(manifest, &newest.versions, &Parties::default()).unwrap();
            prop_assert_eq!(listed.document().version.get(), manifest.generation);
            prop_assert_eq!(tufline_tuf::generation::versions(listed.document()).unwrap(), newest.versions.clone());
        }
    }
}

/// A generation with `count` targets, named `t0`, `t1`, ….
fn filled(count: usize) -> Generation {
    let edits: Vec<TargetEdit> = (0..count).map(|number| set(&format!("t{number}"), "x")).collect();
    start().fold(&edits, policy(None, now())).unwrap()
}

fn removals(range: std::ops::Range<usize>) -> Vec<TargetEdit> {
    range.map(|number| remove(&format!("t{number}"))).collect()
}

#[test]
fn more_than_half_and_more_than_twenty_removals_are_held() {
    let limit = policy(Some(RemovalLimit::default()), now());
    let full = filled(100);
    assert!(full.fold(&removals(0..50), limit).is_ok(), "half is allowed");
    let held = full.fold(&removals(0..51), limit).unwrap_err();
    assert_eq!(held, GenerationError::TooManyRemovals { removals: 51, targets: 100 });
    let small = filled(30);
    assert!(small.fold(&removals(0..20), limit).is_ok(), "twenty are allowed");
    assert!(small.fold(&removals(0..21), limit).is_err());
}

#[test]
fn removals_in_several_batches_count_together() {
    let limit = Some(RemovalLimit::default());
    let half = filled(100).fold(&removals(0..50), policy(limit, now())).unwrap();
    assert!(half.fold(&removals(50..51), policy(limit, now())).is_err());
    let later = after(now(), RemovalLimit::WINDOW_SECONDS + 1);
    assert!(half.fold(&removals(50..51), policy(limit, later)).is_ok());
}

#[test]
fn an_emptied_folder_is_held_and_a_single_target_is_not() {
    let limit = policy(Some(RemovalLimit::default()), now());
    let two = filled(2);
    assert!(two.fold(&removals(0..2), limit).is_err());
    let one = two.fold(&removals(0..1), limit).unwrap();
    assert!(
        one.fold(&removals(1..2), limit).is_err(),
        "an emptied folder may come in several batches"
    );
    let later =
        policy(Some(RemovalLimit::default()), after(now(), RemovalLimit::WINDOW_SECONDS + 1));
    assert!(one.fold(&removals(1..2), later).is_ok());
    assert!(two.fold(&removals(0..2), policy(None, now())).is_ok(), "an operator accepted it");
    let gone = filled(1).fold(&removals(0..1), limit).unwrap().manifest;
    assert_eq!((gone.targets, &gone.changes[0].outcome), (0, &Outcome::Removed));
}

/// A trie with `count` targets, in which no role lists more than `most`.
fn grown(count: usize, most: usize) -> Generation {
    (0..count)
        .fold(start(), |grown, number| grown.fold_small(&[set(&format!("t{number}"), "x")], most))
}

#[test]
fn a_role_is_split_by_the_target_that_is_one_too_many() {
    for (count, roles) in [(0, 1), (1, 1), (10, 1), (11, 17)] {
        assert_eq!(grown(count, 10).versions.len(), roles, "{count} targets");
    }
    // A split role stays split: devices treat the disappearance of a role as an attack.
    let emptied = grown(11, 10).fold_small(&removals(0..11), 10);
    assert_eq!((emptied.versions.len(), emptied.manifest.targets), (17, 0));
}

#[test]
fn a_repository_may_begin_with_bins() {
    for (text, roles) in [("1", 1), ("16", 17), ("256", 273), ("4096", 4369)] {
        let first = Generation::first(&common::key(), text.parse().unwrap());
        assert_eq!(
            (first.versions.len(), first.entries().len(), first.manifest.targets),
            (roles, roles, 0)
        );
        let leaf = first.role_of("t0");
        let next = first.fold_small(&[set("t0", "x")], 10);
        assert_eq!(next.manifest.changed.keys().collect::<Vec<_>>(), [&leaf]);
    }
    let refused = "17".parse::<FirstBins>().unwrap_err().to_string();
    assert!(refused.contains("'17'") && refused.contains("4096"), "{refused}");
}

#[test]
fn a_change_touches_its_leaf_and_the_pages_above_it_only() {
    let grown = grown(400, 4);
    assert!(grown.versions.len() > 100);
    let leaf = grown.role_of("t0");
    assert_eq!(trie::depth(&leaf), 2);
    let next = grown.fold_small(&[set("t0", "other")], 4);
    assert_eq!(next.manifest.changed.keys().collect::<Vec<_>>(), [&leaf]);
    assert_eq!(
        next.pages.len(),
        grown.pages.len() + 2,
        "the pages below `targets` and below the bin of one digit"
    );
    let name = "t0".parse().unwrap();
    assert_eq!(next.index(&[Place::Name(&name)]).1, 2);
    let pages = |generation: &Generation| serde_json::to_vec(&generation.manifest).unwrap().len();
    assert!(pages(&next) < 2000, "a manifest is as large as its change");
}

#[test]
fn only_its_own_bytes_are_a_page() {
    let grown = grown(20, 4);
    let (digest, page) = grown.pages.first_key_value().unwrap();
    let (top, bytes) = (RoleName::targets(), page.to_bytes().unwrap());
    assert_eq!(&Page::from_bytes(&top, digest, &bytes).unwrap(), page);
    assert!(Page::from_bytes(&top, digest, &bytes[1..]).is_err());
    let newer = Page { format: 99, bins: page.bins.clone() }.to_bytes().unwrap();
    assert!(
        Page::from_bytes(&top, &Sha256::of(&newer), &newer)
            .unwrap_err()
            .to_string()
            .contains("newer")
    );
}

#[test]
fn unread_pages_are_named() {
    let grown = grown(20, 4);
    let (edits, renew) = ([set("t0", "other")], BTreeSet::new());
    let blind = Index::new(grown.manifest.top.clone());
    let others = Others::default();
    let unread = Folding::new(
        &grown.manifest,
        blind,
        &edits,
        &renew,
        grown.manifest.bins_keys(),
        &others,
        policy(None, now()),
    )
    .unwrap_err();
    assert_eq!(unread, GenerationError::Unread(RoleName::targets()));
    let name = "t0".parse().unwrap();
    let (index, _) = grown.index(&[Place::Name(&name)]);
    let folding = Folding::new(
        &grown.manifest,
        index,
        &edits,
        &renew,
        grown.manifest.bins_keys(),
        &others,
        policy(None, now()),
    )
    .unwrap();
    assert_eq!(folding.finish().unwrap_err(), GenerationError::Missing(grown.role_of("t0")));
}

#[test]
fn unwanted_documents_are_refused() {
    let grown = grown(20, 4);
    let (edits, renew, others) = ([set("t0", "other")], BTreeSet::new(), Others::default());
    let name = "t0".parse().unwrap();
    let (index, _) = grown.index(&[Place::Name(&name)]);
    let mut folding = Folding::new(
        &grown.manifest,
        index,
        &edits,
        &renew,
        grown.manifest.bins_keys(),
        &others,
        policy(None, now()),
    )
    .unwrap();
    let (asked, other) = (grown.role_of("t0"), RoleName::targets());
    let mut give =
        |role: &RoleName| folding.fold(&grown.documents[role]).map(|drafts| drafts.len());
    assert_eq!(give(&other), Err(GenerationError::Unasked(other.clone())));
    assert_eq!(give(&asked), Ok(1));
    assert_eq!(give(&asked), Err(GenerationError::Unasked(asked.clone())), "twice");
}

/// The draft of a small generation, which also lists a target `name` with any `digest` and
/// `custom`.
fn listing(name: &str, digest: &str, custom: &serde_json::Value) -> Draft<Targets> {
    let draft = &filled(2).documents[&RoleName::targets()];
    let mut document = serde_json::to_value(draft.document()).unwrap();
    document["targets"][name] =
        serde_json::json!({"length": 1, "hashes": {"sha256": digest}, "custom": custom});
    Draft::from_bytes(RoleName::targets(), &serde_json::to_vec(&document).unwrap()).unwrap()
}

fn fold_into(
    document: &Draft<Targets>,
    edits: &[TargetEdit],
) -> Result<Vec<Outcome>, GenerationError> {
    let (base, renew, others) = (filled(2).manifest, BTreeSet::new(), Others::default());
    let index = Index::new(base.top.clone());
    let mut folding =
        Folding::new(&base, index, edits, &renew, base.bins_keys(), &others, policy(None, now()))
            .unwrap();
    let drafts = folding.fold(document)?;
    assert_eq!(drafts.len(), 1, "it is drafted anew");
    Ok(folding.finish()?.manifest.changes.into_iter().map(|change| change.outcome).collect())
}

#[test]
fn an_invalid_digest_is_not_read_as_zeros() {
    // If it counted as zeros, an upload whose SHA-256 is all zeros would be taken for already
    // listed.
    let zeros = Content { sha256: Sha256::from_bytes([0; 32]), length: 1, custom: [].into() };
    let mut edit = set("odd", "x");
    edit.edit = Edit::Set(zeros.clone());
    for digest in ["", "00", &"00".repeat(31), &"00".repeat(33)] {
        let damaged = listing("odd", digest, &serde_json::json!({}));
        let listed = target_of(damaged.document(), &edit.name).unwrap();
        assert_eq!(digest_of(listed), None, "{digest}");
        assert_eq!(fold_into(&damaged, &[edit.clone()]).unwrap(), [Outcome::Set(zeros.clone())]);
    }
}

#[test]
fn an_invalid_name_in_a_document_is_reported() {
    // If the name were skipped, the next document would still list a target that clients read
    // differently.
    let unalike = serde_json::json!({"a": 1, "a b": 2});
    let good = listing("odd", &"00".repeat(32), &unalike);
    let outcomes = fold_into(&good, &[set("t0", "other")]).unwrap();
    assert!(matches!(&outcomes[..], [Outcome::Set(_), Outcome::Rejected(_)]), "{outcomes:?}");
    let damaged = listing("../odd", &"00".repeat(32), &unalike);
    let refused = fold_into(&damaged, &[set("t0", "other")]).unwrap_err();
    assert!(refused.to_string().contains("../odd"), "{refused}");
}

#[test]
fn a_version_of_zero_is_written_nowhere() {
    let mut generation = filled(1);
    let parties = Parties::default();
    assert!(snapshot(&generation.manifest, &generation.versions, &parties).is_ok());
    generation.versions.insert(RoleName::targets(), 0);
    assert!(snapshot(&generation.manifest, &generation.versions, &parties).is_err());
    let mut generation = filled(1);
    generation.manifest.generation = 0;
    assert!(snapshot(&generation.manifest, &generation.versions, &parties).is_err());
    assert!(targets_document(0, now(), &[]).is_err());
    assert!(targets_document(1, now(), &[]).is_ok());
}

/// Names whose SHA-256 begin with the same three digits.
fn skewed(count: usize) -> Vec<String> {
    let all = (0..).map(|number| format!("t{number}"));
    all.filter(|name| trie::digits(&name.parse().unwrap()).starts_with("abc")).take(count).collect()
}

#[test]
fn names_that_share_a_prefix_are_split_until_they_part() {
    let names = skewed(3);
    let edits: Vec<TargetEdit> = names.iter().map(|name| set(name, "x")).collect();
    let next = start().fold_small(&edits, 2);
    // `targets`, and 16 roles on each level that the names share.
    assert_eq!(next.versions.len(), 1 + 16 * 4);
    for name in names {
        assert!(next.role_of(&name).as_str().starts_with("bin-abc"));
    }
}

#[test]
fn only_uploads_that_overflow_the_deepest_bin_are_refused() {
    let shallow = Policy { deepest_bin: 3, ..common::small(2, now()) };
    let names = skewed(5);
    let set_all = |names: &[String]| names.iter().map(|name| set(name, "x")).collect::<Vec<_>>();
    let two = start().fold(&set_all(&names[..1]), shallow).unwrap();
    // One more fits and the others don't, whatever other changes are in the batch.
    let mut edits = set_all(&names[1..]);
    edits.insert(2, set("t0", "x"));
    edits.push(set(&names[0], "other"));
    let next = two.fold(&edits, shallow).unwrap();
    let outcomes: Vec<bool> = next
        .manifest
        .changes
        .iter()
        .map(|change| matches!(change.outcome, Outcome::Rejected(_)))
        .collect();
    assert_eq!(outcomes, [false, true, false, true, true, true]);
    assert_eq!(next.manifest.targets, 3);
    let bin = next.documents[&next.role_of(&names[0])].document();
    assert_eq!(content_of(bin, &names[0].parse().unwrap()), Some(content("x")));
    let Outcome::Rejected(refusal) = &next.manifest.changes[1].outcome else { unreachable!() };
    assert!(
        refusal.reason.contains(&names[2]) && !refusal.reason.contains('\n'),
        "{}",
        refusal.reason
    );
    // A change that fits is accepted, and after a removal there is room again.
    let changed = next.fold(&[set(&names[0], "other")], shallow).unwrap();
    assert!(matches!(changed.manifest.changes[0].outcome, Outcome::Set(_)));
    let room = next
        .fold(&[remove(&names[0])], shallow)
        .unwrap()
        .fold(&set_all(&names[2..3]), shallow)
        .unwrap();
    assert!(matches!(room.manifest.changes[0].outcome, Outcome::Set(_)));
}

#[test]
fn a_role_of_few_but_long_targets_is_split_too() {
    let custom: tufline_tuf::Custom =
        std::iter::once(("note".to_owned(), "x".repeat(1900).into())).collect();
    let edits: Vec<TargetEdit> = (0..600)
        .map(|number| {
            let mut edit = set(&format!("t{number}"), "x");
            let Edit::Set(content) = &mut edit.edit else { unreachable!() };
            content.custom = custom.clone();
            edit
        })
        .collect();
    let next = start().fold_small(&edits, 1000);
    assert!(next.versions.len() > 1);
    for draft in next.documents.values() {
        assert!(draft.to_bytes().unwrap().len() < 1_000_000);
    }
    let deepest = Policy { deepest_bin: 0, ..policy(None, now()) };
    let refused = start().fold(&edits, deepest).unwrap().manifest;
    assert!(refused.changes.iter().any(|change| matches!(change.outcome, Outcome::Rejected(_))));
    assert!((450..600).contains(&refused.targets), "{}", refused.targets);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// The imported targets are all in one generation. Its versions, and those of its successor,
    /// are above all used ones.
    #[test]
    fn an_import_continues_above_the_used_versions(
        targets in proptest::collection::btree_map("[a-z]{1,3}", "[xyz]{0,2}", 0..40),
        (timestamp, snapshot, serial) in (1..1000_u64, 1..1000_u64, 1..1000_u64),
        most in 1..6_usize,
    ) {
        let used_up = UsedUp { timestamp, snapshot, targets: serial };
        let targets: BTreeMap<TargetName, Content> =
            targets.into_iter().map(|(name, bytes)| (name.parse().unwrap(), content(&bytes))).collect();
        let first = Generation::imported(&used_up, targets.clone().into_iter().collect(), most);
        let manifest = &first.manifest;
        prop_assert_eq!(manifest.generation, snapshot + 1);
        prop_assert_eq!(manifest.timestamp_above, timestamp);
        prop_assert_eq!(manifest.targets, targets.len() as u64);
        prop_assert!(manifest.changes.is_empty() && !manifest.is_fence());
        prop_assert!(manifest.changed.values().all(|entry| entry.version > serial && entry.version <= manifest.serial));
        prop_assert_eq!(first.versions.len(), manifest.changed.len(), "no document is left out");
        let entries = first.entries();
        prop_assert_eq!(entries.keys().collect::<Vec<_>>(), first.versions.keys().collect::<Vec<_>>());
        for (name, wanted) in &targets {
            let role = first.role_of(name.as_str());
            prop_assert_eq!(content_of(first.documents[&role].document(), name), Some(wanted.clone()));
        }
        let listed: usize = first.documents.values().map(|document| document.document().targets.len()).sum();
        prop_assert_eq!(listed, targets.len());
        let next = first.fold_small(&[set("new", "z")], most);
        prop_assert_eq!((next.manifest.generation, next.manifest.timestamp_above), (snapshot + 2, timestamp));
        prop_assert!(next.manifest.serial > manifest.serial);
    }
}

/// A target as an older release listed it, before that rule existed.
fn unalike(name: &str) -> TargetEdit {
    let mut edit = set(name, "x");
    let Edit::Set(content) = &mut edit.edit else { unreachable!() };
    content.custom = serde_json::from_str(r#"{"a":1,"a b":2}"#).unwrap();
    edit
}

#[test]
fn targets_that_clients_read_differently_are_removed_with_the_next_draft() {
    let older = start().fold(
        &[unalike("old"), unalike("changed"), unalike("gone"), set("good", "x")],
        policy(None, now()),
    );
    let older = older.unwrap();
    assert_eq!(older.manifest.targets, 4);
    let next = older
        .fold(&[set("new", "x"), set("changed", "y"), remove("gone")], policy(None, now()))
        .unwrap();
    let listed = |generation: &Generation, name: &str| {
        content_of(generation.documents[&RoleName::targets()].document(), &name.parse().unwrap())
    };
    for (name, expected) in [
        ("old", None),
        ("gone", None),
        ("good", Some("x")),
        ("new", Some("x")),
        ("changed", Some("y")),
    ] {
        assert_eq!(listed(&next, name), expected.map(content), "{name}");
    }
    assert_eq!(next.manifest.targets, 3);
    assert_eq!(next.manifest.changes.len(), 4, "what no edit tells of has a record of its own");
    let told = next.manifest.changes.last().unwrap();
    assert_eq!((told.name.as_str(), &told.version), ("old", &None));
    let Outcome::Rejected(refusal) = &told.outcome else { unreachable!("{told:?}") };
    assert!(refusal.reason.contains("\"a b\""), "{}", refusal.reason);
    assert_eq!(next.manifest.removals.removed, 0, "nobody removed it");
}

#[test]
fn targets_that_clients_read_differently_stay_until_the_next_draft() {
    let names: Vec<String> = (0..40).map(|number| format!("t{number}")).collect();
    let edits: Vec<TargetEdit> =
        names.iter().map(|name| set(name, "x")).chain([unalike("old")]).collect();
    let older = start().fold_small(&edits, 4);
    let other = names.iter().find(|name| older.role_of(name) != older.role_of("old")).unwrap();
    let next = older.fold_small(&[set(other, "y")], 4);
    assert_eq!(next.documents[&next.role_of("old")], older.documents[&older.role_of("old")]);
    assert_eq!((next.manifest.targets, next.manifest.changes.len()), (41, 1));
    let renew = BTreeSet::from([next.role_of("old")]);
    let renewed = next
        .fold_with(next.whole_index(), &[], &renew, next.manifest.bins_keys(), policy(None, now()))
        .unwrap();
    assert_eq!(renewed.manifest.targets, 40);
}
