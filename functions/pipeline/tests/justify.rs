//! What the uploads say about a name, after histories of all kinds: overwritten, removed, purged
//! and undeleted; multipart uploads that began long ago; uploaded again, refused, expired by a
//! lifecycle; with receipts that come late, never, or lie.
//!
//! *Property*: what is justified was in effect within the window; what is in effect now, or was
//! seen to be lately, is justified; and the cost of a judgement depends on what came recently, not
//! on the whole history.
//!
//! `TUFLINE_SEEDS=100000` tries more histories; `TUFLINE_SEED=7` replays one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use jiff::SignedDuration;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tufline_pipeline::Justified;
use tufline_pipeline::Ports;
use tufline_pipeline::WINDOW_SECONDS;
use tufline_pipeline::dispatch::handle;
use tufline_pipeline::justify;
use tufline_pipeline::operations::init::init;
use tufline_pipeline::stages::Shown;
use tufline_pipeline::stages::publish;
use tufline_pipeline::stages::rebuild;
use tufline_pipeline::stages::reconcile;
use tufline_pipeline::stages::sign;
use tufline_pipeline::state::current;
use tufline_pipeline::state::ledger;
use tufline_pipeline::state::records::Hashed;
use tufline_pipeline::state::records::RECORD_FORMAT;
use tufline_store::memory::{Control, Fate, Memory, MemoryKeys, Request};
use tufline_store::{
    Change, Clock, Head, Hint, Key, LONGEST_HISTORY, Message, PastVersion, Queue, Result, Store,
    Upload, UploadKey, Uploads, VersionId,
};
use tufline_tuf::generation::FirstBins;
use tufline_tuf::{Config, Content, Sha256, TargetName, Time, custom};

use common::{finish, ports, seeds, take_changes};

const NAME: &str = "a";
const DAY: i64 = 86_400;
/// After how many days uploads expire, in worlds where they do.
const EXPIRE: i64 = 15;
/// How many moments make a second.
const MOMENTS: i64 = 1000;
/// How much this clock and S3's may differ, in seconds.
const SKEW: i64 = 2;

/// A [`Control`] that counts requests.
#[derive(Clone, Default)]
struct Counting(Arc<AtomicUsize>);

impl Control for Counting {
    fn fate(&self, _: &Request<'_>) -> Fate {
        self.0.fetch_add(1, Ordering::Relaxed);
        Fate::Done
    }
}

/// A clock that is wrong by some seconds.
struct Skewed(Arc<Memory>, AtomicI64);

impl Clock for Skewed {
    fn now(&self) -> Time {
        self.0.now() + SignedDuration::from_secs(self.1.load(Ordering::Relaxed))
    }
}

/// An entry under the name, and what the test knows about it. Dates are seconds since the
/// beginning. Times of what happened are in [`MOMENTS`], since things that happen in one second
/// still come one after another.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each may be so whatever the others are")]
struct Entry {
    version: VersionId,
    /// `None` for a delete marker.
    bytes: Option<&'static str>,
    custom: Option<&'static str>,
    is_refused: bool,
    by_lifecycle: bool,
    in_parts: bool,
    has_checksum: bool,
    came: i64,
    modified: i64,
    purged: Option<i64>,
    /// When its receipt was stored.
    receipt: Option<i64>,
    /// Whether the receipt tells the truth.
    is_true: bool,
}

impl Entry {
    fn content(&self) -> Option<Content> {
        let bytes = self.bytes?;
        let custom = self.custom.map(|text| custom::parse(text).unwrap()).unwrap_or_default();
        Some(Content { sha256: Sha256::of(bytes.as_bytes()), length: bytes.len() as u64, custom })
    }

    /// Whether S3 or the receipt tells the true content.
    fn is_known(&self) -> bool {
        self.bytes.is_some() && self.receipt.is_some() && (self.is_true || self.has_checksum)
    }

    fn is_there(&self, at: i64) -> bool {
        self.came <= at && self.purged.is_none_or(|purged| purged > at)
    }

    /// Whether the entry hides what is beneath it.
    fn counts(&self, at: i64) -> bool {
        let hides = if self.bytes.is_some() {
            self.receipt.is_some_and(|stored| stored <= at)
        } else {
            true
        };
        self.is_there(at) && !self.is_refused && !self.by_lifecycle && hides
    }
}

struct World {
    random: StdRng,
    memory: Arc<Memory>,
    ports: Ports,
    requests: Counting,
    clock: Arc<Skewed>,
    begin: Time,
    /// How many moments of this second have passed.
    moment: i64,
    /// Oldest first, as S3 orders them.
    entries: Vec<Entry>,
    /// What rebuild saw to be in effect: when, its version, its content.
    looks: Vec<(i64, Option<VersionId>, Option<Content>)>,
    expires: bool,
    /// Whether multipart uploads stand above the entries made since they began.
    above: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let requests = Counting::default();
        let keys = Arc::new(MemoryKeys::generate().unwrap());
        let begin: Time = "2026-01-01T00:00:00Z".parse().unwrap();
        let memory = Arc::new(Memory::new(begin, keys, Box::new(requests.clone())));
        let expires = random.random_bool(0.3);
        let config = if expires {
            serde_json::from_str(r#"{"uploads_expire_days":15}"#).unwrap()
        } else {
            Config::default()
        };
        let clock = Arc::new(Skewed(Arc::clone(&memory), AtomicI64::new(0)));
        let ports = Ports { clock: Arc::clone(&clock) as _, ..ports(&memory, config) };
        let above = random.random();
        Self {
            random,
            memory,
            ports,
            requests,
            clock,
            begin,
            moment: 0,
            entries: vec![],
            looks: vec![],
            expires,
            above,
        }
    }

    fn now(&self) -> i64 {
        self.memory.now().as_second() - self.begin.as_second()
    }

    fn moment(&mut self) -> i64 {
        self.moment += 1;
        self.now() * MOMENTS + self.moment
    }

    fn pass(&mut self, seconds: i64) {
        if seconds > 0 {
            self.moment = 0;
        }
        self.memory.pass(u64::try_from(seconds).unwrap());
    }

    /// Lets some time pass, or none, before the next thing happens.
    fn tick(&mut self) {
        let days = if self.expires { [DAY, 5 * DAY, 16 * DAY] } else { [300, 700, 4000] };
        let usual = [0, 1, 4, 15, 45, 150, 300, 700];
        let seconds = if self.random.random_bool(0.1) {
            days.choose(&mut self.random)
        } else {
            usual.choose(&mut self.random)
        };
        self.pass(*seconds.unwrap());
    }

    fn put(&mut self, bytes: &'static str) {
        let has_checksum = self.random.random();
        let custom =
            *[None, None, Some(r#"{"n":1}"#), Some("{}")].choose(&mut self.random).unwrap();
        self.put_as(bytes, custom, has_checksum, false);
    }

    fn put_as(
        &mut self,
        bytes: &'static str,
        custom: Option<&'static str>,
        has_checksum: bool,
        is_refused: bool,
    ) {
        let version = self.memory.put_upload(
            NAME,
            Bytes::from_static(bytes.as_bytes()),
            custom,
            has_checksum,
        );
        let custom = if is_refused { None } else { custom };
        let entry =
            Entry { bytes: Some(bytes), custom, has_checksum, is_refused, ..self.marker(version) };
        self.add(entry);
    }

    fn marker(&mut self, version: VersionId) -> Entry {
        let (came, modified) = (self.moment(), self.now());
        Entry {
            version,
            bytes: None,
            custom: None,
            is_refused: false,
            by_lifecycle: false,
            in_parts: false,
            has_checksum: false,
            came,
            modified,
            purged: None,
            receipt: None,
            is_true: true,
        }
    }

    fn put_in_parts(&mut self, bytes: &'static str, begun: i64) {
        let data = Bytes::from_static(bytes.as_bytes());
        let begun_at = self.begin + SignedDuration::from_secs(begun);
        let version = self.memory.put_in_parts(NAME, data, None, begun_at, self.above);
        let entry =
            Entry { bytes: Some(bytes), in_parts: true, modified: begun, ..self.marker(version) };
        self.add(entry);
    }

    fn add(&mut self, entry: Entry) {
        let newer = self.entries.iter().rev().filter(|other| other.purged.is_none());
        let newer = newer
            .take_while(|other| entry.in_parts && !self.above && other.modified > entry.modified);
        let place = newer.last().map(|other| other.version.clone());
        let place = place
            .and_then(|version| self.entries.iter().position(|other| other.version == version));
        self.entries.insert(place.unwrap_or(self.entries.len()), entry);
    }

    fn live(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.purged.is_none())
    }

    /// The newest entry that is not refused.
    fn top(&self) -> Option<&Entry> {
        self.live().rfind(|entry| !entry.is_refused)
    }

    fn remove(&mut self) {
        let version = self.memory.put_marker(NAME);
        let marker = self.marker(version);
        self.add(marker);
    }

    fn purge(&mut self, version: &VersionId) {
        let now = self.moment();
        self.memory.delete_version(NAME, version);
        let entry = self.entries.iter_mut().find(|entry| entry.version == *version).unwrap();
        entry.purged = Some(now);
    }

    /// Stores a receipt for `version` that says `sha256`, unless it has one: receipts are written
    /// once.
    fn store_receipt(&mut self, version: &VersionId, sha256: Sha256) {
        let now = self.moment();
        let entry = self.entries.iter_mut().find(|entry| entry.version == *version).unwrap();
        let Some(content) = entry.content().filter(|_| entry.receipt.is_none()) else { return };
        entry.receipt = Some(now);
        entry.is_true = sha256 == content.sha256;
        let hashed = Hashed { format: RECORD_FORMAT, sha256, length: content.length };
        let key = Key::Hashed(UploadKey::new(NAME, version));
        let _ = finish(self.memory.create(&ledger::record(key, &hashed).unwrap())).unwrap();
    }

    /// Hash looks at the name.
    fn hash(&mut self) {
        let Some(top) = self.top() else { return };
        if let Some(content) = top.content() {
            let version = top.version.clone();
            self.store_receipt(&version, content.sha256);
        }
    }

    /// A thief of hash's role writes any receipt, as a damaged receipt might read.
    fn forge(&mut self) {
        let live: Vec<VersionId> = self.live().map(|entry| entry.version.clone()).collect();
        let Some(version) = live.choose(&mut self.random).cloned() else { return };
        let sha256 = Sha256::of(BYTES.choose(&mut self.random).unwrap().as_bytes());
        self.store_receipt(&version, sha256);
    }

    /// Rebuild looks at the name, and would put what it sees into a manifest.
    fn look(&mut self) {
        let now = self.now();
        let look = match self.top() {
            Some(top) if top.is_known() => (now, Some(top.version.clone()), top.content()),
            Some(top) if top.bytes.is_none() && !self.expires => {
                (now, Some(top.version.clone()), None)
            }
            _ => return,
        };
        self.looks.push(look);
    }

    fn step(&mut self) {
        match self.random.random_range(0..100) {
            0..20 => {
                let bytes = BYTES.choose(&mut self.random).unwrap();
                self.put(bytes);
            }
            20..25 => self.put_as(BYTES[0], Some("not json"), true, true),
            25..35 => {
                let ago =
                    *[0, 30, 200, 900, 3000, 2 * DAY, 14 * DAY].choose(&mut self.random).unwrap();
                let bytes = BYTES.choose(&mut self.random).unwrap();
                self.put_in_parts(bytes, self.now() - ago);
            }
            35..42 => self.remove(),
            42..46 => {
                let live: Vec<VersionId> = self.live().map(|entry| entry.version.clone()).collect();
                if let Some(version) = live.choose(&mut self.random) {
                    self.purge(version);
                }
            }
            46..49 => {
                let markers = self.live().rev().take_while(|entry| entry.bytes.is_none());
                for marker in markers.map(|marker| marker.version.clone()).collect::<Vec<_>>() {
                    self.purge(&marker);
                }
            }
            49..52 => self.forge(),
            52..55 if self.expires => self.expire(),
            55..75 => self.hash(),
            75..82 => self.look(),
            _ => self.tick(),
        }
    }

    /// A lifecycle removes the newest version if it is old, whether it is refused or not.
    fn expire(&mut self) {
        let limit = self.now() - EXPIRE * DAY;
        if self.live().next_back().is_some_and(|top| top.bytes.is_some() && top.modified <= limit) {
            let version = self.memory.put_marker(NAME);
            let entry = Entry { by_lifecycle: true, ..self.marker(version) };
            self.add(entry);
        }
    }

    /// Whether `content` (`None`: gone) was in effect at some time from `from` until now.
    fn was_in_effect(&self, content: Option<&Content>, from: i64) -> bool {
        let entries = self.entries.iter();
        let changes =
            entries.flat_map(|entry| [Some(entry.came), entry.purged, entry.receipt]).flatten();
        let times: BTreeSet<i64> = changes.filter(|time| *time >= from).chain([from]).collect();
        // A version deleted for good has left no trace, so nobody can tell whether it hid anything.
        let looks = times.into_iter().flat_map(|at| [(at, true), (at, false)]);
        looks.into_iter().any(|(at, with_purged)| {
            let hides = |entry: &Entry| entry.counts(at) && (with_purged || entry.purged.is_none());
            let top = self.entries.iter().rposition(hides);
            let Some(content) = content else {
                return top.is_none_or(|top| self.entries[top].bytes.is_none());
            };
            let above = &self.entries[top.unwrap_or(0)..];
            above.iter().any(|entry| {
                entry.is_there(at) && !entry.is_refused && entry.content().as_ref() == Some(content)
            })
        })
    }

    /// Whether `content` came since `from` as a multipart upload, and so may stand beneath
    /// something newer.
    fn came_beneath(&self, content: Option<&Content>, from: i64) -> bool {
        let late = self.entries.iter().filter(|entry| entry.in_parts && entry.came >= from);
        content.is_some() && late.into_iter().any(|entry| entry.content().as_ref() == content)
    }

    /// How many entries a judgement may look at. If uploads expire, it may also look at everything
    /// beneath delete markers.
    fn recent(&self) -> usize {
        let until = self.now() - WINDOW_SECONDS - 2 * SKEW;
        let old = |entry: &&Entry| {
            let dated = entry.bytes.is_none()
                || entry.receipt.is_some_and(|stored| stored < until * MOMENTS);
            entry.modified < until && dated && !entry.is_refused
        };
        let recent = self
            .live()
            .rev()
            .position(|entry| old(&entry))
            .map_or(self.live().count(), |index| index + 1);
        if self.expires { recent + self.live().count() } else { recent }
    }

    fn judge(&mut self, version: Option<&VersionId>, content: Option<&Content>) -> Justified {
        self.clock.1.store(self.random.random_range(-SKEW..=SKEW), Ordering::Relaxed);
        let (name, before) =
            (NAME.parse::<TargetName>().unwrap(), self.requests.0.load(Ordering::Relaxed));
        let justified = finish(justify(&self.ports, &name, version, content)).unwrap();
        let made = self.requests.0.load(Ordering::Relaxed) - before;
        let is_current = self.live().next_back().is_some_and(|top| {
            !top.is_refused
                && top.is_known()
                && top.content().as_ref() == content
                && content.is_some()
        });
        // Two looks and a copy, and the receipt of the version in the hint. Since several entries
        // are looked at together, as many looks again may be in vain.
        let most = if is_current { 4 } else { 8 + 8 * self.recent() };
        assert!(made <= most, "{made} requests, {most} may be");
        justified
    }

    /// Makes true and false claims, and checks the judgements of them.
    fn check(&mut self) {
        let now = self.now();
        let from = (now - WINDOW_SECONDS - 2 * SKEW) * MOMENTS;
        let versions: Vec<VersionId> =
            self.entries.iter().map(|entry| entry.version.clone()).collect();
        let mut contents: Vec<Option<Content>> = self.entries.iter().map(Entry::content).collect();
        contents.extend([
            None,
            Some(Content {
                sha256: Sha256::of(b"never"),
                length: 2,
                custom: custom::parse("{}").unwrap(),
            }),
        ]);
        for _ in 0..4 {
            let version = versions.choose(&mut self.random).cloned();
            let content = contents.choose(&mut self.random).unwrap().clone();
            let justified = self.judge(version.as_ref(), content.as_ref());
            let was = self.was_in_effect(content.as_ref(), from)
                || self.came_beneath(content.as_ref(), from);
            assert!(
                !is_justified(justified) || was,
                "{content:?} is justified by {version:?} and was not in effect"
            );
        }
        // What is in effect now must be justified.
        if let Some(top) = self.top().cloned() {
            let hint =
                [Some(top.version.clone()), versions.choose(&mut self.random).cloned(), None];
            let hint = hint.choose(&mut self.random).unwrap().clone();
            if top.is_known() || top.bytes.is_none() && !self.expires {
                assert_eq!(
                    self.judge(hint.as_ref(), top.content().as_ref()),
                    Justified::Yes,
                    "{top:?} is in effect"
                );
            }
        } else if !self.expires {
            assert_eq!(self.judge(None, None), Justified::Yes, "nothing is there");
        }
        // So must what was seen lately, unless it was deleted for good.
        for (seen, version, content) in self.looks.clone() {
            let is_left = self.live().any(|entry| Some(&entry.version) == version.as_ref());
            if seen >= now - WINDOW_SECONDS + 2 * SKEW && is_left {
                let justified = self.judge(version.as_ref(), content.as_ref());
                assert!(
                    is_justified(justified),
                    "{content:?} was seen {} s ago as {version:?}",
                    now - seen
                );
            }
        }
    }
}

fn is_justified(justified: Justified) -> bool {
    matches!(justified, Justified::Yes | Justified::Lately)
}

/// Contents of the same length, so that they differ only in their digest.
const BYTES: [&str; 4] = ["aa", "bb", "cc", "dd"];

#[test]
fn what_is_justified_was_in_effect_lately_and_what_is_in_effect_is_justified() {
    let mut verdicts = [0; 4];
    for seed in seeds(1500) {
        let mut world = World::new(seed);
        for step in 0..60 {
            world.step();
            if step % 3 == 2 {
                let context = format!(
                    "seed {seed}, step {step}, {} s, {:?}",
                    world.now(),
                    world.live().collect::<Vec<_>>()
                );
                let judged =
                    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.check()));
                assert!(judged.is_ok(), "{context}");
            }
        }
        let contents: Vec<_> =
            world.entries.iter().map(|entry| (entry.version.clone(), entry.content())).collect();
        for (version, content) in contents {
            verdicts[world.judge(Some(&version), content.as_ref()) as usize] += 1;
        }
    }
    println!("yes, lately, not now, otherwise: {verdicts:?}");
}

/// A name that is overwritten all the time must be published all the same.
#[test]
fn a_name_that_is_overwritten_all_the_time_is_justified_by_a_look_a_few_seconds_ago() {
    for seed in seeds(20) {
        let mut world = World::new(seed);
        let in_parts = seed % 2 == 0;
        for second in 0..1200 {
            world.pass(1);
            let bytes = BYTES.choose(&mut world.random).unwrap();
            match world.random.random_range(0..6) {
                0..3 if in_parts => {
                    let begun = world.now() - [100, 700, 2000].choose(&mut world.random).unwrap();
                    world.put_in_parts(bytes, begun);
                }
                0..2 => world.put(bytes),
                2 => world.put_as(bytes, Some("not json"), false, true),
                _ => world.hash(),
            }
            world.look();
            if second % 10 == 0 {
                let cut = world.now() - 60;
                world.looks.retain(|(seen, ..)| *seen > cut);
                for (_, version, content) in world.looks.clone() {
                    let before = world.requests.0.load(Ordering::Relaxed);
                    assert!(
                        is_justified(world.judge(version.as_ref(), content.as_ref())),
                        "seed {seed}"
                    );
                    let made = world.requests.0.load(Ordering::Relaxed) - before;
                    // A newer multipart upload may have an older date, so its receipt is read too.
                    // Refused versions are looked at as well.
                    let refused = world.live().rev().take_while(|top| top.is_refused).count();
                    let most = if in_parts { 8 * 60 } else { 10 + 2 * refused };
                    assert!(made <= most, "seed {seed}: {made} requests");
                }
            }
        }
    }
}

struct Simple {
    memory: Arc<Memory>,
    ports: Ports,
    requests: Counting,
    name: TargetName,
}

fn simple(config: &str) -> Simple {
    let (requests, keys) = (Counting::default(), Arc::new(MemoryKeys::generate().unwrap()));
    let memory = Arc::new(Memory::new(
        "2026-01-01T00:00:00Z".parse().unwrap(),
        keys,
        Box::new(requests.clone()),
    ));
    let ports = ports(&memory, serde_json::from_str(config).unwrap());
    Simple { memory, ports, requests, name: NAME.parse().unwrap() }
}

fn content(bytes: &str) -> Content {
    Content {
        sha256: Sha256::of(bytes.as_bytes()),
        length: bytes.len() as u64,
        custom: custom::parse("{}").unwrap(),
    }
}

impl Simple {
    fn put(&self, bytes: &'static str, with_checksum: bool) -> VersionId {
        self.memory.put_upload(NAME, Bytes::from_static(bytes.as_bytes()), None, with_checksum)
    }

    fn receipt(&self, version: &VersionId, says: &str) {
        let hashed = Hashed {
            format: RECORD_FORMAT,
            sha256: Sha256::of(says.as_bytes()),
            length: says.len() as u64,
        };
        let key = Key::Hashed(UploadKey::new(NAME, version));
        let _ = finish(self.memory.create(&ledger::record(key, &hashed).unwrap())).unwrap();
    }

    /// Initialises the repository, and publishes the first generation.
    fn begin(&self) {
        finish(init(&self.ports, self.memory.keys().root(), FirstBins::One)).unwrap();
        finish(sign(&self.ports)).unwrap();
        finish(publish(&self.ports)).unwrap();
    }

    fn judge(&self, version: Option<&VersionId>, bytes: Option<&str>) -> Justified {
        finish(justify(&self.ports, &self.name, version, bytes.map(content).as_ref())).unwrap()
    }

    fn hash(&self, hint: Hint) {
        let body = Message::Uploads(vec![hint]).to_body().unwrap();
        assert_eq!(finish(handle(&self.ports, Queue::Uploads, "", Time::MAX, &[&body])), [None]);
    }

    fn current(&self) -> current::Current {
        finish(current::current_upload(&self.ports, &self.name)).unwrap().0
    }
}

#[test]
fn a_receipt_that_lies_justifies_nothing() {
    let world = simple("{}");
    let version = world.put("aa", false);
    world.receipt(&version, "bb");
    assert_eq!(
        world.judge(Some(&version), Some("bb")),
        Justified::Otherwise,
        "the judge's own copy says aa"
    );
    assert_eq!(
        world.judge(Some(&version), Some("aa")),
        Justified::NotNow,
        "and no receipt says that"
    );
    let version = world.put("cc", true);
    world.receipt(&version, "dd");
    assert_eq!(
        world.judge(Some(&version), Some("dd")),
        Justified::Otherwise,
        "S3's own checksum says cc"
    );
    assert_eq!(
        world.judge(Some(&version), Some("cc")),
        Justified::Yes,
        "whatever the receipt says"
    );
    assert_eq!(world.judge(Some(&version), Some("ee")), Justified::NotNow);
    // If the store computes no digests, nobody knows better than the receipt.
    world.memory.compute_checksums(false);
    let version = world.put("aa", false);
    world.receipt(&version, "bb");
    assert_eq!(world.judge(Some(&version), Some("bb")), Justified::Yes);
    let version = world.put("cc", true);
    world.receipt(&version, "dd");
    assert_eq!(
        world.judge(Some(&version), Some("dd")),
        Justified::Otherwise,
        "but what came with a checksum"
    );
}

#[test]
fn a_receipt_that_is_wrong_or_unreadable_holds_up_nothing_where_s3_tells() {
    for stored in [None, Some("{")] {
        let world = simple("{}");
        world.begin();
        let version = world.put("aa", true);
        let key = Key::Hashed(UploadKey::new(NAME, &version));
        match stored {
            None => world.receipt(&version, "bb"),
            Some(text) => {
                world.memory.tamper(&key.path(), Some(Bytes::from_static(text.as_bytes())));
            }
        }
        let before = world.memory.object(&key.path());
        for _ in 0..2 {
            world.hash(Hint { name: NAME.into(), removed: false, version: Some(version.clone()) });
            let changes = take_changes(&world.memory);
            let expected = Change::Set { name: world.name.clone(), version: version.clone() };
            assert_eq!(changes, [vec![expected]], "it goes on");
            assert!(world.memory.blob(&Sha256::of(b"aa")).is_some());
            let generation = finish(rebuild(&world.ports, &changes)).unwrap().generation.unwrap();
            let manifest = finish(ledger::manifest(&*world.memory, generation)).unwrap();
            let json = serde_json::to_string(&manifest.changes).unwrap();
            assert!(json.contains(&Sha256::of(b"aa").to_string()), "what S3 says: {json}");
        }
        assert_eq!(world.memory.object(&key.path()), before, "receipts are written once");
    }
}

#[test]
fn the_same_bytes_uploaded_again_are_the_same_content() {
    let world = simple("{}");
    let first = world.put("aa", false);
    world.receipt(&first, "aa");
    world.memory.pass(60);
    let again = world.put("aa", false);
    world.receipt(&again, "aa");
    world.put("bb", true);
    world.memory.delete_version(NAME, &first);
    assert_eq!(world.judge(Some(&first), Some("aa")), Justified::Lately);
}

/// No other message may come: an event may be lost, and a thief of rebuild's role would leave the
/// old content there.
#[test]
fn content_shown_as_it_was_lately_is_looked_at_again() {
    let world = simple("{}");
    world.begin();
    let upload = |bytes| {
        let version = world.put(bytes, true);
        world.hash(Hint { name: NAME.into(), removed: false, version: Some(version) });
        take_changes(&world.memory)
    };
    let show = |changes: &[Vec<Change>]| {
        let generation = finish(rebuild(&world.ports, changes)).unwrap().generation.unwrap();
        finish(sign(&world.ports)).unwrap();
        assert_eq!(finish(publish(&world.ports)).unwrap(), Shown::Now(generation));
        serde_json::to_string(
            &finish(ledger::manifest(&*world.memory, generation)).unwrap().changes,
        )
        .unwrap()
    };
    let old = upload("aa");
    let generation = finish(rebuild(&world.ports, &old)).unwrap().generation.unwrap();
    // The changes for "bb" are lost.
    upload("bb");
    finish(sign(&world.ports)).unwrap();
    assert_eq!(finish(publish(&world.ports)).unwrap(), Shown::Now(generation));
    world.memory.pass(60);
    let looks = take_changes(&world.memory);
    assert_eq!(looks, [vec![Change::Look { name: world.name.clone() }]]);
    assert!(show(&looks).contains(&Sha256::of(b"bb").to_string()));
    world.memory.pass(60);
    assert!(take_changes(&world.memory).is_empty(), "what is in effect needs no other look");
}

#[test]
fn a_refused_version_hides_nothing_even_with_a_receipt() {
    let world = simple("{}");
    let version = world.put("aa", true);
    world.receipt(&version, "aa");
    let refused = world.memory.put_upload(NAME, Bytes::from_static(b"bb"), Some("not json"), true);
    world.receipt(&refused, "bb");
    world.memory.pass(700);
    world.put("cc", true);
    assert_eq!(
        world.judge(Some(&version), Some("aa")),
        Justified::Lately,
        "until cc has its receipt"
    );
    assert_eq!(world.judge(Some(&refused), Some("bb")), Justified::NotNow);
}

#[test]
fn nobody_looks_for_ever() {
    let world = simple("{}");
    let old = world.put("aa", true);
    world.receipt(&old, "aa");
    for _ in 0..LONGEST_HISTORY {
        world.put("bb", true);
    }
    let before = world.requests.0.load(Ordering::Relaxed);
    assert_eq!(
        world.judge(Some(&old), Some("aa")),
        Justified::NotNow,
        "what stands so far down isn't known any more"
    );
    assert!(world.requests.0.load(Ordering::Relaxed) - before <= 2 * LONGEST_HISTORY + 5);
    let before = world.requests.0.load(Ordering::Relaxed);
    assert_eq!(world.judge(None, Some("bb")), Justified::Yes);
    assert_eq!(world.requests.0.load(Ordering::Relaxed) - before, 1, "S3 says its SHA-256");
}

#[test]
fn a_lifecycle_removes_nothing_and_people_do() {
    let days = |count: u64| count * 24 * 3600;
    let hint = Hint { name: NAME.into(), removed: true, version: None };
    let world = simple(r#"{"uploads_expire_days":15}"#);
    world.begin();
    let is_gone = || {
        let is_gone = matches!(world.current(), current::Current::Gone { .. });
        world.hash(hint.clone());
        let told = take_changes(&world.memory);
        assert_eq!(!told.is_empty(), is_gone, "hash says so too: {told:?}");
        finish(reconcile(&world.ports)).unwrap();
        while let Some(hints) = world.memory.take(Queue::Uploads, 0) {
            assert_eq!(
                finish(handle(&world.ports, Queue::Uploads, "", Time::MAX, &[&hints.body])),
                [None]
            );
        }
        let removals = take_changes(&world.memory).concat();
        let removals = removals.iter().any(|change| matches!(change, Change::Remove { .. }));
        assert_eq!(removals, is_gone, "whoever asked");
        let marker = match world.current() {
            current::Current::Gone { marker } => marker,
            _ => None,
        };
        let forged = vec![vec![Change::Remove { name: world.name.clone(), marker }]];
        assert_eq!(
            finish(rebuild(&world.ports, &forged)).unwrap().generation.is_some(),
            is_gone,
            "and rebuild"
        );
        assert_eq!(world.judge(None, None) == Justified::Yes, is_gone, "and who judges");
        is_gone
    };
    assert!(!is_gone(), "nothing was ever there, as far as anybody can tell");
    let first = world.put("aa", true);
    world.memory.pass(days(16));
    let expiry = world.memory.put_marker(NAME);
    assert!(!is_gone(), "it was old: an expiry, perhaps");
    let again = world.memory.put_marker(NAME);
    assert!(is_gone(), "an expiry makes no second one");
    world.memory.pass(days(15));
    assert!(!is_gone(), "what stood between them may have expired meanwhile");
    world.memory.delete_version(NAME, &expiry);
    world.memory.delete_version(NAME, &again);
    let version = world.put("bb", true);
    world.memory.pass(days(14));
    world.memory.put_marker(NAME);
    assert!(is_gone(), "it was not so old");
    world.memory.delete_version(NAME, &version);
    world.memory.delete_version(NAME, &first);
    assert!(!is_gone(), "nothing is left to tell");
}

#[test]
fn a_multipart_upload_proves_a_marker_explicit_only_if_it_came_first() {
    let days = |count: u64| count * 24 * 3600;
    for (hashed, gone) in [(None, false), (Some(false), true), (Some(true), false)] {
        let world = simple(r#"{"uploads_expire_days":15}"#);
        world.put("aa", true);
        world.memory.pass(days(16));
        let begun = world.memory.now();
        world.memory.pass(60);
        // The upload comes before the marker, or after it. Only its receipt can show which.
        let late = hashed != Some(false);
        if late {
            world.memory.put_marker(NAME);
            world.memory.pass(60);
        }
        let version =
            world.memory.put_in_parts(NAME, Bytes::from_static(b"bb"), None, begun, false);
        if hashed.is_some() {
            world.receipt(&version, "bb");
        }
        if !late {
            world.memory.pass(60);
            world.memory.put_marker(NAME);
        }
        assert_eq!(matches!(world.current(), current::Current::Gone { .. }), gone, "{hashed:?}");
    }
}

/// The uploads in memory as if they were files, which are overwritten in place; or as if they had
/// been stored before the bucket kept versions.
struct Plain(Arc<Memory>, Mutex<PastVersion>);

#[async_trait]
impl Uploads for Plain {
    async fn head(&self, name: &str) -> Result<Head> {
        Ok(match Uploads::head(&*self.0, name).await? {
            Head::Gone { .. } => Head::Gone { marker: None },
            object @ Head::Object(_) => object,
        })
    }

    async fn head_version(&self, name: &str, version: &VersionId) -> Result<Option<Upload>> {
        let Head::Object(upload) = Uploads::head(&*self.0, name).await? else { return Ok(None) };
        Ok(Some(upload).filter(|upload| upload.version.as_ref() == Some(version)))
    }

    async fn versions(&self, name: &str) -> Result<Vec<PastVersion>> {
        let newest = self.0.versions(name).await?.into_iter().next();
        let newest = newest.filter(|newest| matches!(newest, PastVersion::Object { .. }));
        Ok(newest.into_iter().chain([self.1.lock().unwrap().clone()]).collect())
    }

    async fn list(&self, after: Option<&str>) -> Result<Vec<String>> {
        Uploads::list(&*self.0, after).await
    }

    async fn read_into(
        &self,
        buffer: BytesMut,
        upload: &Upload,
        offset: u64,
        length: u64,
    ) -> Result<BytesMut> {
        self.0.read_into(buffer, upload, offset, length).await
    }

    fn place(&self, name: &str) -> String {
        self.0.place(name)
    }
}

#[test]
fn an_overwritten_file_is_judged_by_its_receipt() {
    let mut world = simple("{}");
    let plain = Arc::new(Plain(Arc::clone(&world.memory), Mutex::new(PastVersion::Forgotten)));
    world.ports.uploads = Arc::clone(&plain) as _;
    // Only hash computes digests here.
    world.memory.compute_checksums(false);
    let old = world.put("aa", false);
    world.receipt(&old, "aa");
    assert_eq!(world.judge(Some(&old), Some("aa")), Justified::Yes);
    let mut other = content("aa");
    other.custom = custom::parse(r#"{"n":1}"#).unwrap();
    let judged = finish(justify(&world.ports, &world.name, Some(&old), Some(&other))).unwrap();
    assert_eq!(judged, Justified::NotNow, "its metadata is known as long as it is there");
    world.memory.pass(300);
    let new = world.put("bb", false);
    assert_eq!(world.judge(Some(&old), Some("aa")), Justified::Lately, "overwritten meanwhile");
    assert_eq!(world.judge(Some(&old), Some("bb")), Justified::NotNow, "its receipt says aa");
    assert_eq!(world.judge(Some(&new), Some("bb")), Justified::NotNow, "not hashed yet");
    assert_eq!(world.judge(None, Some("aa")), Justified::NotNow, "which version?");
    assert_eq!(world.judge(None, None), Justified::NotNow, "a file is there again");
    *plain.1.lock().unwrap() = PastVersion::Unknown;
    assert_eq!(
        world.judge(Some(&old), Some("aa")),
        Justified::NotNow,
        "in a bucket a receipt could be anybody's"
    );
    *plain.1.lock().unwrap() = PastVersion::Forgotten;
    world.memory.pass(301);
    assert_eq!(world.judge(Some(&old), Some("aa")), Justified::NotNow, "long ago");
    world.memory.remove_upload(NAME);
    assert_eq!(world.judge(None, None), Justified::Yes);
}
