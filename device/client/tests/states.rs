//! The storage after a refused file, after a power failure at any write, and after a rotation of
//! keys.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "common/history.rs"]
mod history;
#[path = "common/repository.rs"]
mod repository;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

use proptest::prelude::*;
use tufline_client::{
    Answer, Clock, Error, Floor, Limits, MemoryStorage, Need, Storage, Updater, Why,
};

use history::Step;
use repository::Repository;

fn clock() -> Clock {
    Clock { now: "2029-01-01T00:00:00Z".parse().unwrap(), floor: None }
}

/// A device that trusts the first root.
fn new_device(repository: &Repository) -> MemoryStorage {
    let mut storage = MemoryStorage::default();
    tufline_client::begin_with(&mut storage, &repository.files["1.root.json"]).unwrap();
    storage
}

/// Updates, looks for the target `name`, and returns the role that lists it.
fn update<S: Storage>(
    storage: S,
    repository: &Repository,
    name: &str,
) -> Result<Option<String>, Error<S::Error>> {
    let mut updater = Updater::open(storage, clock(), Limits::default())?;
    let answer = |path: &str| {
        repository.files.get(path).map_or(Answer::Missing, |bytes| Answer::Bytes(bytes))
    };
    while let Need::File(needed) = updater.need()? {
        updater.give(answer(&needed.path))?;
    }
    let mut search = updater.search(name).unwrap();
    while let Need::File(needed) = search.need()? {
        search.give(answer(&needed.path))?;
    }
    Ok(search.found().map(|found| found.role))
}

/// A storage that loses power at one of its writes or removals: before it, or just after it.
struct Cut<'m> {
    inner: &'m mut MemoryStorage,
    left: Rc<Cell<usize>>,
    after: bool,
}

#[derive(Debug, thiserror::Error)]
#[error("the power failed")]
struct PowerWent;

impl Cut<'_> {
    fn step(&mut self, act: impl FnOnce(&mut MemoryStorage)) -> Result<(), PowerWent> {
        match self.left.get().checked_sub(1) {
            None => return Err(PowerWent),
            Some(0) => {
                self.left.set(0);
                if self.after {
                    act(self.inner);
                }
                return Err(PowerWent);
            }
            Some(left) => self.left.set(left),
        }
        act(self.inner);
        Ok(())
    }
}

impl Storage for Cut<'_> {
    type Error = PowerWent;

    fn read(&self, name: &str, most: usize) -> Result<Option<Vec<u8>>, PowerWent> {
        Ok(self.inner.read(name, most).unwrap())
    }

    fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), PowerWent> {
        self.step(|inner| inner.write(name, bytes).unwrap())
    }

    fn remove(&mut self, name: &str) -> Result<(), PowerWent> {
        self.step(|inner| inner.remove(name).unwrap())
    }
}

/// Histories of a repository.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let online = prop::sample::select(vec!["timestamp", "snapshot", "targets"]);
    prop::collection::vec(
        prop_oneof![
            Just(Step::Publish),
            Just(Step::Refresh),
            Just(Step::Root),
            online.clone().prop_map(Step::Rotate),
            prop::sample::select(vec!["timestamp", "snapshot"]).prop_map(Step::Recover),
            online.prop_map(Step::Add)
        ],
        1..5,
    )
}

proptest! {
    /// Wherever the power fails, the next update ends in the same state as an update without a
    /// failure.
    #[test]
    fn a_power_failure_changes_nothing_in_the_end(before in steps(), after in steps(), at in 1..24_usize, late in any::<bool>()) {
        let mut repository = Repository::new();
        for (step, number) in before.into_iter().zip(20..) {
            step.carry_out(&mut repository, number);
        }
        let mut device = new_device(&repository);
        update(&mut device, &repository, "bin/one").unwrap();
        for (step, number) in after.into_iter().zip(40..) {
            step.carry_out(&mut repository, number);
        }
        let mut whole = device.clone();
        update(&mut whole, &repository, "bin/one").unwrap();
        let cut = Cut { inner: &mut device, left: Rc::new(Cell::new(at)), after: late };
        _ = update(cut, &repository, "bin/one");
        update(&mut device, &repository, "bin/one").unwrap();
        prop_assert_eq!(device, whole);
    }

    /// Either the device refuses the damaged file, changes nothing and then takes the right one; or
    /// the damage doesn't touch the signed part.
    #[test]
    fn a_refused_file_changes_nothing(which in 0..6_usize, at in any::<prop::sample::Index>(), damage in 0..5_u8, byte in any::<u8>()) {
        let mut repository = Repository::new();
        let mut device = new_device(&repository);
        update(&mut device, &repository, "bin/one").unwrap();
        repository.next_root(&[1]);
        repository.publish();
        let mut updater = Updater::open(device, clock(), Limits::default()).unwrap();
        let mut asked = 0;
        while let Need::File(needed) = updater.need().unwrap() {
            let good = repository.files.get(&needed.path).cloned();
            if asked == which && let Some(good) = &good {
                let bad = damaged(good, at.index(good.len()), damage, byte);
                let before = stored(&updater);
                let Err(error) = updater.give(Answer::Bytes(&bad)) else {
                    // No signature covers white space.
                    let value = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).unwrap()["signed"].clone();
                    prop_assert_eq!(value(&bad), value(good));
                    asked += 1;
                    continue;
                };
                prop_assert!(!error.to_string().contains('\n') && error.to_string().contains(&needed.path), "{error}");
                prop_assert_eq!(stored(&updater), before);
                prop_assert_eq!(updater.need().unwrap(), Need::File(needed.clone()), "it is asked for again");
            }
            updater.give(good.as_deref().map_or(Answer::Missing, Answer::Bytes)).unwrap();
            asked += 1;
        }
    }

    /// Any bytes are refused, and none end the process.
    #[test]
    fn any_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..300), good in 0..3_usize) {
        let repository = Repository::new();
        let mut updater = Updater::open(new_device(&repository), clock(), Limits::default()).unwrap();
        for _ in 0..good {
            let Need::File(needed) = updater.need().unwrap() else { panic!() };
            updater.give(repository.files.get(&needed.path).map_or(Answer::Missing, |bytes| Answer::Bytes(bytes))).unwrap();
        }
        prop_assert!(updater.give(Answer::Bytes(&bytes)).is_err());
    }
}

fn damaged(good: &[u8], at: usize, damage: u8, byte: u8) -> Vec<u8> {
    let mut bad = good.to_vec();
    match damage {
        0 => bad.truncate(at),
        1 => bad[at] ^= byte.max(1),
        2 => bad.insert(at, byte),
        3 => _ = bad.remove(at),
        _ => bad.extend_from_slice(good),
    }
    bad
}

fn stored(updater: &Updater<MemoryStorage>) -> BTreeMap<String, Vec<u8>> {
    updater.storage().0.clone()
}

/// Reads the top-level metadata only.
fn refresh(
    device: &mut MemoryStorage,
    repository: &Repository,
    clock: Clock,
) -> Result<(), Error<std::convert::Infallible>> {
    let mut updater = Updater::open(device, clock, Limits::default())?;
    while let Need::File(needed) = updater.need()? {
        let answer = repository
            .files
            .get(&needed.path)
            .map_or(Answer::Missing, |bytes| Answer::Bytes(bytes));
        updater.give(answer)?;
    }
    Ok(())
}

#[test]
fn versions_go_back_only_after_a_key_was_removed() {
    for (role, keep_old_key, recovers) in [
        ("timestamp", false, true),
        ("snapshot", false, true),
        ("targets", false, false),
        ("timestamp", true, false),
    ] {
        let mut repository = Repository::new();
        let mut device = new_device(&repository);
        // A thief of the online keys signs the highest possible versions.
        let honest = repository.versions.clone();
        for role in ["timestamp", "snapshot", "targets"] {
            repository.versions.insert(role, (1 << 53) - 2);
        }
        repository.publish();
        refresh(&mut device, &repository, clock()).unwrap();
        repository.versions = honest;
        let keys = repository.keys.get_mut(role).unwrap();
        if keep_old_key {
            keys.push(30);
        } else {
            *keys = vec![30];
        }
        repository.versions.insert("root", 1);
        repository.next_root(&[1]);
        repository.publish();
        let told = refresh(&mut device, &repository, clock());
        assert_eq!(told.is_ok(), recovers, "{role} {keep_old_key}: {told:?}");
        if !recovers {
            let Err(Error::Refused { why: Why::Rollback { .. }, .. }) = told else {
                panic!("{told:?}")
            };
        }
    }
}

/// Updates a device that has version 3 of everything from a repository changed by `change`. Asserts
/// that a refusal leaves the stored files as they were, except the timestamp.
fn told_after_three(change: impl FnOnce(&mut Repository)) -> Result<(), String> {
    let mut repository = Repository::new();
    repository.publish();
    repository.publish();
    let mut device = new_device(&repository);
    update(&mut device, &repository, "bin/one").unwrap();
    let kept = device.clone();
    change(&mut repository);
    let told = refresh(&mut device, &repository, clock());
    // The device takes a timestamp before it sees the snapshot.
    let but_timestamp = |device: &MemoryStorage| {
        device
            .0
            .iter()
            .filter(|(name, _)| *name != "timestamp.json")
            .map(|(name, bytes)| (name.clone(), bytes.clone()))
            .collect::<Vec<_>>()
    };
    if told.is_err() {
        assert_eq!(but_timestamp(&device), but_timestamp(&kept));
    }
    told.map_err(|error| error.to_string())
}

#[test]
fn rollbacks_and_expired_documents_are_refused() {
    let versions = |role, version| {
        move |repository: &mut Repository| _ = repository.versions.insert(role, version)
    };
    assert_eq!(told_after_three(Repository::publish), Ok(()), "the control");
    for (why, change) in [
        (
            "timestamp.json is refused: it goes back from version 3 of timestamp to version 2",
            Box::new(|repository: &mut Repository| {
                versions("timestamp", 1)(repository);
                repository.refresh();
            }) as Box<dyn Fn(&mut Repository)>,
        ),
        (
            "timestamp.json is refused: it goes back from version 3 of snapshot to version 2",
            Box::new(|repository| {
                versions("snapshot", 1)(repository);
                repository.publish();
            }),
        ),
        (
            "4.snapshot.json is refused: it goes back from version 3 of bins to version 2",
            Box::new(|repository| {
                versions("targets", 1)(repository);
                repository.publish();
            }),
        ),
        (
            "timestamp.json is refused: it expired at 2028-01-01T00:00:00Z, and the time is 2029-01-01T00:00:00Z; if that time is wrong, set this device's clock",
            Box::new(|repository| {
                repository.expires = "2028-01-01T00:00:00Z";
                repository.refresh();
            }),
        ),
        (
            "4.snapshot.json is refused: it no longer lists bins, which the trusted snapshot lists",
            Box::new(|repository| {
                repository.publish();
                let signed = repository.document(
                    "snapshot",
                    4,
                    &serde_json::json!({"meta": {"targets.json": {"version": 4}}}),
                );
                repository.files.insert(
                    "4.snapshot.json".to_owned(),
                    repository::file(&signed, &repository.keys["snapshot"]),
                );
            }),
        ),
    ] {
        assert_eq!(told_after_three(change), Err(why.to_owned()));
    }
}

#[test]
fn an_expired_timestamp_is_not_kept() {
    let mut repository = Repository::new();
    let mut device = new_device(&repository);
    refresh(&mut device, &repository, clock()).unwrap();
    let kept = device.clone();
    repository.expires = "2028-01-01T00:00:00Z";
    repository.refresh();
    refresh(&mut device, &repository, clock()).unwrap_err();
    assert_eq!(device, kept);
}

#[test]
fn a_note_without_its_root_forgets_nothing() {
    let mut repository = Repository::new();
    let mut device = new_device(&repository);
    repository.publish();
    refresh(&mut device, &repository, clock()).unwrap();
    let whole = device.clone();
    device.0.insert("rotated".to_owned(), b"2".to_vec());
    Updater::open(&mut device, clock(), Limits::default()).unwrap();
    assert_eq!(device, whole);
}

#[test]
fn a_clock_of_1970_sees_what_expired() {
    let mut repository = Repository::new();
    repository.expires = "2028-01-01T00:00:00Z";
    repository.next_root(&[1]);
    repository.publish();
    let floor = |built: &str| Floor {
        built: built.parse().unwrap(),
        longest_timestamp: std::time::Duration::from_hours(24),
    };
    let at = |built: &str| Clock {
        now: "1970-01-01T00:00:09Z".parse().unwrap(),
        floor: Some(floor(built)),
    };
    let mut device = new_device(&repository);
    refresh(&mut device, &repository, at("2026-01-01T00:00:00Z")).unwrap();
    let told =
        refresh(&mut new_device(&repository), &repository, at("2029-01-01T00:00:00Z")).unwrap_err();
    let Error::Refused { why: Why::Expired { now, .. }, .. } = &told else { panic!("{told}") };
    assert_eq!(now.to_string(), "2029-01-01T00:00:00Z");
    // The stored timestamp expires at the beginning of 2028 and is valid for a day at most. So the
    // device knows that the time is at least the last day of 2027, and sees that this timestamp has
    // expired.
    repository.expires = "2027-12-01T00:00:00Z";
    repository.refresh();
    let told = refresh(&mut device, &repository, at("2026-01-01T00:00:00Z")).unwrap_err();
    let Error::Refused { why: Why::Expired { now, .. }, .. } = &told else { panic!("{told}") };
    assert_eq!(now.to_string(), "2027-12-31T00:00:00Z");
}
