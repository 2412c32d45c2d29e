//! One seeded schedule: who does what, in which order, and what fails.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tufline_pipeline::Deadline;
use tufline_pipeline::Ports;
use tufline_pipeline::StageError;
use tufline_pipeline::dispatch::handle;
use tufline_pipeline::operations::init::init;
use tufline_pipeline::stages::reconcile;
use tufline_pipeline::stages::refresh;
use tufline_store::memory::{Control, Fate, Memory, MemoryKeys, QueuedMessage, Request};
use tufline_store::{Clock, Event, Queue, Store, Uploads};
use tufline_tuf::config::{Config, Hashing, LargeUploads, RemovalLimit, SizesOfLargeUploads};
use tufline_tuf::generation::FirstBins;
use tufline_tuf::{Content, Custom, Sha256, TargetName, Time, custom};

use crate::client::{Client, History, shown};
use crate::common::{finish, ports};
use crate::planted::{EarlyLook, Plant, PlantedStore};
use crate::thief::{Thief, Thieving, Uploaded};

/// After how many receives a message becomes a dead letter.
const RECEIVES: u32 = 3;

/// How many steps are taken before the faults end.
const STEPS: usize = 260;

/// How many uploads, removals and other actions people take in one schedule.
const USER_ACTIONS: usize = 6;

const NAMES: [&str; 3] = ["a", "b", "c/d"];

/// The rule that a schedule broke.
#[derive(Debug, Clone)]
pub struct Violation {
    kind: &'static str,
    what: String,
}

impl Violation {
    pub fn new(kind: &'static str, what: impl Into<String>) -> Self {
        Self { kind, what: what.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.kind, self.what)
    }
}

/// How likely each fault is, in thousandths of a request.
#[derive(Debug, Clone, Copy)]
struct Rates {
    failed: u32,
    reply_lost: u32,
    retried: u32,
    killed: u32,
    doubled: u32,
    event_lost: u32,
}

/// Draws the fate of requests from the seed.
struct Faults {
    random: Mutex<StdRng>,
    rates: Rates,
    on: AtomicBool,
    trace: bool,
}

struct SharedFaults(Arc<Faults>);

impl Control for SharedFaults {
    fn fate(&self, request: &Request<'_>) -> Fate {
        let faults = &self.0;
        let fate = if faults.on.load(Ordering::Relaxed) {
            let drawn = faults.random.lock().unwrap().random_range(0..1000);
            let Rates { failed, reply_lost, retried, .. } = faults.rates;
            match drawn {
                drawn if drawn < failed => Fate::Failed,
                drawn if request.writes && drawn < failed + reply_lost => Fate::ReplyLost,
                drawn if request.writes && drawn < failed + reply_lost + retried => Fate::Retried,
                _ => Fate::Done,
            }
        } else {
            Fate::Done
        };
        if faults.trace {
            println!("      {} {} -> {fate:?}", request.action, request.place);
        }
        fate
    }
}

type Outcome = Vec<Option<String>>;

/// A run of a stage.
struct Task {
    name: String,
    future: Pin<Box<dyn Future<Output = Outcome>>>,
    queue: Option<Queue>,
    messages: Vec<QueuedMessage>,
    /// Some instances are fast, others pause for long.
    speed: u32,
}

pub struct Simulation {
    random: StdRng,
    faults: Arc<Faults>,
    world: Arc<Memory>,
    ports: Ports,
    /// Each stage has its own, as on AWS.
    deadlines: BTreeMap<Queue, Deadline>,
    plant: Plant,
    trace: bool,
    tasks: Vec<Task>,
    client: Client,
    /// All digests that were ever uploaded under each name.
    uploaded: BTreeMap<String, BTreeSet<Sha256>>,
    /// Names and versions for which S3 sent an event. Each must be answered.
    owed: BTreeSet<(String, String)>,
    answered: BTreeSet<(String, String)>,
    counter: u32,
    lost_event: bool,
    /// How many names this schedule uses. With few of them, actions meet more often.
    names: usize,
    /// The thief of a role's credentials, if there is one.
    thief: Option<Thieving>,
    /// All present versions of each upload, oldest first.
    versions: BTreeMap<String, Vec<Version>>,
    history: History,
    /// Contents from which a thief may choose.
    contents: Uploaded,
}

/// A version of an upload.
#[derive(Debug, Clone)]
enum Version {
    Object(Sha256),
    Refused,
    Marker,
}

impl Simulation {
    pub fn new(
        seed: u64,
        keys: Arc<MemoryKeys>,
        plant: Plant,
        thief: Option<Thief>,
        trace: bool,
    ) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let names = random.random_range(1..=NAMES.len());
        let calm = random.random_ratio(1, 4);
        let rates = if calm {
            Rates { failed: 0, reply_lost: 0, retried: 0, killed: 0, doubled: 0, event_lost: 0 }
        } else {
            Rates {
                failed: 10,
                reply_lost: 10,
                retried: 10,
                killed: 15,
                doubled: 80,
                event_lost: 20,
            }
        };
        let faults = Arc::new(Faults {
            random: Mutex::new(StdRng::seed_from_u64(seed ^ 0x5eed)),
            rates,
            on: AtomicBool::new(false),
            trace,
        });
        let start: Time = "2026-01-01T00:00:00Z".parse().unwrap();
        let world = Arc::new(Memory::new(start, keys, Box::new(SharedFaults(Arc::clone(&faults)))));
        world.compute_checksums(random.random());
        let config = Config {
            hashing: if random.random_ratio(1, 4) { Hashing::Stream } else { Hashing::Auto },
            removals: RemovalLimit { percent: 100, at_least: 0 },
            // A quarter of the schedules split roles.
            max_targets_per_bin: if random.random_ratio(1, 4) {
                2.try_into().unwrap()
            } else {
                Config::default().max_targets_per_bin
            },
            // In half of the schedules most uploads are large. They are read in pieces of two
            // bytes, one or several in a run.
            large_uploads: if random.random() {
                few_bytes(random.random_range(2..6))
            } else {
                LargeUploads::default()
            },
            ..Config::default()
        };
        if random.random() {
            world.copy_at_once(2);
        }
        let store: Arc<dyn Store> = match plant {
            Plant::Nothing | Plant::HeadBeforeBase => Arc::clone(&world) as _,
            plant => Arc::new(PlantedStore { world: Arc::clone(&world), plant }),
        };
        let ports = Ports { store, ..ports(&world, config) };
        Self {
            random,
            faults,
            world,
            ports,
            deadlines: BTreeMap::from(Queue::ALL.map(|queue| (queue, Deadline::never()))),
            plant,
            trace,
            tasks: Vec::new(),
            client: Client::default(),
            uploaded: BTreeMap::new(),
            owed: BTreeSet::new(),
            answered: BTreeSet::new(),
            counter: 0,
            lost_event: false,
            names,
            thief: thief.map(|thief| Thieving::new(thief, seed)),
            versions: BTreeMap::new(),
            history: History::default(),
            contents: Vec::new(),
        }
    }

    /// Plays the schedule.
    pub fn run(mut self) -> Result<(), Violation> {
        let (world, ports) = (Arc::clone(&self.world), self.ports.clone());
        // Some schedules start with bins.
        let bins = if self.random.random_ratio(1, 8) { FirstBins::Sixteen } else { FirstBins::One };
        self.start("init", None, Vec::new(), async move {
            outcome(init(&ports, world.keys().root(), bins).await)
        });
        self.drain()?;
        self.faults.on.store(true, Ordering::Relaxed);
        let mut actions = USER_ACTIONS;
        for _ in 0..STEPS {
            self.choose(&mut actions)?;
        }
        self.faults.on.store(false, Ordering::Relaxed);
        self.say("-- the faults end");
        self.settle()?;
        self.check_end()
    }

    /// Takes one step: somebody does something.
    fn choose(&mut self, actions: &mut usize) -> Result<(), Violation> {
        match self.random.random_range(0..100) {
            0..6 if *actions > 0 => {
                *actions -= 1;
                self.user_action();
            }
            6..9 => {
                let ports = self.ports.clone();
                self.start(
                    "refresh",
                    None,
                    Vec::new(),
                    async move { outcome(refresh(&ports).await) },
                );
            }
            9..11 => {
                let seconds = self.random.random_range(1..90);
                self.world.pass(seconds);
                self.say(&format!("{seconds} s pass"));
            }
            11 if self.plant == Plant::Nothing => self.mischief(),
            12..15 if self.thief.is_some() => self.steal(),
            12..40 => {
                let queue = Queue::ALL[self.random.random_range(0..Queue::ALL.len())];
                self.receive(queue);
            }
            _ => self.step()?,
        }
        Ok(())
    }

    fn steal(&mut self) {
        let Some(thief) = &mut self.thief else { return };
        let did = thief.act(&self.world, &self.ports.config, &self.contents);
        let who = thief.who;
        self.say(&format!("THIEF of {who:?} {did}"));
    }

    /// Records what is in effect under a name, after its versions changed.
    fn note(&mut self, name: &str) {
        let versions = self.versions.get(name).map(Vec::as_slice).unwrap_or_default();
        let top = versions.iter().rev().find(|version| !matches!(version, Version::Refused));
        let content = if let Some(Version::Object(sha256)) = top { Some(*sha256) } else { None };
        self.history.add(name, self.world.now(), content);
    }

    fn user_action(&mut self) {
        let name = NAMES[self.random.random_range(0..self.names)];
        let (kind, version) = match self.random.random_range(0..10) {
            0..6 => {
                self.counter += 1;
                // Some bytes come again under other names, or as later versions.
                let bytes = if self.random.random_ratio(1, 3) {
                    "same".into()
                } else {
                    format!("{name} {}", self.counter)
                };
                let custom = self.random.random_ratio(1, 4).then_some(r#"{"v":1}"#);
                // A thief of hash may claim anything about bytes whose digest no store knows.
                let with_checksum =
                    self.thief.as_ref().is_some_and(|thief| thief.who == Thief::Hash)
                        || self.random.random();
                let (sha256, length) = (Sha256::of(bytes.as_bytes()), bytes.len() as u64);
                self.uploaded.entry(name.into()).or_default().insert(sha256);
                let version = self.world.put_upload(name, bytes.into(), custom, with_checksum);
                let custom =
                    custom.map_or_else(Custom::new, |custom| custom::parse(custom).unwrap());
                self.contents.push((
                    name.into(),
                    version.0.clone(),
                    Content { sha256, length, custom },
                ));
                self.versions.entry(name.into()).or_default().push(Version::Object(sha256));
                ("ObjectCreated:Put", Some(version))
            }
            6 => {
                self.versions.entry(name.into()).or_default().push(Version::Refused);
                (
                    "ObjectCreated:Put",
                    Some(self.world.put_upload(name, "refused".into(), Some("[]"), false)),
                )
            }
            7..9 => {
                let marker = self.world.remove_upload(name);
                if marker.is_some() {
                    self.versions.entry(name.into()).or_default().push(Version::Marker);
                }
                ("ObjectRemoved:DeleteMarkerCreated", marker)
            }
            _ => {
                self.versions.entry(name.into()).or_default().pop();
                ("ObjectRemoved:Delete", self.world.delete_newest_version(name))
            }
        };
        self.note(name);
        let Some(version) = version else { return };
        self.say(&format!("USER {kind} {name} {version}"));
        if self.draw(self.faults.rates.event_lost) {
            self.say("   its event is lost");
            self.lost_event = true;
            return;
        }
        let event = serde_json::json!({"Records": [{
            "eventName": kind, "eventSource": "aws:s3", "awsRegion": "x", "eventVersion": "2.1",
            "eventTime": "2026-01-01T00:00:00Z", "userIdentity": {}, "requestParameters": {}, "responseElements": {},
            "s3": {"bucket": {"name": "uploads"}, "object": {"key": format!("targets/{name}"), "versionId": version}}
        }]});
        self.world.send_raw(Queue::Uploads, &event.to_string());
        if kind == "ObjectCreated:Put" {
            self.owed.insert((name.into(), version.0));
        }
    }

    /// Sends what an accident, or an intruder with access to queues, might send.
    fn mischief(&mut self) {
        let name: TargetName = NAMES[self.random.random_range(0..self.names)].parse().unwrap();
        let version = format!("v{}", self.random.random_range(0..30));
        let bodies = [
            (Queue::Uploads, "not json".to_owned()),
            (Queue::Changes, "{}".to_owned()),
            (Queue::Sign, "?".to_owned()),
            (
                Queue::Changes,
                format!(
                    r#"{{"format":1,"message":{{"changes":[{{"set":{{"name":"{name}","version":"{version}"}}}}]}}}}"#
                ),
            ),
            (
                Queue::Changes,
                format!(
                    r#"{{"format":1,"message":{{"changes":[{{"remove":{{"name":"{name}","marker":"{version}"}}}}]}}}}"#
                ),
            ),
            (
                Queue::Changes,
                format!(
                    r#"{{"format":1,"message":{{"changes":[{{"look":{{"name":"{name}"}}}}]}}}}"#
                ),
            ),
            (
                Queue::Changes,
                r#"{"format":1,"message":{"changes":[{"void":{"generation":2}},"decision"]}}"#
                    .to_owned(),
            ),
            (
                Queue::Changes,
                r#"{"format":1,"message":{"changes":[{"renew":{"role":"targets","version":2}}]}}"#
                    .to_owned(),
            ),
            (
                Queue::Changes,
                r#"{"format":1,"message":{"changes":[{"renew":{"role":"snapshot","version":3}}]}}"#
                    .to_owned(),
            ),
        ];
        let (queue, body) = &bodies[self.random.random_range(0..bodies.len())];
        self.say(&format!("FORGED {}: {body}", queue.name()));
        self.world.send_raw(*queue, body);
    }

    /// Loses a blob that no published target needs. The gate must notice. It does so only while no
    /// publish runs: no check can promise that bytes stay after it.
    fn lose_a_blob(&mut self) {
        let publishing = self
            .tasks
            .iter()
            .any(|task| task.queue == Some(Queue::Publish) || task.queue.is_none());
        let needed: BTreeSet<Sha256> = shown_now(&self.world).into_values().collect();
        let lost =
            self.uploaded.values().flatten().find(|digest| !needed.contains(*digest)).copied();
        if let Some(digest) = lost.filter(|_| !publishing) {
            self.say(&format!("BLOB LOST {digest}"));
            self.world.lose_blob(&digest);
        }
    }

    /// Damages the stored progress of large uploads: one character becomes another.
    fn damage_progress(&mut self) {
        let paths = self.world.history().into_keys().filter(|path| path.starts_with("hashing/"));
        for path in paths.collect::<Vec<_>>() {
            if let Some(record) = self.world.object(&path) {
                let mut bytes = record.to_vec();
                let index = self.random.random_range(0..bytes.len());
                bytes[index] ^= 1;
                self.say(&format!("DAMAGED {path}"));
                self.world.tamper(&path, Some(bytes.into()));
            }
        }
    }

    /// Hands messages of a queue to a new instance of its stage: several at once and in any order,
    /// or the first one of a FIFO queue.
    fn receive(&mut self, queue: Queue) {
        let waiting = self.world.queued(queue);
        let instances = self.tasks.iter().filter(|task| task.queue == Some(queue)).count();
        let most = if queue.is_fifo() { 1 } else { 3 };
        if waiting == 0 || (instances >= most && !self.draw(self.faults.rates.doubled)) {
            return;
        }
        let count = if queue.is_fifo() { 1 } else { self.random.random_range(1..=waiting.min(4)) };
        let mut messages = Vec::new();
        for _ in 0..count {
            let index = if queue.is_fifo() {
                0
            } else {
                self.random.random_range(0..self.world.queued(queue))
            };
            messages.extend(self.world.take(queue, index));
        }
        // The messages are delivered again before the first instance is done.
        if self.draw(self.faults.rates.doubled) {
            for message in &messages {
                self.world.send_raw(queue, &message.body);
            }
        }
        let mut ports = Ports { deadline: self.deadlines[&queue].clone(), ..self.ports.clone() };
        if self.plant == Plant::HeadBeforeBase && queue == Queue::Changes {
            ports.uploads = Arc::new(EarlyLook::new(Arc::clone(&self.world)));
        }
        // Some functions have any amount of time, others none left, so that they do the least they
        // may.
        let until = if self.random.random() { Time::MAX } else { Time::MIN };
        let bodies: Vec<String> = messages.iter().map(|message| message.body.clone()).collect();
        self.start(queue.name(), Some(queue), messages, async move {
            let bodies: Vec<&str> = bodies.iter().map(String::as_str).collect();
            handle(&ports, queue, "targets/", until, &bodies).await
        });
    }

    fn start(
        &mut self,
        name: &str,
        queue: Option<Queue>,
        messages: Vec<QueuedMessage>,
        future: impl Future<Output = Outcome> + 'static,
    ) {
        self.counter += 1;
        let name = format!("{name}#{}", self.counter);
        let bodies: Vec<&str> = messages.iter().map(|message| message.body.as_str()).collect();
        self.say(&format!("start {name} {bodies:?}"));
        let speed = [1, 10, 10, 100][self.random.random_range(0..4)];
        self.tasks.push(Task { name, future: Box::pin(future), queue, messages, speed });
    }

    /// Lets one instance make its next request, or kills it before.
    fn step(&mut self) -> Result<(), Violation> {
        if self.tasks.is_empty() {
            return Ok(());
        }
        let mut drawn = self.random.random_range(0..self.tasks.iter().map(|task| task.speed).sum());
        let mut index = 0;
        while drawn >= self.tasks[index].speed {
            drawn -= self.tasks[index].speed;
            index += 1;
        }
        if self.faults.on.load(Ordering::Relaxed) && self.draw(self.faults.rates.killed) {
            let task = self.tasks.swap_remove(index);
            self.say(&format!("KILLED {}", task.name));
            self.give_back(&task, task.messages.clone());
            return Ok(());
        }
        self.say(&format!("   {}", self.tasks[index].name));
        if self.draw(8) {
            self.lose_a_blob();
        }
        if self.draw(8) {
            self.damage_progress();
        }
        let polled =
            self.tasks[index].future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        if let Poll::Ready(outcome) = polled {
            let task = self.tasks.swap_remove(index);
            let failed =
                task.messages.iter().zip(&outcome).filter(|(_, failure)| failure.is_some());
            let failed: Vec<QueuedMessage> = failed.map(|(message, _)| message.clone()).collect();
            self.say(&format!(
                "done {} {:?}",
                task.name,
                outcome.iter().flatten().collect::<Vec<_>>()
            ));
            self.give_back(&task, failed);
        }
        self.collect_answers()?;
        self.client.update(&self.world, &self.uploaded, &self.history)
    }

    fn give_back(&self, task: &Task, messages: Vec<QueuedMessage>) {
        for message in messages.into_iter().rev() {
            if let Some(queue) = task.queue {
                self.world.put_back(queue, message, RECEIVES);
            }
        }
    }

    /// Finishes everything that is running or in a queue.
    fn drain(&mut self) -> Result<(), Violation> {
        for _ in 0..20_000 {
            if !self.tasks.is_empty() {
                self.step()?;
            } else if let Some(queue) =
                Queue::ALL.into_iter().find(|queue| self.world.queued(*queue) > 0)
            {
                self.receive(queue);
            } else {
                return Ok(());
            }
        }
        Err(Violation::new("livelock", "the work never ends"))
    }

    /// After the faults: everything runs, and minutes pass. If S3's events were lost, somebody must
    /// reconcile. Otherwise the pipeline must have healed by itself before that.
    fn settle(&mut self) -> Result<(), Violation> {
        // What a thief left is mended step by step.
        self.minutes(if self.thief.is_some() { 12 } else { 3 })?;
        if !self.lost_event {
            self.check_end()?;
        }
        let ports = self.ports.clone();
        self.start("reconcile", None, Vec::new(), async move { outcome(reconcile(&ports).await) });
        self.minutes(2)
    }

    fn minutes(&mut self, minutes: u32) -> Result<(), Violation> {
        for _ in 0..minutes {
            self.drain()?;
            self.world.pass(61);
            let ports = self.ports.clone();
            self.start("refresh", None, Vec::new(), async move { outcome(refresh(&ports).await) });
        }
        self.drain()
    }

    /// Checks that in the end the published targets equal the uploads, every upload was answered,
    /// and nothing was rewritten.
    fn check_end(&mut self) -> Result<(), Violation> {
        let published = shown(&self.world, self.world.now())?;
        let mut expected = BTreeMap::new();
        for (name, newest) in self.newest_accepted() {
            if let Some(upload) = newest {
                let bytes = self.upload_bytes(&upload);
                expected.insert(name.clone(), bytes);
                self.owed.insert((name, upload.version.unwrap().0));
            }
        }
        if published != expected {
            return Err(Violation::new(
                "difference",
                format!("published {published:?}, uploaded {expected:?}"),
            ));
        }
        // A thief may send false answers, and may write anything under free numbers.
        if self.thief.is_some() {
            return Ok(());
        }
        if let Some(unanswered) = self.owed.difference(&self.answered).next() {
            return Err(Violation::new("no answer", format!("{unanswered:?}")));
        }
        let mut versions: BTreeMap<String, String> = BTreeMap::new();
        for (path, contents) in self.world.history() {
            let key = tufline_store::Key::parse(&path);
            if contents.len() > 1
                && key.is_none_or(|key| !key.is_pointer())
                && path != "announced.json"
            {
                return Err(Violation::new("rewritten", path));
            }
            if let Some((version, role)) =
                path.strip_prefix("metadata/").and_then(|file| file.split_once('.'))
                && !["root.json", "snapshot.json", "json"].contains(&role)
                && let Some(other) = versions.insert(version.into(), role.into())
            {
                return Err(Violation::new(
                    "shared version",
                    format!("{version} names {role} and {other}"),
                ));
            }
        }
        Ok(())
    }

    /// Each name, with its newest version that is not refused.
    fn newest_accepted(&self) -> Vec<(String, Option<tufline_store::Upload>)> {
        use tufline_pipeline::state::current::{Current, current_upload};
        let names = self.world.current_uploads().into_iter().map(|(name, _)| name);
        let look = |name: String| {
            let parsed: TargetName = name.parse().unwrap();
            let (current, _) = finish(current_upload(&self.ports, &parsed)).unwrap();
            let upload = match current {
                Current::Object(accepted) => Some(accepted.upload),
                Current::Gone { .. } | Current::Unknown => None,
            };
            (name, upload)
        };
        names.map(look).collect()
    }

    fn upload_bytes(&self, upload: &tufline_store::Upload) -> Sha256 {
        Sha256::of(&finish(Uploads::read(&*self.world, upload, 0, upload.length)).unwrap())
    }

    fn collect_answers(&mut self) -> Result<(), Violation> {
        for event in self.world.take_events() {
            if self.trace {
                println!("      EVENT {event:?}");
            }
            match event {
                Event::TargetsPublished { targets, .. } => {
                    let versions = targets
                        .into_iter()
                        .filter_map(|target| Some((target.name, target.version?)));
                    self.answered
                        .extend(versions.map(|(name, version)| (name.to_string(), version.0)));
                }
                Event::UploadRejected(rejected) => {
                    self.answered.insert((rejected.name, rejected.version.unwrap().0));
                }
                Event::UploadSuperseded { name, version } => {
                    _ = self.answered.insert((name, version.0));
                }
                Event::GenerationRefused { reason, .. }
                    if self.thief.is_none() && !reason.contains("missing or wrong") =>
                {
                    return Err(Violation::new("alarm", reason));
                }
                Event::GenerationRefused { .. }
                | Event::RemovalsHeld { .. }
                | Event::UploadDelegated { .. }
                | Event::DelegationChanged { .. }
                | Event::RootIgnored { .. } => {}
            }
        }
        Ok(())
    }

    /// True in `thousandths` of a thousand cases, while faults are on.
    fn draw(&mut self, thousandths: u32) -> bool {
        self.faults.on.load(Ordering::Relaxed) && self.random.random_range(0..1000) < thousandths
    }

    fn say(&self, what: &str) {
        if self.trace {
            println!("{what}");
        }
    }
}

fn few_bytes(run: u64) -> LargeUploads {
    SizesOfLargeUploads { above: 3, piece: 2, run, ..SizesOfLargeUploads::default() }
        .try_into()
        .unwrap()
}

fn shown_now(world: &Memory) -> BTreeMap<String, Sha256> {
    shown(world, Time::MIN).unwrap_or_default()
}

fn outcome<T>(result: Result<T, StageError>) -> Outcome {
    vec![result.err().map(|error| error.to_string())]
}
