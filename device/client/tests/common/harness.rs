//! What the fuzzers in `device/client/fuzz` do with a device. Whatever the input, nothing panics,
//! and a refused file changes nothing.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;
use tufline_client::{Answer, Limits, MemoryStorage, Need, Pack, PackQuestion, Updater};

use crate::device::{
    Claims, Outcome, answer, as_by_names, by_names, clock, go_on_with_pack, signed, with_pack,
};
use crate::repository::{Repository, TARGET, try_file};

/// A device that knows one state of a repository, and the repository in a newer state.
pub struct Harness {
    pub repository: Repository,
    device: MemoryStorage,
    /// The device's update, before each file that it asks for, and at its end.
    places: Vec<Updater<MemoryStorage>>,
    /// What the device asks a pack for.
    question: PackQuestion,
    /// The device's result and its storage after an update by names.
    end: (Outcome, MemoryStorage),
    /// The results of updates by names from `device`, by what a pack claimed.
    claimed: Known<Claims>,
    /// The results of the next updates by names, by what was stored before them.
    next: Known<BTreeMap<String, Vec<u8>>>,
}

/// Results of updates that many inputs lead to.
struct Known<K>(Mutex<BTreeMap<K, (Outcome, MemoryStorage)>>);

/// How many results stay in memory.
const MOST_KNOWN: usize = 1000;

impl<K: Ord + Clone> Known<K> {
    const fn new() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }

    /// The result for `key`, which `update` finds out if it isn't known.
    fn get(
        &self,
        key: &K,
        update: impl FnOnce() -> (Outcome, MemoryStorage),
    ) -> (Outcome, MemoryStorage) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST_KNOWN {
            known.clear();
        }
        known.entry(key.clone()).or_insert_with(update).clone()
    }
}

impl Harness {
    pub fn new() -> Self {
        let mut repository = Repository::new();
        let mut device = MemoryStorage::default();
        tufline_client::begin_with(&mut device, &repository.files["1.root.json"]).unwrap();
        let mut first = open(&device);
        finish(&mut first, &repository);
        let device = first.storage().clone();
        repository.next_root(&[1]);
        repository.publish();
        let mut updated = device.clone();
        let mut question = None;
        let outcome = with_pack(&mut updated, &repository, |asked| {
            question = Some(asked.clone());
            Pack::default()
        });
        let end = (outcome, updated);
        assert_eq!(by_names(&mut end.1.clone(), &repository), end.0, "the next update");
        let mut places = vec![open(&device)];
        while let Some(update) = places.last()
            && let mut next = update.clone()
            && let Need::File(needed) = next.need().unwrap()
        {
            next.give(answer(&repository, &needed.path)).unwrap();
            places.push(next);
        }
        assert_eq!(places.len(), 6, "two roots, timestamp, snapshot, targets");
        let question = question.unwrap();
        let (claimed, next) = (Known::new(), Known::new());
        Self { repository, device, places, question, end, claimed, next }
    }

    /// Answers with any bytes in place of any file.
    pub fn served(&self, input: &[u8]) {
        if let Some((place, bytes)) = input.split_first() {
            self.answer_once(usize::from(*place % 6), bytes);
        }
    }

    /// Answers with any document under a valid signature of its role. This reaches the code behind
    /// the check of signatures.
    pub fn signed(&self, input: &[u8]) {
        // The keys of the next root, its timestamp, snapshot, targets and delegated role.
        let keys = [1, 2, 3, 4, 9];
        let Some((place, bytes)) = input.split_first() else { return };
        let place = usize::from(*place) % keys.len();
        let Ok(signed) = serde_json::from_slice::<Value>(bytes) else { return };
        let Some(file) = try_file(&signed, &[keys[place]]) else { return };
        // After the next root, the device asks for one more root, which is missing.
        let asked = if place == 0 { 0 } else { place + 1 };
        self.answer_once(asked, &file);
    }

    /// Updates, and answers the question number `place` with `bytes`, all others honestly. It
    /// begins at that question, so that it verifies nothing that every input has in common.
    fn answer_once(&self, place: usize, bytes: &[u8]) {
        let mut updater = self.places[place].clone();
        if updater.need().unwrap() == Need::Nothing {
            find(&mut updater, |_| Answer::Bytes(bytes));
            return;
        }
        let before = updater.storage().clone();
        match updater.give(Answer::Bytes(bytes)) {
            Ok(()) => finish(&mut updater, &self.repository),
            Err(_) => assert_eq!(*updater.storage(), before),
        }
    }

    /// Answers with any pack, as a frame or as the content of one. The pack achieves nothing that a
    /// server couldn't achieve by names, and the next update by names ends as usual.
    pub fn packed(&self, input: &[u8]) {
        let Some((kind, bytes)) = input.split_first() else { return };
        let frame = if kind % 2 == 0 { bytes.to_vec() } else { frame(bytes) };
        // An update whose pack was refused goes by names, as `end` did.
        let Ok(pack) = self.question.unpack(&frame) else { return };
        let mut updater = self.places[0].clone();
        let outcome = go_on_with_pack(&mut updater, &self.repository, |_| pack.clone());
        let device = updater.storage();
        let older = &self.device.0["timestamp.json"];
        let claims = Claims::of(&pack, &self.repository, std::slice::from_ref(older));
        let by_claims = || as_by_names(&self.device, &self.repository, &claims);
        let (expected, state) = self.claimed.get(&claims, by_claims);
        assert_eq!(outcome, expected);
        assert_eq!(signed(device), signed(&state));
        if *device != self.end.1 {
            let (outcome, next) = self.next.get(&device.0, || {
                let mut device = device.clone();
                (by_names(&mut device, &self.repository), device)
            });
            assert_eq!(outcome, self.end.0, "the next update");
            assert_eq!(signed(&next), signed(&self.end.1), "the next update");
        }
    }

    /// Replaces one stored file, except the root, by any bytes.
    pub fn kept(&self, input: &[u8]) {
        let names: Vec<&String> =
            self.device.0.keys().filter(|name| *name != "root.json").collect();
        let Some((which, bytes)) = input.split_first() else { return };
        let mut device = self.device.clone();
        let name = names.get(usize::from(*which)).map_or("rotated", |name| name.as_str());
        device.0.insert(name.to_owned(), bytes.to_vec());
        finish(&mut open(&device), &self.repository);
    }
}

fn open(device: &MemoryStorage) -> Updater<MemoryStorage> {
    Updater::open(device.clone(), clock(), Limits::default()).unwrap()
}

/// Goes on with an update until it ends or a file is refused, and then looks for the target.
fn finish(updater: &mut Updater<MemoryStorage>, repository: &Repository) {
    while let Need::File(needed) = updater.need().unwrap_or(Need::Nothing) {
        let before = updater.storage().clone();
        if updater.give(answer(repository, &needed.path)).is_err() {
            assert_eq!(*updater.storage(), before);
            return;
        }
    }
    find(updater, |path| answer(repository, path));
}

/// Looks for the target, until a file is refused.
fn find<'a>(updater: &mut Updater<MemoryStorage>, answer: impl Fn(&str) -> Answer<'a>) {
    let Some(mut search) = updater.search(TARGET) else { return };
    while let Ok(Need::File(needed)) = search.need() {
        if search.give(answer(&needed.path)).is_err() {
            return;
        }
    }
}

fn frame(pack: &[u8]) -> Vec<u8> {
    let mut compressor = zstd::bulk::Compressor::new(1).unwrap();
    compressor.include_checksum(true).unwrap();
    compressor.compress(pack).unwrap()
}
