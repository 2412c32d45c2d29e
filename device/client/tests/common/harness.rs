//! What the fuzzers in `device/client/fuzz` do with a device. Whatever the input, nothing panics,
//! and a refused file changes nothing.

use serde_json::Value;
use tufline_client::{Answer, Limits, MemoryStorage, Need, Pack, PackQuestion, Updater};

use crate::device::{Outcome, as_by_names, by_names, clock, signed, with_pack};
use crate::repository::{Repository, TARGET, try_file};

/// A device that knows one state of a repository, and the repository in a newer state.
pub struct Harness {
    pub repository: Repository,
    device: MemoryStorage,
    /// What the device asks a pack for.
    question: PackQuestion,
    /// The device's result and its storage after an update by names.
    end: (Outcome, MemoryStorage),
}

impl Harness {
    pub fn new() -> Self {
        let mut repository = Repository::new();
        let mut device = MemoryStorage::default();
        tufline_client::begin_with(&mut device, &repository.files["1.root.json"]).unwrap();
        update(&mut device, &repository, usize::MAX, &[]);
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
        Self { repository, device, question: question.unwrap(), end }
    }

    /// Answers with any bytes in place of any file.
    pub fn served(&self, input: &[u8]) {
        if let Some((place, bytes)) = input.split_first() {
            update(&mut self.device.clone(), &self.repository, usize::from(*place % 6), bytes);
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
        update(&mut self.device.clone(), &self.repository, asked, &file);
    }

    /// Answers with any pack, as a frame or as the content of one. The pack achieves nothing that a
    /// server couldn't achieve by names, and the next update by names ends as usual.
    pub fn packed(&self, input: &[u8]) {
        let Some((kind, bytes)) = input.split_first() else { return };
        let frame = if kind % 2 == 0 { bytes.to_vec() } else { frame(bytes) };
        // An update whose pack was refused goes by names, as `end` did.
        let Ok(pack) = self.question.unpack(&frame) else { return };
        let mut device = self.device.clone();
        let outcome = with_pack(&mut device, &self.repository, |_| pack.clone());
        let (expected, state) = if self.is_about_the_newest(&pack) {
            let known = self.device.0["timestamp.json"].clone();
            as_by_names(&self.device, &self.repository, &pack, &[known])
        } else {
            self.end.clone()
        };
        assert_eq!(outcome, expected);
        assert_eq!(signed(&device), signed(&state));
        if device != self.end.1 {
            assert_eq!(by_names(&mut device, &self.repository), self.end.0, "the next update");
            assert_eq!(signed(&device), signed(&self.end.1), "the next update");
        }
    }

    /// Whether the pack says which root or timestamp is the newest. Only then can an update end
    /// otherwise than by names.
    fn is_about_the_newest(&self, pack: &Pack) -> bool {
        let mut pack = pack.clone();
        let names = self.repository.files.keys();
        names.filter(|path| path.ends_with(".root.json")).any(|path| pack.take(path).is_some())
            || pack.take("timestamp.json").is_some()
    }

    /// Replaces one stored file, except the root, by any bytes.
    pub fn kept(&self, input: &[u8]) {
        let names: Vec<&String> =
            self.device.0.keys().filter(|name| *name != "root.json").collect();
        let Some((which, bytes)) = input.split_first() else { return };
        let mut device = self.device.clone();
        let name = names.get(usize::from(*which)).map_or("rotated", |name| name.as_str());
        device.0.insert(name.to_owned(), bytes.to_vec());
        update(&mut device, &self.repository, usize::MAX, &[]);
    }
}

/// Updates with the repository's files. The question number `place` is answered with `bytes`.
fn update(device: &mut MemoryStorage, repository: &Repository, place: usize, bytes: &[u8]) {
    let mut updater = Updater::open(device, clock(), Limits::default()).unwrap();
    let mut asked = 0;
    let mut answer = |path: &str| {
        asked += 1;
        if asked - 1 == place { Some(bytes.to_vec()) } else { repository.files.get(path).cloned() }
    };
    while let Need::File(needed) = updater.need().unwrap_or(Need::Nothing) {
        let before = (**updater.storage()).clone();
        let given = answer(&needed.path);
        if updater.give(given.as_deref().map_or(Answer::Missing, Answer::Bytes)).is_err() {
            assert_eq!(**updater.storage(), before);
            return;
        }
    }
    let Some(mut search) = updater.search(TARGET) else { return };
    while let Ok(Need::File(needed)) = search.need() {
        if search
            .give(answer(&needed.path).as_deref().map_or(Answer::Missing, Answer::Bytes))
            .is_err()
        {
            return;
        }
    }
}

fn frame(pack: &[u8]) -> Vec<u8> {
    let mut compressor = zstd::bulk::Compressor::new(1).unwrap();
    compressor.include_checksum(true).unwrap();
    compressor.compress(pack).unwrap()
}
