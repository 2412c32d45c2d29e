//! A device that updates, finds one target and fetches it, as `tufline-device` does: with a pack,
//! or by names only.

use std::collections::BTreeMap;

use serde_json::Value;
use tufline_client::{
    Answer, Clock, Error, FoundTarget, Limits, MemoryStorage, Need, Pack, PackQuestion, Packed,
    Updater,
};

use crate::repository::{Repository, TARGET};

/// The result of an update: the target's bytes, `None` if there is no such target, or the error.
pub type Outcome = Result<Option<Vec<u8>>, String>;

/// Updates by names only.
pub fn by_names(device: &mut MemoryStorage, repository: &Repository) -> Outcome {
    with_pack(device, repository, |_| Pack::default())
}

/// Updates with the pack that `ask` returns. Starts over by names if the pack leads to an error.
pub fn with_pack(
    device: &mut MemoryStorage,
    repository: &Repository,
    ask: impl FnOnce(&PackQuestion) -> Pack,
) -> Outcome {
    let mut updater = open(device)?;
    let outcome = go_on_with_pack(&mut updater, repository, ask);
    device.clone_from(updater.storage());
    outcome
}

/// As [`with_pack`], from an update that has just begun.
pub fn go_on_with_pack(
    updater: &mut Updater<MemoryStorage>,
    repository: &Repository,
    ask: impl FnOnce(&PackQuestion) -> Pack,
) -> Outcome {
    let mut pack = ask(&updater.pack_question(&[TARGET], &[TARGET]).map_err(told)?);
    let came = pack != Pack::default();
    let refreshed = feed(updater, &mut pack, repository);
    if let Err(error) = refreshed {
        if !came {
            return Err(error);
        }
        pack = Pack::default();
        *updater = open(updater.storage())?;
        feed(updater, &mut pack, repository)?;
    }
    let Some(mut search) = updater.search(TARGET) else {
        return Err("nothing to search".to_owned());
    };
    while let Need::File(needed) = search.need().map_err(told)? {
        if let Some(packed) = pack.take(&needed.path) {
            if search.give(packed.answer()).is_ok() {
                continue;
            }
            assert_eq!(
                search.need().map_err(told)?,
                Need::File(needed.clone()),
                "it is asked for by name"
            );
        }
        search.give(answer(repository, &needed.path)).map_err(told)?;
    }
    Ok(search.found().and_then(|found| fetch(&found, &pack, repository)))
}

/// What a pack says that a server could also say by names.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Claims {
    /// The roots that it says are missing.
    pub missing: Vec<String>,
    /// An older timestamp, as if it were the newest.
    pub timestamp: Option<Vec<u8>>,
}

impl Claims {
    /// What `pack` says, where these are the `older` timestamps.
    pub fn of(pack: &Pack, repository: &Repository, older: &[Vec<u8>]) -> Self {
        let mut pack = pack.clone();
        let roots = repository.files.keys().filter(|path| path.ends_with(".root.json"));
        let missing = roots.filter(|path| pack.take(path) == Some(Packed::Missing));
        let missing = missing.cloned().collect();
        let timestamp = match pack.take("timestamp.json") {
            Some(Packed::Bytes(bytes)) => Some(bytes),
            _ => None,
        };
        let is_older = |bytes: &Vec<u8>| older.iter().any(|known| value(known) == value(bytes));
        Self { missing, timestamp: timestamp.filter(is_older) }
    }
}

/// The result that a server without packs could have brought about, given what a pack says: such a
/// server may withhold a root, and may answer with an older timestamp.
pub fn as_by_names(
    device: &MemoryStorage,
    repository: &Repository,
    claims: &Claims,
) -> (Outcome, MemoryStorage) {
    let mut servers = vec![repository.clone()];
    if !claims.missing.is_empty() {
        let mut kept_back = repository.clone();
        kept_back.files.retain(|path, _| !claims.missing.contains(path));
        servers.push(kept_back);
    }
    if let Some(bytes) = &claims.timestamp
        && let Some(mut outdated) = servers.last().cloned()
    {
        outdated.files.insert("timestamp.json".to_owned(), bytes.clone());
        servers.push(outdated);
    }
    let update = |server: Repository| {
        let mut device = device.clone();
        (by_names(&mut device, &server), device)
    };
    // If an update with the pack's claims fails, the device updates without them.
    servers
        .into_iter()
        .rev()
        .map(update)
        .find(|(outcome, _)| outcome.is_ok())
        .unwrap_or_else(|| update(repository.clone()))
}

/// The signed parts of everything that the device stores. Signatures and white space may differ.
pub fn signed(device: &MemoryStorage) -> BTreeMap<String, Value> {
    device.0.iter().map(|(name, bytes)| (name.clone(), value(bytes))).collect()
}

fn value(bytes: &[u8]) -> Value {
    serde_json::from_slice::<Value>(bytes).map_or(Value::Null, |value| value["signed"].clone())
}

pub fn clock() -> Clock {
    Clock { now: "2029-01-01T00:00:00Z".parse().unwrap(), floor: None }
}

fn open(device: &MemoryStorage) -> Result<Updater<MemoryStorage>, String> {
    Updater::open(device.clone(), clock(), Limits::default()).map_err(told)
}

/// Feeds the updater, and asserts that a refused file changes nothing.
fn feed(
    updater: &mut Updater<MemoryStorage>,
    pack: &mut Pack,
    repository: &Repository,
) -> Result<(), String> {
    while let Need::File(needed) = updater.need().map_err(told)? {
        if let Some(packed) = pack.take(&needed.path) {
            let before = updater.storage().clone();
            if updater.give(packed.answer()).is_ok() {
                continue;
            }
            assert_eq!(*updater.storage(), before);
            assert_eq!(
                updater.need().map_err(told)?,
                Need::File(needed.clone()),
                "it is asked for by name"
            );
        }
        updater.give(answer(repository, &needed.path)).map_err(told)?;
    }
    Ok(())
}

fn fetch(found: &FoundTarget, pack: &Pack, repository: &Repository) -> Option<Vec<u8>> {
    let right = |bytes: &&[u8]| {
        let mut hasher = found.target.hasher();
        hasher.update(bytes);
        bytes.len() as u64 == found.target.length && hasher.check().is_ok()
    };
    let packed = pack.target(&found.path).filter(right);
    packed
        .or_else(|| repository.files.get(&format!("targets/{}", found.path)).map(Vec::as_slice))
        .map(<[u8]>::to_vec)
}

/// The repository's answer to a request by name.
pub fn answer<'r>(repository: &'r Repository, path: &str) -> Answer<'r> {
    repository.files.get(path).map_or(Answer::Missing, |bytes| Answer::Bytes(bytes))
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` takes")]
fn told(error: Error<std::convert::Infallible>) -> String {
    error.to_string()
}
