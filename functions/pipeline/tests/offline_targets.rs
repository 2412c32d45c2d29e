//! Replaces the key of the bins where people sign `targets`. A document published at the wrong time
//! is refused, and nothing is written.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tough::schema::Targets;
use tufline_pipeline::Ports;
use tufline_pipeline::StageError;
use tufline_pipeline::dispatch::handle;
use tufline_pipeline::operations::init;
use tufline_pipeline::operations::offline_targets;
use tufline_pipeline::operations::offline_targets::ToSign;
use tufline_pipeline::operations::rotation::Step;
use tufline_pipeline::operations::rotation::look;
use tufline_pipeline::stages;
use tufline_pipeline::state::pending::Tip;
use tufline_pipeline::state::roots;
use tufline_store::memory::{Memory, MemoryKeys};
use tufline_store::{Hint, Key, Message, OnlineRole, Queue};
use tufline_tuf::generation::FirstBins;
use tufline_tuf::{Config, Draft, Time, time};

use common::schedule::sign_and_publish;
use common::{Faults, Holding, finish, key, ports, settle, take_changes};

const YEAR: u64 = 365 * 86_400;

/// A repository with 16 delegating bins and 256 others, its keys, and the people who sign.
struct World {
    memory: Arc<Memory>,
    holding: Arc<Holding>,
    ports: Ports,
    faults: Arc<Faults>,
}

impl World {
    fn new() -> Self {
        Self::with(FirstBins::TwoHundredFiftySix)
    }

    fn with(bins: FirstBins) -> Self {
        let (faults, keys) = (Faults::new(7, 20), Arc::new(MemoryKeys::generate().unwrap()));
        let memory =
            Arc::new(Memory::new("2026-01-01T00:00:00Z".parse().unwrap(), keys, faults.control()));
        let holding = Holding::new();
        let config = Config { offline_targets: true, ..Config::default() };
        let ports = Ports { signer: Arc::clone(&holding) as _, ..ports(&memory, config) };
        finish(init::init(&ports, &*key(), bins)).unwrap();
        let world = Self { memory, holding, ports, faults };
        world.stages();
        world
    }

    fn stages(&self) {
        sign_and_publish(&self.ports);
        finish(stages::refresh(&self.ports)).unwrap();
        finish(stages::rebuild(&self.ports, &take_changes(&self.memory))).unwrap();
    }

    fn try_next(&self) -> Result<ToSign, StageError> {
        let (Ports { store, signer, config, .. }, now) = (&self.ports, self.ports.clock.now());
        finish(offline_targets::next(&**store, &**signer, config, now, time::after(now, YEAR)))
    }

    /// The next documents, signed; the second only if a key is to be replaced.
    fn next(&self) -> (Bytes, Option<Bytes>) {
        let ToSign { next, last } = self.try_next().unwrap();
        (self.signed(&next), last.map(|last| self.signed(&last)))
    }

    fn signed(&self, document: &Draft<Targets>) -> Bytes {
        self.holding.sign_targets(&finish(roots::newest(&*self.ports.store)).unwrap(), document)
    }

    fn publish(&self, file: &Bytes) -> Result<u64, StageError> {
        let (Ports { store, signer, config, .. }, now) = (&self.ports, self.ports.clock.now());
        finish(offline_targets::publish(&**store, &**signer, config, now, file.clone()))
    }

    fn refused(&self, file: &Bytes, why: &str) {
        let before = self.memory.history();
        let error = self.publish(file).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
        assert_eq!(self.memory.history(), before, "something was written");
    }

    fn step(&self) -> Step {
        let Ports { store, signer, clock, config, .. } = &self.ports;
        finish(look(&**store, &**signer, &**clock, config, OnlineRole::Bins)).unwrap().step
    }

    fn wait(&self, over: impl Fn(&Step) -> bool) {
        for _ in 0..20 {
            self.stages();
            if over(&self.step()) {
                return;
            }
        }
        panic!("it stays {:?}", self.step());
    }
}

#[test]
fn the_second_document_is_refused_until_its_time_has_come() {
    let world = World::new();
    let (stale, last) = world.next();
    assert!(last.is_none() && world.step() == Step::Rested);
    world.holding.add(OnlineRole::Bins);
    // Nothing starts by itself.
    world.stages();
    assert_eq!(world.step(), Step::Untrusted);

    let (first, last) = world.next();
    let last = last.unwrap();
    world.refused(&last, "first publish the document that lists both keys");
    let generation = world.publish(&first).unwrap();
    assert_eq!(world.publish(&first).unwrap(), generation);
    let Step::Resigning(left) = world.step() else { panic!("{:?}", world.step()) };
    assert_eq!(left.len(), 256, "the delegating ones were drafted with it");
    world.refused(&last, "it drops a key whose signature 256 bins still need");
    world.refused(&stale, "which `tufline targets next` did not give out since");
    world.stages();
    world.refused(&last, "it drops a key whose signature 156 bins still need");

    // People who lost the documents have new ones signed.
    let (again, last_again) = world.next();
    world.publish(&again).unwrap();
    world.refused(&last, "which `tufline targets next` did not give out since");
    let last = last_again.unwrap();
    world.wait(|step| matches!(step, Step::Signed(files) if files.len() == 272));
    // It ends only when people say so.
    world.stages();
    assert!(matches!(world.step(), Step::Signed(_)));
    let (of_both, _) = world.next();
    world.publish(&last).unwrap();
    world.refused(&of_both, "it does not delegate to the bins with their current keys");
    world.wait(|step| matches!(step, Step::Unused(files) if files.len() == 272));
}

#[test]
fn requests_that_fail_leave_a_publication_that_goes_on() {
    let world = World::new();
    world.holding.add(OnlineRole::Bins);
    let (first, last) = world.next();
    let publish = |file: &Bytes| {
        world.faults.on.store(true, Ordering::Relaxed);
        let failures = (0..100).take_while(|_| world.publish(file).is_err()).count();
        world.faults.on.store(false, Ordering::Relaxed);
        assert!(failures < 100);
        failures
    };
    let mut failures = publish(&first);
    world.wait(|step| matches!(step, Step::Signed(_)));
    failures += publish(&last.unwrap());
    assert!(failures > 0);
    world.wait(|step| matches!(step, Step::Unused(_)));
    let tip = finish(Tip::read(&*world.ports.store)).unwrap();
    let (published, newest) = (&tip.published, tip.newest());
    let version = newest.top.document.version;
    assert!(newest.old_bins_key.is_none() && published.generation == newest.generation);
    assert!(
        world
            .memory
            .object(&Key::Metadata { role: "targets".parse().unwrap(), version }.path())
            .is_some()
    );
}

#[test]
fn where_the_document_that_people_sign_expired_the_stages_come_to_rest() {
    for days in [1, 8, 91] {
        let world = World::with(FirstBins::Sixteen);
        world.memory.put_upload("a", Bytes::from_static(b"a"), None, true);
        let hints =
            Message::Uploads(vec![Hint { name: "a".into(), removed: false, version: None }]);
        world.memory.send_raw(Queue::Uploads, &hints.to_body().unwrap());
        finish(handle(&world.ports, Queue::Uploads, "", Time::MAX, &[&hints.to_body().unwrap()]));
        world.memory.pass(days * 86_400);
        for _ in 0..3 {
            let _ = finish(stages::refresh(&world.ports));
            settle(&world.memory, &world.ports);
            // Refresh asks every minute; nobody else asks.
            assert_eq!(world.memory.queued(Queue::Changes), 0, "{days} days");
            world.memory.pass(60);
        }
    }
}
