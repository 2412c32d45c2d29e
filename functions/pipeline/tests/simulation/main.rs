//! The fault simulation: all stages, unchanged, over the in-memory ports, under one seeded
//! scheduler with a virtual clock.
//!
//! Several instances of each stage run at once. Messages are duplicated, late, reordered or lost.
//! Every request may fail, may be applied and reported as failed, or may be the last one before its
//! function is killed. Meanwhile, uploads are overwritten and removed. After every step that
//! changes what devices see, a client that saw everything before verifies it. In the end, after a
//! reconciliation, the published targets equal the uploads, whatever the schedule.
//!
//! `TUFLINE_SEEDS=100000` tries more schedules, `TUFLINE_MOST_SEEDS=500` fewer; `TUFLINE_SEED=7`
//! replays one and prints what happens.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod client;
#[path = "../common/mod.rs"]
mod common;
mod planted;
mod schedule;
mod thief;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use planted::Plant;
use schedule::{Simulation, Violation};
use thief::Thief;
use tufline_store::memory::MemoryKeys;

/// How many schedules a usual run tries.
const SEEDS: u64 = 10_000;

/// How many it tries with a thief of a role's credentials.
const SEEDS_OF_A_THIEF: u64 = 1_000;

/// Within how many schedules a planted error must be found.
const SEEDS_TO_FIND: u64 = 20_000;

#[expect(clippy::disallowed_methods, reason = "the flags of this test")]
fn flag(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number"))
}

fn run(
    seed: u64,
    keys: &Arc<MemoryKeys>,
    plant: Plant,
    thief: Option<Thief>,
    trace: bool,
) -> Result<(), Violation> {
    Simulation::new(seed, Arc::clone(keys), plant, thief, trace).run()
}

/// Runs the seeds `0..count` on all cores. Returns the first violation.
fn explore(count: u64, plant: Plant, thief: Option<Thief>) -> Option<(u64, Violation)> {
    let keys = Arc::new(MemoryKeys::generate().unwrap());
    let (next, found) = (AtomicU64::new(0), std::sync::Mutex::new(None));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= count || found.lock().unwrap().is_some() {
                        return;
                    }
                    if let Err(violation) = run(seed, &keys, plant, thief, false) {
                        let mut found = found.lock().unwrap();
                        if found.as_ref().is_none_or(|(other, _)| seed < *other) {
                            *found = Some((seed, violation));
                        }
                    }
                }
            });
        }
    });
    found.into_inner().unwrap()
}

#[test]
fn no_schedule_breaks_the_repository() {
    none_breaks_the_repository(SEEDS, None);
}

fn none_breaks_the_repository(usual: u64, thief: Option<Thief>) {
    if let Some(seed) = flag("TUFLINE_SEED") {
        let keys = Arc::new(MemoryKeys::generate().unwrap());
        if let Err(violation) = run(seed, &keys, Plant::Nothing, thief, true) {
            panic!("seed {seed}: {violation}");
        }
        return;
    }
    let usual = usual.min(flag("TUFLINE_MOST_SEEDS").unwrap_or(usual));
    if let Some((seed, violation)) =
        explore(flag("TUFLINE_SEEDS").unwrap_or(usual), Plant::Nothing, thief)
    {
        panic!("seed {seed}: {violation} (replay with TUFLINE_SEED={seed})");
    }
}

#[test]
fn no_thief_of_rebuilds_role_shows_what_was_not_in_effect() {
    none_breaks_the_repository(SEEDS_OF_A_THIEF, Some(Thief::Rebuild));
}

#[test]
fn no_thief_of_signs_role_shows_what_was_not_in_effect() {
    none_breaks_the_repository(SEEDS_OF_A_THIEF, Some(Thief::Sign));
}

#[test]
fn no_thief_of_hashs_role_shows_what_was_not_in_effect() {
    none_breaks_the_repository(SEEDS_OF_A_THIEF, Some(Thief::Hash));
}

#[test]
fn no_thief_of_an_operators_role_shows_what_was_not_in_effect() {
    none_breaks_the_repository(SEEDS_OF_A_THIEF, Some(Thief::Operator));
}

fn must_find(plant: Plant) {
    let found = explore(SEEDS_TO_FIND, plant, None);
    let (seed, violation) =
        found.unwrap_or_else(|| panic!("{plant:?} was not found in {SEEDS_TO_FIND} schedules"));
    println!("{plant:?}: found with seed {seed}: {violation}");
}

#[test]
fn finds_a_no_op_acknowledged_without_a_manifest() {
    must_find(Plant::NoFence);
}

#[test]
fn finds_a_look_at_uploads_before_the_base_was_read() {
    must_find(Plant::HeadBeforeBase);
}

#[test]
fn finds_a_plain_put_of_the_timestamp() {
    must_find(Plant::PlainPut);
}

#[test]
fn finds_a_refusal_that_is_an_error() {
    must_find(Plant::RefusalAsError);
}
