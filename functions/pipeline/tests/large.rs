//! Large uploads: they are passed on, read in runs, and continued after whatever ended a run.
//!
//! *Property*: whatever fails, a run that sends a message for the next run has read and stored, or
//! copied, more than there was before.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};

use bytes::Bytes;
use tufline_pipeline::Ports;
use tufline_pipeline::dispatch::handle;
use tufline_pipeline::state::ledger;
use tufline_pipeline::state::records::Hashed;
use tufline_pipeline::state::records::Progress;
use tufline_store::memory::{Control, Fate, Memory, MemoryKeys, Request};
use tufline_store::{Change, Hint, Key, Message, Queue, UploadKey, VersionId};
use tufline_tuf::config::{Config, Hashing, LargeUploads, SizesOfLargeUploads};
use tufline_tuf::{Hasher, Sha256, Time};

use common::{finish, ports};

const SIZES: SizesOfLargeUploads =
    SizesOfLargeUploads { above: 50, piece: 10, run: 100, copy_above: 50, copy_part: 30 };

/// What was requested, and what fails.
#[derive(Default)]
struct Plan {
    /// How many requests were made.
    made: AtomicUsize,
    /// The number of one request, and its fate.
    fate: Mutex<Option<(usize, Fate)>>,
    reads: AtomicUsize,
}

struct Shared(Arc<Plan>);

impl Control for Shared {
    fn fate(&self, request: &Request<'_>) -> Fate {
        let number = self.0.made.fetch_add(1, Ordering::Relaxed);
        if request.action == "read" && request.place == "big" {
            self.0.reads.fetch_add(1, Ordering::Relaxed);
        }
        match *self.0.fate.lock().unwrap() {
            Some((planned, fate)) if planned == number => fate,
            _ => Fate::Done,
        }
    }
}

struct World {
    memory: Arc<Memory>,
    ports: Ports,
    plan: Arc<Plan>,
    bytes: Bytes,
    version: VersionId,
}

impl World {
    /// A world in which S3 computes no checksums. It has one upload of 1,005 bytes.
    fn new() -> Self {
        let plan = Arc::new(Plan::default());
        let keys = Arc::new(MemoryKeys::generate().unwrap());
        let memory = Arc::new(Memory::new(
            "2026-01-01T00:00:00Z".parse().unwrap(),
            keys,
            Box::new(Shared(plan.clone())),
        ));
        memory.compute_checksums(false);
        memory.copy_at_once(30);
        let config =
            Config { hashing: Hashing::Stream, large_uploads: large(SIZES), ..Config::default() };
        let ports = ports(&memory, config);
        let bytes: Bytes =
            (0..1005_u32).map(|number| u8::try_from(number * number % 251).unwrap()).collect();
        let version = memory.put_upload("big", bytes.clone(), None, false);
        Self { memory, ports, plan, bytes, version }
    }

    fn progress_key(&self) -> Key {
        Key::Hashing(UploadKey::new("big", &self.version))
    }

    fn offset(&self) -> Option<u64> {
        let stored = self.memory.object(&self.progress_key().path())?;
        Some(serde_json::from_slice::<Progress>(&stored).unwrap().offset)
    }

    fn hint(&self) -> String {
        let hint = Hint { name: "big".into(), removed: false, version: Some(self.version.clone()) };
        Message::Large(hint).to_body().unwrap()
    }

    fn run(&self, until: Time) -> impl Future<Output = Vec<Option<String>>> + use<> {
        let (ports, body) = (self.ports.clone(), self.hint());
        async move { handle(&ports, Queue::Large, "", until, &[&body]).await }
    }

    /// How many bytes are read, and how many are copied.
    fn gained(&self) -> (u64, usize) {
        let stored = self.memory.object(&self.progress_key().path());
        let progress = stored
            .and_then(|stored| serde_json::from_slice::<Progress>(&stored).ok()?.resume(1005));
        (progress.map_or(0, |(_, offset)| offset), self.memory.copied(&Sha256::of(&self.bytes)))
    }

    /// Handles the messages of the queue one after another. Returns how many runs that took.
    fn drain(&self) -> usize {
        self.drain_with(Time::MAX)
    }

    fn drain_with(&self, until: Time) -> usize {
        let mut runs = 0;
        while let Some(message) = self.memory.take(Queue::Large, 0) {
            runs += 1;
            assert!(runs < 1000, "it never ends");
            let (gained, waiting) = (self.gained(), self.memory.queued(Queue::Large));
            let failed =
                finish(handle(&self.ports, Queue::Large, "", until, &[&message.body]))[0].is_some();
            let sent = self.memory.queued(Queue::Large) > waiting;
            assert!(!sent || self.gained() > gained, "a run for nothing: {gained:?}");
            if failed {
                self.memory.put_back(Queue::Large, message, u32::MAX);
            }
        }
        runs
    }

    /// Checks that the upload is a blob with a receipt, and that rebuild has a message about it.
    fn check(&self) {
        let sha256 = Sha256::of(&self.bytes);
        assert_eq!(self.memory.blob(&sha256), Some(self.bytes.clone()));
        let key = Key::Hashed(UploadKey::new("big", &self.version));
        let receipt: Hashed = finish(ledger::read(&*self.memory, &key)).unwrap().unwrap();
        assert_eq!((receipt.sha256, receipt.length), (sha256, 1005));
        let told = std::iter::from_fn(|| self.memory.take(Queue::Changes, 0));
        let told: Vec<Message> =
            told.map(|message| Message::from_body(&message.body).unwrap()).collect();
        let set = Message::Changes(vec![Change::Set {
            name: "big".parse().unwrap(),
            version: self.version.clone(),
        }]);
        assert!(!told.is_empty() && told.iter().all(|message| *message == set), "{told:?}");
    }
}

fn large(sizes: SizesOfLargeUploads) -> LargeUploads {
    sizes.try_into().unwrap()
}

/// Whether the future ends within `polls` polls. If it does not, it is dropped, as a killed
/// function's is.
fn polled(future: impl Future, polls: usize) -> bool {
    let mut future = pin!(future);
    (0..polls).any(|_| future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready())
}

#[test]
fn a_large_upload_is_passed_on_and_keeps_nobody_waiting() {
    let world = World::new();
    world.memory.put_upload("small", Bytes::from_static(b"x"), None, false);
    let hints =
        ["big", "small"].map(|name| Hint { name: name.into(), removed: false, version: None });
    let body = Message::Uploads(hints.into()).to_body().unwrap();
    assert_eq!(finish(handle(&world.ports, Queue::Uploads, "", Time::MAX, &[&body])), [None]);
    assert_eq!(world.plan.reads.load(Ordering::Relaxed), 0, "nothing of it was read");
    assert_eq!(world.memory.take(Queue::Large, 0).unwrap().body, world.hint());
    let told = Message::from_body(&world.memory.take(Queue::Changes, 0).unwrap().body).unwrap();
    let Message::Changes(changes) = told else { panic!("{told:?}") };
    assert!(matches!(&changes[..], [Change::Set { name, .. }] if name.as_str() == "small"));
}

#[test]
fn it_is_read_in_runs_and_each_byte_once() {
    let world = World::new();
    world.memory.send_raw(Queue::Large, &world.hint());
    assert_eq!(world.drain(), 11);
    assert_eq!(world.plan.reads.load(Ordering::Relaxed), 101);
    world.check();
    // Once the upload has its receipt, a hint leads only to the change.
    world.memory.send_raw(Queue::Large, &world.hint());
    assert_eq!(world.drain(), 1);
    assert_eq!(world.plan.reads.load(Ordering::Relaxed), 101);
    world.check();
}

#[tokio::test]
async fn with_threads_the_result_is_the_same() {
    let world = World::new();
    for run in 1..=11 {
        assert_eq!(world.run(Time::MAX).await, [None], "run {run}");
    }
    world.check();
}

#[test]
fn without_time_a_run_reads_one_piece_or_copies_one_part() {
    let world = World::new();
    world.memory.send_raw(Queue::Large, &world.hint());
    // 101 pieces, and 34 parts of 30 bytes. The run that reads the last piece also copies the first
    // part.
    assert_eq!(world.drain_with(Time::MIN), 101 + 33);
    assert_eq!(world.plan.reads.load(Ordering::Relaxed), 101);
    assert_eq!(world.offset(), Some(1005));
    world.check();
}

#[test]
fn whatever_fails_in_a_run_the_next_ones_make_good() {
    let undisturbed = World::new();
    undisturbed.memory.send_raw(Queue::Large, &undisturbed.hint());
    undisturbed.drain();
    let requests = undisturbed.plan.made.load(Ordering::Relaxed);
    for number in 0..requests {
        for fate in [Fate::Failed, Fate::ReplyLost, Fate::Retried] {
            let world = World::new();
            *world.plan.fate.lock().unwrap() = Some((number, fate));
            world.memory.send_raw(Queue::Large, &world.hint());
            world.drain();
            world.check();
            let reads = world.plan.reads.load(Ordering::Relaxed);
            // A failed read takes the other reads in flight with it. Any other failure costs at
            // most one run.
            assert!(reads <= 101 + 12, "{fate:?} of request {number}: {reads} reads");
        }
    }
}

#[test]
fn wherever_a_run_is_killed_the_next_ones_make_good() {
    let mut polls = 0;
    loop {
        let world = World::new();
        world.memory.send_raw(Queue::Large, &world.hint());
        // Kill several runs at the same point, then leave the rest alone.
        let mut ended = false;
        for _ in 0..3 {
            ended |= polled(world.run(Time::MAX), polls);
        }
        world.drain();
        world.check();
        if ended {
            return;
        }
        polls += 1;
    }
}

#[test]
fn two_at_once_are_harmless() {
    for head_start in 0..100 {
        let world = World::new();
        for _ in 0..2 {
            world.memory.send_raw(Queue::Large, &world.hint());
        }
        while let Some(one) = world.memory.take(Queue::Large, 0) {
            let bodies = [&*one.body];
            let mut first = pin!(handle(&world.ports, Queue::Large, "", Time::MAX, &bodies));
            let ended = (0..head_start)
                .any(|_| first.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
            if let Some(other) = world.memory.take(Queue::Large, 0) {
                assert_eq!(
                    finish(handle(&world.ports, Queue::Large, "", Time::MAX, &[&other.body])),
                    [None]
                );
            }
            if !ended {
                assert_eq!(finish(first), [None]);
            }
        }
        let reads = world.plan.reads.load(Ordering::Relaxed);
        assert!((101..=202).contains(&reads), "{reads} reads");
        world.check();
    }
}

#[test]
fn a_run_leaves_the_upload_to_one_that_is_further() {
    let world = World::new();
    let mut slow = pin!(world.run(Time::MAX));
    // It has looked for progress, found none, and read some pieces.
    while world.plan.reads.load(Ordering::Relaxed) < 3 {
        assert!(slow.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    assert_eq!(finish(world.run(Time::MAX)), [None]);
    assert_eq!(finish(world.run(Time::MAX)), [None]);
    let waiting = world.memory.queued(Queue::Large);
    assert_eq!(finish(slow), [None]);
    assert_eq!(
        world.memory.queued(Queue::Large),
        waiting,
        "who is further goes on, and nobody else"
    );
    assert_eq!(world.offset(), Some(200));
}

#[test]
fn damaged_progress_is_never_believed() {
    let sound = World::new();
    assert_eq!(finish(sound.run(Time::MAX)), [None]);
    let record = sound.memory.object(&sound.progress_key().path()).unwrap();
    assert_eq!(sound.version, World::new().version);
    let mut damaged: Vec<Bytes> = (0..record.len())
        .map(|index| {
            let mut bytes = record.to_vec();
            // Mostly this changes one digit to another, so that it still parses.
            bytes[index] ^= 1;
            bytes.into()
        })
        .collect();
    damaged.extend([Bytes::new(), Bytes::from_static(b"{}"), record.slice(..100)]);
    // These records are sound, but about other uploads.
    let other = |length, offset, bytes: &[u8]| {
        let mut hasher = Hasher::new();
        hasher.update(bytes);
        serde_json::to_vec(&Progress::new(length, offset, hasher.pause())).unwrap().into()
    };
    damaged.extend([other(1004, 100, b"x"), other(1005, 1006, b"x")]);
    for record in damaged {
        let world = World::new();
        world.memory.tamper(&world.progress_key().path(), Some(record.clone()));
        world.memory.send_raw(Queue::Large, &world.hint());
        assert_eq!(world.drain(), 11, "from the beginning: {record:?}");
        world.check();
    }
    // A sound record is used.
    let world = World::new();
    world.memory.tamper(&world.progress_key().path(), Some(record));
    world.memory.send_raw(Queue::Large, &world.hint());
    assert_eq!(world.drain(), 10);
    world.check();
}

#[test]
fn a_run_that_copies_nothing_fails_and_calls_no_other() {
    let world = World::new();
    // First read it to its end, and copy no more than one part.
    world.memory.send_raw(Queue::Large, &world.hint());
    while world.gained() < (1005, 0) {
        let message = world.memory.take(Queue::Large, 0).unwrap();
        assert_eq!(
            finish(handle(&world.ports, Queue::Large, "", Time::MIN, &[&message.body])),
            [None]
        );
    }
    while world.memory.take(Queue::Large, 0).is_some() {}
    // Other runs are about to finish it, and never do.
    world.memory.copy_at_once(0);
    for until in [Time::MIN, Time::MAX] {
        let failures = finish(world.run(until));
        assert!(
            failures[0].as_ref().is_some_and(|why| why.contains("the copy of a large upload")),
            "{failures:?}"
        );
        assert_eq!(
            world.memory.queued(Queue::Large),
            0,
            "its own message comes again, so often and no more"
        );
    }
    world.memory.copy_at_once(30);
    world.memory.send_raw(Queue::Large, &world.hint());
    world.drain();
    world.check();
}

#[test]
fn progress_that_is_damaged_or_gone_before_it_is_replaced_fails_the_run_and_stops_no_other() {
    let sound = World::new();
    assert_eq!(finish(sound.run(Time::MAX)), [None]);
    let path = sound.progress_key().path();
    let record = sound.memory.object(&path).unwrap();
    for now in [None, Some(Bytes::from_static(b"x")), Some(record.clone())] {
        let world = World::new();
        for _ in 0..2 {
            assert_eq!(finish(world.run(Time::MAX)), [None]);
        }
        while world.memory.take(Queue::Large, 0).is_some() {}
        let mut run = pin!(world.run(Time::MAX));
        // It has read the progress, and some more pieces.
        while world.plan.reads.load(Ordering::Relaxed) < 23 {
            assert!(run.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        }
        world.memory.tamper(&path, now);
        let failures = finish(run);
        assert!(
            failures[0].as_ref().is_some_and(|why| why.contains("the progress of a large upload")),
            "{failures:?}"
        );
        assert_eq!(
            world.memory.queued(Queue::Large),
            0,
            "its own message comes again, so often and no more"
        );
        world.memory.send_raw(Queue::Large, &world.hint());
        world.drain();
        world.check();
    }
}

#[test]
fn a_read_that_fails_costs_nothing_that_was_gained() {
    let world = World::new();
    // About the fifth piece of the first run.
    *world.plan.fate.lock().unwrap() = Some((8, Fate::Failed));
    assert_eq!(finish(world.run(Time::MAX)), [None], "the message is done with: another goes on");
    let offset = world.offset().unwrap();
    assert!(offset > 0 && offset < 100, "{offset}");
    world.drain();
    world.check();
}

#[test]
fn an_upload_that_is_replaced_meanwhile_is_answered_and_the_new_one_read() {
    let mut world = World::new();
    assert_eq!(finish(world.run(Time::MAX)), [None]);
    world.memory.take_events();
    let old = world.version.clone();
    world.version = world.memory.put_upload("big", world.bytes.clone(), None, false);
    world.drain();
    world.check();
    let told = format!("{:?}", world.memory.take_events());
    assert!(told.contains("UploadSuperseded") && told.contains(&old.0), "{told}");
}

#[test]
fn a_large_upload_that_is_gone_is_answered_and_no_more() {
    let world = World::new();
    assert_eq!(finish(world.run(Time::MAX)), [None]);
    world.memory.take_events();
    world.memory.remove_upload("big").unwrap();
    world.drain();
    // The removal has a message of its own, for hash.
    assert_eq!(world.memory.queued(Queue::Changes), 0);
    let told = format!("{:?}", world.memory.take_events());
    assert!(told.contains("UploadSuperseded") && told.contains(&world.version.0), "{told}");
}

#[test]
fn what_is_no_message_of_the_queue_comes_again_alone() {
    let world = World::new();
    let hints = Message::Uploads(vec![]).to_body().unwrap();
    let failures =
        finish(handle(&world.ports, Queue::Large, "", Time::MAX, &["{}", &hints, &world.hint()]));
    assert_eq!(failures.iter().map(Option::is_some).collect::<Vec<_>>(), [true, true, false]);
}
