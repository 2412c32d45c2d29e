//! Measures what a stranger's worst questions cost: the longest dictionary, for the most roles and
//! small targets. Such a question needs only what everybody may read.
//!
//! Roots are not part of it, since this repository has one. Each published root that a question
//! claims to lack costs one more read, until the pack is full.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::Method;
use serde_json::json;
use tufline_pack::{
    Have, MOST_DICTIONARY, MOST_FILES, MOST_HAVE, MOST_ROLES, Question, role_prefix,
};
use tufline_serve::Body;
use tufline_store::memory::{Control, Fate, Request};

use crate::devices::with_dictionary;
use crate::folder::{NEWEST, Repository, signed};
use crate::rate::{cpu_time, most_resident, since};

/// How often each question is asked again.
const AGAIN: usize = 20;

/// Counts the requests and bytes that are read.
#[derive(Default)]
struct Read {
    lengths: BTreeMap<String, usize>,
    requests: AtomicUsize,
    bytes: AtomicUsize,
}

struct Counting(Arc<Read>);

impl Control for Counting {
    fn fate(&self, request: &Request<'_>) -> Fate {
        self.0.requests.fetch_add(1, Ordering::Relaxed);
        self.0
            .bytes
            .fetch_add(self.0.lengths.get(request.place).copied().unwrap_or(0), Ordering::Relaxed);
        Fate::Done
    }
}

/// Asks each question, first of a new process and then again, and prints the cost.
pub async fn run(folder: &Path) {
    let repository = Repository::read(folder);
    for (what, question) in questions(&repository) {
        let lengths =
            repository.files.iter().map(|(file, bytes)| (format!("metadata/{file}"), bytes.len()));
        let read = Arc::new(Read { lengths: lengths.collect(), ..Read::default() });
        let served = repository.served(NEWEST, Box::new(Counting(Arc::clone(&read))));
        let before = most_resident();
        let query = question.to_query();
        let mut milliseconds = Vec::new();
        let mut first = (0, 0, 0);
        for number in 0..=AGAIN {
            let began = cpu_time();
            let answer = served.pack(&Method::GET, &query).await;
            milliseconds.push(since(began).as_secs_f64() * 1000.0);
            let Body::Whole(pack) = answer.body else { panic!("a pack is whole") };
            if number == 0 {
                first = (
                    read.requests.load(Ordering::Relaxed),
                    read.bytes.load(Ordering::Relaxed),
                    pack.len(),
                );
            }
        }
        let again = &mut milliseconds[1..];
        again.sort_unstable_by(f64::total_cmp);
        let again = again[AGAIN / 2];
        let (requests, bytes, length) = first;
        let line = json!({
            "what": what, "query_bytes": query.len(), "first_cpu_ms": milliseconds[0], "again_cpu_ms": again, "reads": requests, "read_bytes": bytes,
            "pack_bytes": length, "memory_grew_by": most_resident() - before
        });
        println!("{line}");
    }
}

fn questions(repository: &Repository) -> Vec<(&'static str, Question)> {
    let (old, new) = (repository.state("base"), repository.state(NEWEST));
    let length =
        |role: &str, version: u64| repository.files[&format!("{version}.{role}.json")].len();
    let mut largest: Vec<(&String, u64)> =
        new.roles.iter().map(|(role, version)| (role, *version)).collect();
    largest.sort_by_key(|(role, version)| std::cmp::Reverse(length(role, *version)));
    // It asks for the largest roles. The next largest are the dictionary, each in its older version
    // if there is one.
    let (asked, had) = largest.split_at(MOST_ROLES.min(largest.len()));
    let mut have = vec![
        Have { role: "root".to_owned(), version: 1 },
        Have { role: "snapshot".to_owned(), version: old.snapshot },
    ];
    let mut left = MOST_DICTIONARY - length("root", 1) - length("snapshot", old.snapshot);
    for (role, _) in had {
        let Some(version) = old.roles.get(*role) else { continue };
        if let Some(rest) =
            left.checked_sub(length(role, *version)).filter(|_| have.len() < MOST_HAVE)
        {
            left = rest;
            have.push(Have { role: (*role).clone(), version: *version });
        }
    }
    let names: Vec<String> = asked
        .iter()
        .filter_map(|(role, version)| first(&repository.files[&format!("{version}.{role}.json")]))
        .collect();
    let roles: Vec<String> = names.iter().map(|name| role_prefix(name)).collect();
    let files: Vec<String> = names.iter().take(MOST_FILES).cloned().collect();
    let worst = with_dictionary(repository, have, roles, files);
    let cold = Question { have: worst.have[..1].to_vec(), dict: None, ..worst.clone() };
    let wrong = Question { dict: Some("0".repeat(16)), ..worst.clone() };
    vec![
        ("the longest dictionary, the most roles", worst),
        ("the same, with another digest", wrong),
        ("the most roles, without a dictionary", cold),
    ]
}

/// The first target that a document lists.
fn first(document: &Bytes) -> Option<String> {
    signed(document)["targets"].as_object().and_then(|targets| targets.keys().next().cloned())
}
