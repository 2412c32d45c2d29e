//! What devices ask for. Each device wants one target.

use std::collections::BTreeSet;

use bytes::Bytes;
use tufline_pack::{Have, Question, digest, role_prefix};

use crate::folder::{NEWEST, Repository, State, signed};

/// How many devices there are. Each has a target in another role, while there are enough roles.
const DEVICES: usize = 1000;

/// The kinds of devices: how far behind they are, and the state that they saw last; `None` if they
/// never asked.
pub const KINDS: [(&str, Option<&str>); 4] = [
    ("nothing new", Some(NEWEST)),
    ("one generation behind", Some("before")),
    ("100 generations behind", Some("own")),
    ("cold", None),
];

/// All devices that are equally far behind.
pub struct Kind {
    /// How far behind they are, for people.
    pub name: &'static str,
    /// For each device, its query for a pack.
    pub queries: Vec<String>,
    /// For each device, the files that it asks for without packs.
    pub files: Vec<Vec<String>>,
}

/// The devices of each kind in [`KINDS`].
pub fn kinds(repository: &Repository) -> Vec<Kind> {
    let newest = repository.state(NEWEST);
    let names = names(repository, &newest);
    let kinds = KINDS.into_iter().map(|(name, state)| {
        let had = state.map(|state| repository.state(state));
        let query = |target: &String| question(repository, had.as_ref(), target).to_query();
        let asked = |target: &String| files(had.as_ref(), &newest, target);
        Kind {
            name,
            queries: names.iter().map(query).collect(),
            files: names.iter().map(asked).collect(),
        }
    });
    kinds.collect()
}

/// One target of each role, for as many roles as there are devices.
fn names(repository: &Repository, state: &State) -> Vec<String> {
    let files = state.roles.iter().map(|(role, version)| format!("{version}.{role}.json"));
    let first = files.filter_map(|file| {
        let document = signed(&repository.files[&file]);
        document["targets"].as_object().and_then(|targets| targets.keys().next().cloned())
    });
    first.take(DEVICES).collect()
}

/// The question of a device that looked for the target in the state `had`, or never before.
fn question(repository: &Repository, had: Option<&State>, target: &str) -> Question {
    let roles = vec![role_prefix(target)];
    let root = Have { role: "root".to_owned(), version: 1 };
    let Some(state) = had else {
        let dict = Some(digest(&[&repository.files["1.root.json"]]));
        return Question { have: vec![root], dict, roles, files: Vec::new() };
    };
    let have = |role: &str, version| Have { role: role.to_owned(), version };
    let mut known =
        vec![root, have("timestamp", state.timestamp), have("snapshot", state.snapshot)];
    known.extend(way(state, target).into_iter().map(|role| have(&role, state.roles[&role])));
    with_dictionary(repository, known, roles, Vec::new())
}

/// The question of a device that has the documents in `have`.
pub fn with_dictionary(
    repository: &Repository,
    have: Vec<Have>,
    roles: Vec<String>,
    files: Vec<String>,
) -> Question {
    let dictionary = have.iter().filter(|have| have.role != "timestamp");
    let bytes: Vec<Bytes> = dictionary
        .map(|have| repository.files[&format!("{}.{}.json", have.version, have.role)].clone())
        .collect();
    Question { dict: Some(digest(&bytes)), have, roles, files }
}

/// The roles that a search for the target visits.
fn way(state: &State, target: &str) -> Vec<String> {
    let prefix = role_prefix(target);
    let bins = (1..=prefix.len()).map(|length| format!("bin-{}", &prefix[..length]));
    std::iter::once("targets".to_owned())
        .chain(bins)
        .take_while(|role| state.roles.contains_key(role))
        .collect()
}

/// The files that a device asks for by name: those that it lacks, and the next root, to learn
/// whether it exists.
fn files(had: Option<&State>, newest: &State, target: &str) -> Vec<String> {
    let mut files = vec!["2.root.json".to_owned(), "timestamp.json".to_owned()];
    let known: BTreeSet<String> = had.iter().flat_map(|state| versioned(state, target)).collect();
    files.extend(versioned(newest, target).into_iter().filter(|file| !known.contains(file)));
    files
}

fn versioned(state: &State, target: &str) -> Vec<String> {
    let roles =
        way(state, target).into_iter().map(|role| format!("{}.{role}.json", state.roles[&role]));
    std::iter::once(format!("{}.snapshot.json", state.snapshot)).chain(roles).collect()
}
