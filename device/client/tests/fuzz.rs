//! Replays the corpus of the fuzzers (`device/client/fuzz`), with random changes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "common/device.rs"]
mod device;
#[path = "common/harness.rs"]
mod harness;
#[path = "common/repository.rs"]
mod repository;

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use harness::Harness;

#[test]
fn served() {
    run("served", Harness::served);
}

#[test]
fn signed() {
    run("signed", Harness::signed);
}

#[test]
fn kept() {
    run("kept", Harness::kept);
}

#[test]
fn packed() {
    run("packed", Harness::packed);
}

fn run(corpus: &str, act: fn(&Harness, &[u8])) {
    let harness = Harness::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(corpus);
    let inputs: Vec<Vec<u8>> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| fs::read(entry.unwrap().path()).unwrap())
        .collect();
    assert!(!inputs.is_empty());
    for input in &inputs {
        act(&harness, input);
    }
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 0..4);
    let mut runner =
        TestRunner::new(Config { cases: 2000, failure_persistence: None, ..Config::default() });
    let inputs = (prop::sample::select(inputs), changes).prop_map(|(mut input, changes)| {
        for (at, byte, change) in changes {
            let at = at.index(input.len().max(1));
            match change {
                0 if at < input.len() => input[at] = byte,
                1 if at < input.len() => _ = input.remove(at),
                _ => input.insert(at.min(input.len()), byte),
            }
        }
        input
    });
    runner
        .run(&inputs, |input| {
            act(&harness, &input);
            Ok(())
        })
        .unwrap();
}
