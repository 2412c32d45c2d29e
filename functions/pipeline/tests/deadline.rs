//! Sign and publish finish, however much waits and however little time a run has.
//!
//! *Property*: a run continues where the one before ran out of time, and generations made meanwhile
//! do not make it start over.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use jiff::SignedDuration;
use tufline_pipeline::Deadline;
use tufline_pipeline::Ports;
use tufline_pipeline::dispatch::handle;
use tufline_pipeline::operations::init;
use tufline_pipeline::stages::Turn;
use tufline_pipeline::stages::hash;
use tufline_pipeline::stages::rebuild;
use tufline_pipeline::state::ledger;
use tufline_store::memory::{Control, Fate, Memory, MemoryKeys, Request};
use tufline_store::{Clock, Hint, Queue};
use tufline_tuf::generation::FirstBins;
use tufline_tuf::{Config, Time};

use common::{finish, ports, settle, take_changes};

/// How many names each generation changes. A trial asks the uploads about some hundred at once.
const NAMES: usize = 300;

/// How long a look at an upload takes.
const LOOK: SignedDuration = SignedDuration::from_millis(100);

/// Counts the looks at uploads.
#[derive(Clone, Default)]
struct Looks(Arc<AtomicUsize>);

impl Control for Looks {
    fn fate(&self, request: &Request<'_>) -> Fate {
        // Count no looks at blobs or records.
        if request.action == "look at"
            && request.place.contains('-')
            && !request.place.contains('/')
        {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        Fate::Done
    }
}

/// A clock on which looks take time, and nothing else does.
struct Slow(Arc<Memory>, Looks);

impl Clock for Slow {
    fn now(&self) -> Time {
        self.0.now() + LOOK * i32::try_from(self.1.0.load(Ordering::Relaxed)).unwrap()
    }
}

struct World {
    memory: Arc<Memory>,
    looks: Looks,
    ports: Ports,
    generations: usize,
}

impl World {
    fn new() -> Self {
        let (looks, keys) = (Looks::default(), Arc::new(MemoryKeys::generate().unwrap()));
        let memory = Arc::new(Memory::new(
            "2026-01-01T00:00:00Z".parse().unwrap(),
            keys.clone(),
            Box::new(looks.clone()),
        ));
        let clock = Arc::new(Slow(Arc::clone(&memory), looks.clone()));
        let ports = Ports { clock, ..ports(&memory, Config::default()) };
        finish(init::init(&ports, keys.root(), FirstBins::Sixteen)).unwrap();
        settle(&memory, &ports);
        Self { memory, looks, ports, generations: 0 }
    }

    /// Makes another generation that waits.
    fn generation(&mut self, names: usize) {
        self.generations += 1;
        let hints = (0..names).map(|number| {
            let name = format!("{}-{number}", self.generations);
            let version = self.memory.put_upload(&name, Bytes::from(name.clone()), None, true);
            Hint { name, removed: false, version: Some(version) }
        });
        let hints: Vec<Hint> = hints.collect();
        assert!(finish(hash(&self.ports, Turn::All, &hints)).iter().all(Option::is_none));
        let rebuilt = finish(rebuild(&self.ports, &take_changes(&self.memory))).unwrap();
        assert!(rebuilt.failed.is_empty() && rebuilt.generation.is_some());
    }

    /// Runs the stage once, for `seconds`, if there is a message for it. Returns how many looks it
    /// made.
    fn run(&self, queue: Queue, ports: &Ports, seconds: i64) -> Option<usize> {
        let bodies: Vec<String> =
            std::iter::from_fn(|| self.memory.take(queue, 0).map(|message| message.body)).collect();
        let bodies: Vec<&str> = bodies.iter().map(String::as_str).collect();
        if bodies.is_empty() {
            return None;
        }
        let before = self.looks.0.load(Ordering::Relaxed);
        let until = ports.clock.now() + SignedDuration::from_secs(seconds);
        let failures = finish(handle(ports, queue, "", until, &bodies));
        assert!(failures.iter().all(Option::is_none), "{failures:?}");
        Some(self.looks.0.load(Ordering::Relaxed) - before)
    }

    fn published(&self) -> u64 {
        finish(ledger::published(&*self.ports.store)).unwrap().unwrap().generation
    }
}

fn all_is_shown_by_runs_of(seconds: i64) {
    let mut world = World::new();
    for _ in 0..3 {
        world.generation(NAMES);
    }
    let [sign, publish] =
        [(); 2].map(|()| Ports { deadline: Deadline::never(), ..world.ports.clone() });
    let (before, mut runs, mut looks) = (world.published(), 0, [0, 0]);
    loop {
        let signed = world.run(Queue::Sign, &sign, seconds);
        let shown = world.run(Queue::Publish, &publish, seconds);
        looks = [looks[0] + signed.unwrap_or(0), looks[1] + shown.unwrap_or(0)];
        if signed.is_none() && shown.is_none() {
            break;
        }
        runs += 1;
        assert!(runs <= 40, "sign and publish begin anew each time: {looks:?}");
        // Uploads keep coming until something is shown.
        if world.published() == before {
            world.generation(1);
        }
    }
    assert_eq!(world.published(), before + world.generations as u64);
    let most = 3 * NAMES + world.generations;
    // While publish has not shown what sign signed, sign judges it again with whatever was made
    // since.
    assert!(looks[0] <= 3 * most && looks[1] <= most + 10, "{looks:?}");
    assert!(runs > 4, "there was time for all of it");
}

#[test]
fn a_run_goes_on_where_the_one_before_had_no_time_left() {
    all_is_shown_by_runs_of(20);
}

#[test]
fn a_run_without_any_time_goes_on_too() {
    all_is_shown_by_runs_of(-1);
}

#[test]
fn work_that_another_instance_signed_causes_no_endless_calls() {
    let mut world = World::new();
    world.generation(NAMES);
    let [slow, fast] =
        [(); 2].map(|()| Ports { deadline: Deadline::never(), ..world.ports.clone() });
    assert!(world.run(Queue::Sign, &slow, -1).is_some());
    assert!(world.run(Queue::Sign, &fast, 1000).is_some());
    world.generation(1);
    let runs = std::iter::from_fn(|| world.run(Queue::Sign, &slow, 1000)).take(5).count();
    assert!(runs < 5, "each run calls the next");
}
