//! Objects that are garbage, or more of them, or larger ones, than anybody honest makes.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tufline_pipeline::stages;
use tufline_pipeline::stages::Turn;
use tufline_pipeline::stages::hash;
use tufline_pipeline::state::ledger;
use tufline_pipeline::state::pending::Pending;
use tufline_pipeline::state::records::Announced;
use tufline_store::memory::{Control, Fate, Memory, MemoryKeys, Request};
use tufline_store::{Change, Event, Hint, Key, Message, Queue};
use tufline_tuf::{
    Applied, Config, Content, Custom, Manifest, Outcome, RoleName, Sha256, TargetName, json,
};

use crate::common::{finish, ports, take_changes};
use crate::world::{World, set};

/// Bytes longer than readers accept under this key.
fn too_long(key: &Key) -> Bytes {
    vec![b' '; key.most_bytes() + 1].into()
}

/// Runs hash on all messages that wait.
fn hash_all(world: &World) {
    while let Some(index) = world.memory.first_due(Queue::Uploads) {
        let message = world.memory.take(Queue::Uploads, index).unwrap();
        let Ok(Message::Uploads(hints)) = Message::from_body(&message.body) else { continue };
        finish(hash(&world.ports, Turn::All, &hints));
    }
}

/// Makes a generation with `name`, and loses the message to sign.
fn unsigned(world: &World, name: &str) {
    world.put(name, "lost");
    hash_all(world);
    finish(stages::rebuild(&world.ports, &take_changes(&world.memory))).unwrap();
    while world.memory.take(Queue::Sign, 0).is_some() {}
}

fn published(events: &[Event], name: &str) -> bool {
    events.iter().any(|event| {
        matches!(event, Event::TargetsPublished { targets, .. } if targets.iter().any(|target| target.name.as_str() == name))
    })
}

fn announced(world: &World) -> Announced {
    serde_json::from_slice(&world.memory.object(&Key::Announced.path()).unwrap()).unwrap()
}

/// Requests that wait until they are all let go at once.
#[derive(Clone, Default)]
struct Rounds(Arc<Mutex<Vec<Waker>>>);

impl Control for Rounds {
    fn turn(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let (waiting, mut waits) = (self.0.clone(), true);
        Box::pin(poll_fn(move |context| {
            if !waits {
                return Poll::Ready(());
            }
            waits = false;
            waiting.lock().unwrap().push(context.waker().clone());
            Poll::Pending
        }))
    }

    fn fate(&self, _: &Request<'_>) -> Fate {
        Fate::Done
    }
}

impl Rounds {
    /// Runs a future, and counts its rounds of requests. Requests in flight together are one round.
    fn count<T>(&self, future: impl Future<Output = T>) -> (T, usize) {
        let (mut future, mut rounds) = (pin!(future), 0);
        loop {
            if let Poll::Ready(outcome) =
                future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
            {
                return (outcome, rounds);
            }
            rounds += 1;
            std::mem::take(&mut *self.0.lock().unwrap()).into_iter().for_each(Waker::wake);
        }
    }
}

#[test]
fn what_is_too_long_holds_up_nothing() {
    let world = World::new();
    world.put("a", "one");
    world.minutes(2);
    let newest = world.newest();
    let (serial, targets) = (world.manifest(newest).serial, RoleName::targets());
    let ahead = (1..4).flat_map(|more| {
        let document = Key::Metadata { role: targets.clone(), version: serial + more };
        [Key::snapshot(newest + more), Key::Refused(newest + more), Key::Decision(more), document]
    });
    let pointers = [
        Key::RootIntent,
        Key::Announced,
        Key::RemovalsAccepted,
        Key::Manifest(newest + 1),
        Key::root(2),
    ];
    for key in ahead.chain(pointers) {
        world.memory.tamper(&key.path(), Some(too_long(&key)));
    }
    let before = finish(ledger::published(&*world.ports.store)).unwrap().unwrap().version;
    world.memory.take_events();
    world.put("b", "two");
    world.minutes(10);
    world.say();
    assert!(world.shows("b", "two"));
    assert!(published(&world.memory.take_events(), "b"));
    world.memory.pass(43_200);
    world.minutes(2);
    let after = finish(ledger::published(&*world.ports.store)).unwrap().unwrap().version;
    assert!(after > before + 1, "the timestamp is renewed");
}

#[test]
fn a_pointer_ahead_of_what_exists_stops_no_events() {
    let world = World::new();
    world.put("a", "one");
    world.minutes(2);
    world.memory.take_events();
    world.memory.tamper(
        &Key::Announced.path(),
        Some(Bytes::from_static(br#"{"format":1,"generation":1000000000}"#)),
    );
    world.put("b", "two");
    world.minutes(5);
    world.say();
    assert!(world.shows("b", "two"));
    assert!(published(&world.memory.take_events(), "b"));
    unsigned(&world, "c");
    world.minutes(5);
    assert!(world.shows("c", "lost"), "refresh nudges");
}

#[test]
fn an_unreadable_pointer_stops_no_events() {
    let world = World::new();
    world.memory.take_events();
    world.memory.tamper(&Key::Announced.path(), Some(Bytes::from_static(b"x")));
    world.put("b", "two");
    world.minutes(10);
    assert!(world.shows("b", "two"));
    assert!(published(&world.memory.take_events(), "b"));
    assert!(world.failures.lock().unwrap().is_empty());
}

#[test]
fn an_acceptance_of_removals_that_nobody_can_read_accepts_none() {
    let world = World::new();
    let names: Vec<String> = (1..=22).map(|number| format!("a{number}")).collect();
    for name in &names {
        world.put(name, "one");
    }
    world.minutes(2);
    assert!(world.shows("a1", "one"));
    let remove_all = || {
        for name in &names {
            let marker = world.memory.remove_upload(name);
            let hint = Hint { name: name.clone(), removed: true, version: marker };
            world.memory.send_raw(Queue::Uploads, &Message::Uploads(vec![hint]).to_body().unwrap());
        }
    };
    world.memory.tamper(&Key::RemovalsAccepted.path(), Some(Bytes::from_static(b"x")));
    remove_all();
    world.put("b", "two");
    world.minutes(10);
    world.say();
    assert!(world.shows("b", "two") && world.shows("a1", "one"));
    // An acceptance without an end lasts for a day.
    let without_end = Bytes::from_static(br#"{"format":1,"until":"2999-01-01T00:00:00Z"}"#);
    world.memory.tamper(&Key::RemovalsAccepted.path(), Some(without_end.clone()));
    world.memory.pass(86_401);
    world.memory.take_events();
    remove_all();
    world.minutes(2);
    assert!(world.shows("a1", "one"));
    world.memory.tamper(&Key::RemovalsAccepted.path(), Some(without_end));
    remove_all();
    world.minutes(2);
    assert!(!world.shows("a1", "one"), "and within that it does");
}

#[test]
fn a_version_that_fits_no_message_is_no_version() {
    for void in [true, false] {
        let world = World::new();
        let version = world.put("a", "one");
        world.minutes(2);
        world.memory.take_events();
        let long =
            |manifest: &mut Manifest| manifest.changes[0].version = Some("v".repeat(2_000_000));
        if void {
            world.forge(&[set("a", "evil", None)], &[], false, |manifest| {
                long(manifest);
                manifest.serial += 1;
            });
        } else {
            world.forge(&[set("a", "one", Some(&version.0))], &[], false, long);
        }
        world.settle();
        world.put("b", "two");
        let mut largest = 0;
        for _ in 0..6 {
            world.note("refresh", finish(stages::refresh(&world.ports)));
            for queue in Queue::ALL {
                let kept: Vec<String> = std::iter::from_fn(|| world.memory.take(queue, 0))
                    .map(|message| message.body)
                    .collect();
                for body in kept {
                    largest = largest.max(body.len());
                    world.memory.send_raw(queue, &body);
                }
            }
            world.settle();
            world.memory.pass(60);
        }
        assert!(world.shows("b", "two"));
        let events = world.memory.take_events();
        let event = events.iter().map(|event| format!("{event:?}").len()).max().unwrap_or(0);
        assert!(
            largest.max(event) < 1 << 18,
            "void {void}: a message of {largest}, an event of {event}"
        );
    }
}

#[test]
fn changes_without_effect_cost_no_looks() {
    let world = World::new();
    world.put("a", "one");
    world.minutes(2);
    let names: Vec<String> = (0..3000).map(|number| format!("n/{number}")).collect();
    // None of these names ever had an upload: a hint for each, as reconcile sends it.
    for hints in names.chunks(100) {
        let hints = hints
            .iter()
            .map(|name| Hint { name: name.clone(), removed: true, version: None })
            .collect();
        world.memory.send_raw(Queue::Uploads, &Message::Uploads(hints).to_body().unwrap());
    }
    world.minutes(1);
    world.put("b", "two");
    hash_all(&world);
    finish(stages::rebuild(&world.ports, &take_changes(&world.memory))).unwrap();
    for stage in ["sign", "publish"] {
        let before = world.requests.load(Ordering::Relaxed);
        match stage {
            "sign" => finish(stages::sign(&world.ports)).unwrap(),
            _ => _ = finish(tufline_pipeline::stages::publish(&world.ports)).unwrap(),
        }
        let made = world.requests.load(Ordering::Relaxed) - before;
        assert!(made < 100, "{stage} makes {made} requests");
    }
    assert!(world.shows("b", "two"));
}

#[test]
fn versions_that_are_refused_are_looked_at_together() {
    let (rounds, keys) = (Rounds::default(), Arc::new(MemoryKeys::generate().unwrap()));
    let begin = "2026-01-01T00:00:00Z".parse().unwrap();
    let memory = Arc::new(Memory::new(begin, keys, Box::new(rounds.clone())));
    let ports = ports(&memory, Config::default());
    memory.put_upload("x", Bytes::from_static(b"x1"), None, true);
    for _ in 0..990 {
        memory.put_upload("x", Bytes::from_static(b"x2"), Some("not JSON"), true);
    }
    memory.pass(1000);
    let name: TargetName = "x".parse().unwrap();
    let content = Content { sha256: Sha256::of(b"x0"), length: 2, custom: Custom::new() };
    let (found, current) =
        rounds.count(tufline_pipeline::state::current::current_upload(&ports, &name));
    assert_eq!(found.unwrap().1.len(), 990);
    let (found, justified) =
        rounds.count(tufline_pipeline::justify(&ports, &name, None, Some(&content)));
    found.unwrap();
    assert!(current < 50 && justified < 200, "{current} and {justified} rounds of requests");
}

/// Makes a void generation that changes these names.
fn strange(world: &World, generation: u64, base: u64, names: std::ops::Range<usize>) {
    let change = |number| Applied {
        name: format!("n/{number}").parse().unwrap(),
        version: None,
        uploaded: None,
        outcome: Outcome::Removed,
    };
    let changes = names.map(change).collect();
    let manifest = Manifest { generation, base, changes, ..world.manifest(1) };
    world.create(&Key::Manifest(generation), json::to_vec(&manifest).unwrap());
}

#[test]
fn many_generations_that_lead_nowhere_are_passed_by() {
    let world = World::new();
    for number in 0..4000 {
        strange(&world, 2 + number, if number == 0 { 0 } else { 1 + number }, 0..1);
    }
    let pending = finish(Pending::read(&*world.ports.store, 1)).unwrap();
    assert!(pending.chain().is_empty());
    for _ in 0..2 {
        let before = world.requests.load(Ordering::Relaxed);
        world.note("sign", finish(stages::sign(&world.ports)));
        assert!(world.requests.load(Ordering::Relaxed) - before < 1100, "as many as are read");
    }
    world.put("b", "two");
    world.minutes(2);
    world.say();
    assert!(world.shows("b", "two"));
    world.minutes(4);
    assert_eq!(announced(&world).passed_over, None, "all of them are looked at");
    assert!(world.log.lock().unwrap().iter().any(|line| line.ends_with("n/0")), "each is");
}

#[test]
fn many_names_of_void_generations_are_looked_at_one_message_after_another() {
    let world = World::new();
    world.put("n/0", "one");
    world.minutes(2);
    let newest = world.newest();
    for more in 1..=3 {
        strange(&world, newest + more as u64, 0, 3000 * (more - 1)..3000 * more);
    }
    world.put("b", "two");
    hash_all(&world);
    let before = world.requests.load(Ordering::Relaxed);
    finish(stages::rebuild(&world.ports, &take_changes(&world.memory))).unwrap();
    let made = world.requests.load(Ordering::Relaxed) - before;
    assert!(made < 100, "{made} requests");
    world.minutes(1);
    assert!(world.shows("b", "two"));
    world.memory.remove_upload("n/0");
    world.minutes(4);
    world.say();
    assert!(world.shows("b", "two") && world.shows("n/0", "one"), "what nobody told of");
    let looked = world.log.lock().unwrap().iter().filter(|line| line.ends_with("n/8999")).count();
    assert!(looked > 0, "each is looked at");
}

#[test]
fn many_decisions_are_carried_out_some_at_a_time() {
    let world = World::new();
    world.put("a", "one");
    world.minutes(2);
    for number in 1..=300 {
        world.create(&Key::Decision(number), Bytes::from_static(b"x"));
    }
    world.log.lock().unwrap().clear();
    finish(stages::rebuild(&world.ports, &[vec![Change::Decision]])).unwrap();
    let reads = world.log.lock().unwrap().iter().filter(|line| line.contains("decisions/")).count();
    assert!(reads < 70, "{reads}");
    world.put("b", "two");
    world.minutes(2);
    world.say();
    assert!(world.shows("b", "two"));
    assert_eq!(world.manifest(world.newest()).decisions, 300);
}

#[test]
fn more_decisions_than_may_be_carried_out_are_void() {
    let world = World::new();
    for number in 1..=65 {
        world.create(&Key::Decision(number), Bytes::from_static(b"x"));
    }
    world.forge(&[], &[RoleName::targets()], false, |manifest| {
        manifest.decisions = 65;
        manifest.waived = (1..=65).collect();
    });
    let forged = world.newest();
    world.settle();
    assert!(world.memory.object(&Key::Refused(forged).path()).is_some());
}

#[test]
fn a_generation_of_the_future_is_no_reason_to_wait() {
    let world = World::new();
    unsigned(&world, "c");
    world.forge(&[], &[RoleName::targets()], false, |manifest| {
        manifest.created = "2999-01-01T00:00:00Z".parse().unwrap();
    });
    while world.memory.take(Queue::Sign, 0).is_some() {}
    world.minutes(4);
    world.say();
    assert!(world.shows("c", "lost"));
}

#[test]
fn a_first_generation_of_the_future_is_no_reason_to_wait() {
    let world = World::new();
    world.put("a", "one");
    world.minutes(2);
    world.forge(&[], &[RoleName::targets()], false, |manifest| {
        manifest.created = "2999-01-01T00:00:00Z".parse().unwrap();
    });
    unsigned(&world, "c");
    world.minutes(4);
    world.say();
    assert!(world.shows("c", "lost"));
}

#[test]
fn unreadable_letters_keep_no_other_from_coming_back() {
    let world = World::new();
    let hint = Hint { name: "a".into(), removed: false, version: None };
    let readable = Message::Uploads(vec![hint]).to_body().unwrap();
    for body in std::iter::repeat_n("x", 300).chain([readable.as_str()]) {
        world.memory.send_raw(Queue::Uploads, body);
        let message = world.memory.take(Queue::Uploads, 0).unwrap();
        world.memory.put_back(Queue::Uploads, message, 1);
    }
    finish(stages::refresh(&world.ports)).unwrap();
    assert_eq!(world.memory.take(Queue::Uploads, 0).map(|message| message.body), Some(readable));
    assert_eq!(world.memory.dead_bodies(Queue::Uploads).len(), 300);
}

#[test]
fn numbers_of_snapshots_that_somebody_took_are_used_up() {
    let world = World::new();
    world.put("a", "one");
    world.minutes(2);
    let newest = world.newest();
    for generation in newest + 1..=newest + 300 {
        world.memory.tamper(&Key::snapshot(generation).path(), Some(Bytes::from_static(b"x")));
    }
    world.put("b", "two");
    world.minutes(3);
    world.say();
    assert!(world.shows("b", "two"));
}
