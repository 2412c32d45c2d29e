//! A denied request is reported at once, with its own kind, and nothing is lost: its messages come
//! again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::io::Write;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use serde_json::Value;
use tracing_subscriber::fmt::MakeWriter;
use tufline_pipeline::Ports;
use tufline_pipeline::dispatch::handle;
use tufline_pipeline::operations::init;
use tufline_pipeline::stages::{Turn, hash, rebuild, sign};
use tufline_pipeline::state::ledger;
use tufline_store::memory::{Control, Fate, Memory, MemoryKeys, Request};
use tufline_store::{ErrorKind, Hint, Message, Queue};
use tufline_tuf::generation::FirstBins;
use tufline_tuf::{Config, Time};

use common::{finish, ports, settle, take_changes};

/// The fate of requests with this action and place.
struct Planned {
    action: &'static str,
    place: &'static str,
    fate: Fate,
    /// How many such requests there were.
    count: usize,
}

#[derive(Clone, Default)]
struct Plan(Arc<Mutex<Option<Planned>>>);

impl Plan {
    fn set(&self, action: &'static str, place: &'static str, fate: Fate) {
        *self.0.lock().unwrap() = Some(Planned { action, place, fate, count: 0 });
    }

    fn end(&self) -> usize {
        self.0.lock().unwrap().take().unwrap().count
    }
}

impl Control for Plan {
    fn fate(&self, request: &Request<'_>) -> Fate {
        match &mut *self.0.lock().unwrap() {
            Some(planned) if (request.action, request.place) == (planned.action, planned.place) => {
                planned.count += 1;
                planned.fate
            }
            _ => Fate::Done,
        }
    }
}

/// A log, as a function writes it.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Runs `work`, and returns its result with the kinds in the errors that it logged.
fn logged<T>(work: impl FnOnce() -> T) -> (T, Vec<String>) {
    let log = Log::default();
    let lines =
        tracing_subscriber::fmt().json().flatten_event(true).with_writer(log.clone()).finish();
    let done = tracing::subscriber::with_default(lines, work);
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let errors = lines.filter(|line| line["level"] == "ERROR");
    (done, errors.map(|line| line["kind"].as_str().unwrap_or_default().to_owned()).collect())
}

struct World {
    memory: Arc<Memory>,
    plan: Plan,
    ports: Ports,
}

impl World {
    fn new() -> Self {
        let (plan, keys) = (Plan::default(), Arc::new(MemoryKeys::generate().unwrap()));
        let control = Box::new(plan.clone());
        let memory =
            Arc::new(Memory::new("2026-01-01T00:00:00Z".parse().unwrap(), keys.clone(), control));
        let ports = ports(&memory, Config::default());
        finish(init::init(&ports, keys.root(), FirstBins::Sixteen)).unwrap();
        settle(&memory, &ports);
        Self { memory, plan, ports }
    }

    fn put(&self, name: &str) -> Hint {
        let version = self.memory.put_upload(name, Bytes::from(name.to_owned()), None, true);
        Hint { name: name.into(), removed: false, version: Some(version) }
    }

    /// Makes another generation that waits.
    fn generation(&self, name: &str) {
        let hint = self.put(name);
        assert!(finish(hash(&self.ports, Turn::All, &[hint])).iter().all(Option::is_none));
        let rebuilt = finish(rebuild(&self.ports, &take_changes(&self.memory))).unwrap();
        assert!(rebuilt.failed.is_empty() && rebuilt.generation.is_some());
    }

    fn handle(&self, queue: Queue, messages: &[Message]) -> Vec<bool> {
        let bodies: Vec<String> =
            messages.iter().map(|message| message.to_body().unwrap()).collect();
        let bodies: Vec<&str> = bodies.iter().map(String::as_str).collect();
        finish(handle(&self.ports, queue, "", Time::MAX, &bodies))
            .iter()
            .map(Option::is_some)
            .collect()
    }
}

/// If a signature fails, an older generation may still be signed. If the snapshot key may not be
/// used, none can be.
#[test]
fn sign_tries_no_older_generation_where_no_snapshot_may_be_signed() {
    for (fate, kind, tries) in
        [(Fate::Denied, ErrorKind::Denied, 1), (Fate::Failed, ErrorKind::Retry, 2)]
    {
        let world = World::new();
        world.generation("a");
        world.generation("b");
        world.plan.set("sign with", "Snapshot", fate);
        let (outcome, errors) = logged(|| finish(sign(&world.ports)));
        assert_eq!((outcome.unwrap_err().kind(), world.plan.end()), (kind, tries));
        assert!(
            !errors.is_empty() && errors.iter().all(|logged| logged == kind.name()),
            "{errors:?}"
        );

        // Once the key may be used again, the repeated message makes everything go on.
        assert_eq!(world.handle(Queue::Sign, &[Message::Sign]), [false]);
        settle(&world.memory, &world.ports);
        let published = finish(ledger::published(&*world.ports.store)).unwrap().unwrap().generation;
        assert_eq!(published, 3);
    }
}

/// A failure of one upload is logged only once it is given up, but a denied look at once. Other
/// uploads go on.
#[test]
fn a_message_whose_request_is_denied_comes_again_and_is_an_error_from_the_first_time_on() {
    let world = World::new();
    for (fate, told) in [(Fate::Failed, &[][..]), (Fate::Denied, &["denied"])] {
        let (bad, good) = (world.put("bad"), world.put("good"));
        world.plan.set("look at", "bad", fate);
        let messages = [Message::Uploads(vec![bad]), Message::Uploads(vec![good])];
        let (again, errors) = logged(|| world.handle(Queue::Uploads, &messages));
        assert_eq!(
            (again, &errors[..]),
            (vec![true, false], &told.iter().map(ToString::to_string).collect::<Vec<_>>()[..])
        );
        assert_eq!(world.plan.end(), 1);
        assert_eq!(world.handle(Queue::Uploads, &messages), [false, false]);
    }
    // A stage's own failure was always logged as an error; now with its kind.
    for (fate, kind) in [(Fate::Failed, "retry"), (Fate::Denied, "denied")] {
        world.plan.set("read", "metadata/timestamp.json", fate);
        let (again, errors) =
            logged(|| world.handle(Queue::Publish, &[Message::Publish, Message::Publish]));
        assert_eq!((again, errors), (vec![true, true], vec![kind.to_owned()]), "one line for both");
        assert!(world.plan.end() > 0);
    }
}
