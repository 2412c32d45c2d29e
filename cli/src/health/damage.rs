//! Whether what devices need is there, and is what the published timestamp says that it is.
//!
//! It is read as a client reads it (TUF specification 5.4 to 5.7), but from the store: so what is wrong with a file is told apart from what is wrong with the way
//! to it. Expiries are another matter (`attention`).

use std::collections::{BTreeMap, VecDeque};

use anyhow::Context;
use futures::{StreamExt, TryStreamExt, stream};
use serde::Serialize;
use tufline_metadata::{Snapshot, Target, Targets, TrustedRoot};
use tufline_pipeline::StageError;
use tufline_pipeline::state::ledger::{self, Published};
use tufline_pipeline::state::roots;
use tufline_store::{Blobs, Key, Store};
use tufline_tuf::{RoleName, Sha256, Time};

use crate::repository::Repository;

/// So many documents below `targets` are looked at, with each second others: a repository may have 100,000.
const MOST_DOCUMENTS: usize = 256;

/// So many targets' bytes are asked for.
const MOST_BLOBS: usize = 256;

/// Where nobody else knows a blob's digest it is read, up to so many bytes of all blobs.
const MOST_READ: u64 = 16 << 20;

/// So many requests are under way at once.
const AT_ONCE: usize = 32;

/// A published file that is missing, or isn't what it must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// Its path in the repository.
    pub file: String,
    /// What is wrong with it: one line.
    pub why: String,
}

impl Damage {
    fn of(key: &Key, why: impl Into<String>) -> Self {
        Self { file: key.path(), why: why.into() }
    }

    /// The root that can't be read, by the stage's error; else what keeps anybody from telling.
    pub fn of_root(store: &dyn Store, error: StageError) -> Result<Self, StageError> {
        let key = Key::root(store.first_root());
        match error {
            error @ (StageError::Store(_) | StageError::NotInitialised) => Err(error),
            StageError::Missing(..) => Ok(Self::of(&key, "it is missing")),
            error => {
                let (path, why) = (key.path(), error.to_string());
                // The file is told before.
                Ok(Self::of(&key, why.strip_prefix(&path).map_or_else(|| why.clone(), |why| format!("it{why}"))))
            }
        }
    }
}

/// What is wrong with what devices read. `newest` is the version of the newest root, and `now` says which part of a large repository is looked at.
///
/// # Errors
/// Where something could not be asked for.
pub async fn find_damage(
    repository: &Repository,
    store: &dyn Store,
    published: &Published,
    newest: u64,
    now: Time,
) -> anyhow::Result<Vec<Damage>> {
    let found = look(repository, store, published, newest, now).await?;
    if found.is_empty() {
        return Ok(found);
    }
    // Another root may have been published between the timestamp and the root that were read.
    let newest = roots::newest(store).await?.version.get();
    let published = ledger::published(store).await?.context("the timestamp is gone")?;
    look(repository, store, &published, newest, now).await
}

async fn look(
    repository: &Repository,
    store: &dyn Store,
    published: &Published,
    newest: u64,
    now: Time,
) -> anyhow::Result<Vec<Damage>> {
    let key = Key::root(newest);
    let bytes = ledger::published_file(store, &key).await?;
    let mut damaged = Vec::new();
    let Some(root) = good(&key, TrustedRoot::begin(&bytes), &mut damaged) else { return Ok(damaged) };
    let roles = documents(store, &root, published, now, &mut damaged).await?;
    // While the uploads folder isn't mounted nobody can ask for them, and the process says so.
    if let Ok(blobs) = repository.blobs() {
        damaged.extend(damaged_blobs(&*blobs, &roles, now).await?);
    }
    Ok(damaged)
}

/// The value, or nothing and why.
fn good<T>(key: &Key, read: Result<T, tufline_metadata::Error>, damaged: &mut Vec<Damage>) -> Option<T> {
    read.map_err(|error| damaged.push(Damage::of(key, error.to_string()))).ok()
}

/// The bytes; `None` where they are missing.
async fn read(store: &dyn Store, key: &Key, damaged: &mut Vec<Damage>) -> anyhow::Result<Option<bytes::Bytes>> {
    let bytes = store.bytes(key).await?;
    if bytes.is_none() {
        damaged.push(Damage::of(key, "it is missing"));
    }
    Ok(bytes)
}

/// Reads and verifies the documents; answers the roles whose documents are good.
async fn documents(
    store: &dyn Store,
    root: &TrustedRoot,
    published: &Published,
    now: Time,
    damaged: &mut Vec<Damage>,
) -> anyhow::Result<Vec<Targets>> {
    // Nothing has expired by then.
    let ever = Time::UNIX_EPOCH;
    let timestamp = match root.timestamp(&published.stored.bytes, ever) {
        Ok(timestamp) => timestamp,
        Err(error) => {
            let next = Key::root(root.version() + 1);
            let or = match error {
                tufline_metadata::Error::Signatures { .. } => format!("; or {next} is gone, whose keys signed it"),
                _ => String::new(),
            };
            damaged.push(Damage::of(&Key::Timestamp, format!("{error}{or}")));
            return Ok(Vec::new());
        }
    };
    let key = Key::snapshot(timestamp.snapshot().version);
    let Some(bytes) = read(store, &key, damaged).await? else { return Ok(Vec::new()) };
    let Some(snapshot) = good(&key, root.snapshot(&bytes, &timestamp, ever), damaged) else { return Ok(Vec::new()) };
    let version = snapshot.role("targets").context("the snapshot lists no targets.json")?.version;
    let key = Key::Metadata { role: RoleName::targets(), version };
    let Some(bytes) = read(store, &key, damaged).await? else { return Ok(Vec::new()) };
    let Some(targets) = good(&key, root.targets(&bytes, &snapshot, ever), damaged) else { return Ok(Vec::new()) };

    let (mut left, mut roles) = (MOST_DOCUMENTS, Vec::new());
    let mut waiting = VecDeque::from([("targets".to_owned(), targets)]);
    while let Some((from, targets)) = waiting.pop_front() {
        let delegated = chosen(&targets, &snapshot, now, left);
        left -= delegated.len();
        let reads = delegated.into_iter().map(|(role, key)| async move {
            let bytes = store.bytes(&key).await?;
            anyhow::Ok((role, key, bytes))
        });
        let reads: Vec<_> = reads.collect();
        let found: Vec<_> = stream::iter(reads).buffered(AT_ONCE).try_collect().await?;
        for (role, key, bytes) in found {
            let Some(bytes) = bytes else {
                damaged.push(Damage::of(&key, "it is missing"));
                continue;
            };
            let read = targets.delegated(&from, role.as_str(), &bytes, &snapshot, ever);
            waiting.extend(good(&key, read, damaged).map(|targets| (role.to_string(), targets)));
        }
        roles.push(targets);
    }
    Ok(roles)
}

/// Those that `targets` delegates to: all of other parties, and so many of the bins that `most` are not exceeded.
fn chosen(targets: &Targets, snapshot: &Snapshot, now: Time, most: usize) -> Vec<(RoleName, Key)> {
    let key = |role: String| {
        let version = snapshot.role(&role)?.version;
        let role: RoleName = role.parse().ok()?;
        Some((role.clone(), Key::Metadata { role, version }))
    };
    let all = targets.delegated_roles(snapshot).into_iter().filter_map(key);
    let (mut bins, parties): (Vec<_>, Vec<_>) = all.partition(|(role, _)| role.as_str().starts_with("bin-"));
    rotate(&mut bins, now);
    parties.into_iter().chain(bins).take(most).collect()
}

/// Another one is the first with each second.
fn rotate<T>(all: &mut [T], now: Time) {
    if let Some(first) = now.as_second().unsigned_abs().checked_rem(all.len() as u64) {
        all.rotate_left(usize::try_from(first).unwrap_or_default());
    }
}

/// The blobs of targets, each once: missing, of another length, or with other bytes.
async fn damaged_blobs(blobs: &dyn Blobs, roles: &[Targets], now: Time) -> anyhow::Result<Vec<Damage>> {
    let digest = |target: &Target| hex::encode(target.hashes.get("sha256")?).parse::<Sha256>().ok();
    let targets = roles.iter().flat_map(|role| role.targets().values());
    let listed: BTreeMap<Sha256, u64> = targets.filter_map(|target| Some((digest(target)?, target.length))).collect();
    let mut listed: Vec<(Sha256, u64)> = listed.into_iter().collect();
    rotate(&mut listed, now);
    listed.truncate(MOST_BLOBS);
    let mut room = MOST_READ;
    let looks = listed.into_iter().map(|(sha256, length)| {
        let is_read = room >= length;
        room = if is_read { room - length } else { room };
        async move {
            let why = wrong(blobs, &sha256, length, is_read).await?;
            anyhow::Ok(why.map(|why| Damage::of(&Key::Blob(sha256), why)))
        }
    });
    let looks: Vec<_> = looks.collect();
    let found: Vec<Option<Damage>> = stream::iter(looks).buffered(AT_ONCE).try_collect().await?;
    Ok(found.into_iter().flatten().collect())
}

/// What is wrong with a blob of `length` bytes, which are only read where `is_read` and nobody else knows their digest.
async fn wrong(blobs: &dyn Blobs, sha256: &Sha256, length: u64, is_read: bool) -> anyhow::Result<Option<String>> {
    let Some(blob) = blobs.head(sha256).await? else { return Ok(Some("it is missing".into())) };
    if blob.length != length {
        return Ok(Some(format!("it has {} bytes, where {length} are listed", blob.length)));
    }
    let found = match blob.sha256 {
        Some(known) => Some(known),
        None if is_read => blobs.read(sha256, 0, length).await?.map(|bytes| Sha256::of(&bytes)),
        None => None,
    };
    Ok(found.filter(|found| found != sha256).map(|found| format!("its SHA-256 is {found}")))
}
