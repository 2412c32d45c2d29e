//! What devices ask for, each of which wants one target.

use std::collections::BTreeSet;

use bytes::Bytes;
use tufline_pack::{Have, Question, digest, role_prefix};

use crate::folder::{NEWEST, Repository, State, signed};

/// So many devices there are, each with a target in another role where there are as many.
const DEVICES: usize = 1000;

/// How far behind devices are, and in which state they looked last; `None`: never.
pub const KINDS: [(&str, Option<&str>); 4] = [
    ("nothing new", Some(NEWEST)),
    ("one generation behind", Some("before")),
    ("100 generations behind", Some("own")),
    ("cold", None),
];

/// All devices that are so far behind.
pub struct Kind {
    /// How far.
    pub name: &'static str,
    /// The query of each for a pack.
    pub queries: Vec<String>,
    /// What each asks for without packs.
    pub files: Vec<Vec<String>>,
}

/// The devices of each kind.
pub fn kinds(repository: &Repository) -> Vec<Kind> {
    let newest = repository.state(NEWEST);
    let names = names(repository, &newest);
    let kinds = KINDS.into_iter().map(|(name, state)| {
        let had = state.map(|state| repository.state(state));
        let query = |target: &String| question(repository, had.as_ref(), target).to_query();
        let asked = |target: &String| files(had.as_ref(), &newest, target);
        Kind { name, queries: names.iter().map(query).collect(), files: names.iter().map(asked).collect() }
    });
    kinds.collect()
}

/// A target of each of the roles, as many as there are devices.
fn names(repository: &Repository, state: &State) -> Vec<String> {
    let files = state.roles.iter().map(|(role, version)| format!("{version}.{role}.json"));
    let first = files.filter_map(|file| {
        let document = signed(&repository.files[&file]);
        document["targets"].as_object().and_then(|targets| targets.keys().next().cloned())
    });
    first.take(DEVICES).collect()
}

/// What a device asks for that has looked for the target in a state.
fn question(repository: &Repository, had: Option<&State>, target: &str) -> Question {
    let roles = vec![role_prefix(target)];
    let root = Have { role: "root".to_owned(), version: 1 };
    let Some(state) = had else {
        let dict = Some(digest(&[&repository.files["1.root.json"]]));
        return Question { have: vec![root], dict, roles, files: Vec::new() };
    };
    let have = |role: &str, version| Have { role: role.to_owned(), version };
    let mut known = vec![root, have("timestamp", state.timestamp), have("snapshot", state.snapshot)];
    known.extend(way(state, target).into_iter().map(|role| have(&role, state.roles[&role])));
    with_dictionary(repository, known, roles, Vec::new())
}

/// The question of a device that has these documents.
pub fn with_dictionary(repository: &Repository, have: Vec<Have>, roles: Vec<String>, files: Vec<String>) -> Question {
    let dictionary = have.iter().filter(|have| have.role != "timestamp");
    let bytes: Vec<Bytes> =
        dictionary.map(|have| repository.files[&format!("{}.{}.json", have.version, have.role)].clone()).collect();
    Question { dict: Some(digest(&bytes)), have, roles, files }
}

/// The roles that a search for the target asks.
fn way(state: &State, target: &str) -> Vec<String> {
    let prefix = role_prefix(target);
    let bins = (1..=prefix.len()).map(|length| format!("bin-{}", &prefix[..length]));
    std::iter::once("targets".to_owned()).chain(bins).take_while(|role| state.roles.contains_key(role)).collect()
}

/// The files that a device asks for by name: what it lacks, and whether another root follows.
fn files(had: Option<&State>, newest: &State, target: &str) -> Vec<String> {
    let mut files = vec!["2.root.json".to_owned(), "timestamp.json".to_owned()];
    let known: BTreeSet<String> = had.iter().flat_map(|state| versioned(state, target)).collect();
    files.extend(versioned(newest, target).into_iter().filter(|file| !known.contains(file)));
    files
}

fn versioned(state: &State, target: &str) -> Vec<String> {
    let roles = way(state, target).into_iter().map(|role| format!("{}.{role}.json", state.roles[&role]));
    std::iter::once(format!("{}.snapshot.json", state.snapshot)).chain(roles).collect()
}
