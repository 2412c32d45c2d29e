//! Checks whether the files that devices need exist and match the published timestamp.
//!
//! It reads them as a client does (TUF specification 5.4 to 5.7), but from the store. So it tells a
//! damaged file from a failure of the network or the API. Expiries are checked elsewhere
//! (`attention`).

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

/// How many documents below `targets` are checked in one run, each second others: a repository may
/// have 100,000.
const MOST_DOCUMENTS: usize = 256;

/// How many targets' blobs are checked in one run.
const MOST_BLOBS: usize = 256;

/// A blob whose digest the store doesn't know is read, up to this many bytes in all.
const MOST_READ: u64 = 16 << 20;

/// How many requests run at once.
const AT_ONCE: usize = 32;

/// A published file that is missing or damaged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// The file's path in the repository.
    pub file: String,
    /// What is wrong with it, in one line.
    pub why: String,
}

impl Damage {
    fn of(key: &Key, why: impl Into<String>) -> Self {
        Self { file: key.path(), why: why.into() }
    }

    /// The damage of the first root, from a stage's error.
    ///
    /// # Errors
    /// The error itself, if it doesn't say whether the root is damaged.
    pub fn of_root(store: &dyn Store, error: StageError) -> Result<Self, StageError> {
        let key = Key::root(store.first_root());
        match error {
            error @ (StageError::Store(_) | StageError::NotInitialised) => Err(error),
            StageError::Missing(..) => Ok(Self::of(&key, "it is missing")),
            error => {
                let (path, why) = (key.path(), error.to_string());
                // The line names the file already.
                Ok(Self::of(
                    &key,
                    why.strip_prefix(&path).map_or_else(|| why.clone(), |why| format!("it{why}")),
                ))
            }
        }
    }
}

/// The damaged files among those that devices read. `newest` is the version of the newest root;
/// `now` chooses which part of a large repository is checked.
///
/// # Errors
/// If the store fails to answer.
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
    // A new root may have been published between the reads of the timestamp and of the root: look
    // again.
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
    let Some(root) = good(&key, TrustedRoot::begin(&bytes), &mut damaged) else {
        return Ok(damaged);
    };
    let roles = documents(store, &root, published, now, &mut damaged).await?;
    // While the uploads folder isn't mounted, blobs can't be read, and the process reports that
    // itself.
    if let Ok(blobs) = repository.blobs() {
        damaged.extend(damaged_blobs(&*blobs, &roles, now).await?);
    }
    Ok(damaged)
}

/// The value; `None` and a damage if it could not be read.
fn good<T>(
    key: &Key,
    read: Result<T, tufline_metadata::Error>,
    damaged: &mut Vec<Damage>,
) -> Option<T> {
    read.map_err(|error| damaged.push(Damage::of(key, error.to_string()))).ok()
}

/// The bytes of a file; `None` and a damage if it is missing.
async fn read(
    store: &dyn Store,
    key: &Key,
    damaged: &mut Vec<Damage>,
) -> anyhow::Result<Option<bytes::Bytes>> {
    let bytes = store.bytes(key).await?;
    if bytes.is_none() {
        damaged.push(Damage::of(key, "it is missing"));
    }
    Ok(bytes)
}

/// Reads and verifies the documents; returns the targets roles whose documents are good.
async fn documents(
    store: &dyn Store,
    root: &TrustedRoot,
    published: &Published,
    now: Time,
    damaged: &mut Vec<Damage>,
) -> anyhow::Result<Vec<Targets>> {
    // A time at which nothing has expired.
    let ever = Time::UNIX_EPOCH;
    let timestamp = match root.timestamp(&published.stored.bytes, ever) {
        Ok(timestamp) => timestamp,
        Err(error) => {
            let next = Key::root(root.version() + 1);
            let or = match error {
                tufline_metadata::Error::Signatures { .. } => {
                    format!("; or {next}, whose keys signed it, is missing")
                }
                _ => String::new(),
            };
            damaged.push(Damage::of(&Key::Timestamp, format!("{error}{or}")));
            return Ok(Vec::new());
        }
    };
    let key = Key::snapshot(timestamp.snapshot().version);
    let Some(bytes) = read(store, &key, damaged).await? else { return Ok(Vec::new()) };
    let Some(snapshot) = good(&key, root.snapshot(&bytes, &timestamp, ever), damaged) else {
        return Ok(Vec::new());
    };
    let version = snapshot.role("targets").context("the snapshot lists no targets.json")?.version;
    let key = Key::Metadata { role: RoleName::targets(), version };
    let Some(bytes) = read(store, &key, damaged).await? else { return Ok(Vec::new()) };
    let Some(targets) = good(&key, root.targets(&bytes, &snapshot, ever), damaged) else {
        return Ok(Vec::new());
    };

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

/// The delegated roles of `targets` to check, `most` in all: first those of other parties, then
/// bins.
fn chosen(targets: &Targets, snapshot: &Snapshot, now: Time, most: usize) -> Vec<(RoleName, Key)> {
    let key = |role: String| {
        let version = snapshot.role(&role)?.version;
        let role: RoleName = role.parse().ok()?;
        Some((role.clone(), Key::Metadata { role, version }))
    };
    let all = targets.delegated_roles(snapshot).into_iter().filter_map(key);
    let (mut bins, parties): (Vec<_>, Vec<_>) =
        all.partition(|(role, _)| role.as_str().starts_with("bin-"));
    rotate(&mut bins, now);
    parties.into_iter().chain(bins).take(most).collect()
}

/// Rotates the list, so that each second another element is the first.
fn rotate<T>(all: &mut [T], now: Time) {
    if let Some(first) = now.as_second().unsigned_abs().checked_rem(all.len() as u64) {
        all.rotate_left(usize::try_from(first).unwrap_or_default());
    }
}

/// The damaged blobs of targets, each once: missing, of another length, or with other bytes.
async fn damaged_blobs(
    blobs: &dyn Blobs,
    roles: &[Targets],
    now: Time,
) -> anyhow::Result<Vec<Damage>> {
    let digest = |target: &Target| hex::encode(target.hashes.get("sha256")?).parse::<Sha256>().ok();
    let targets = roles.iter().flat_map(|role| role.targets().values());
    let listed: BTreeMap<Sha256, u64> =
        targets.filter_map(|target| Some((digest(target)?, target.length))).collect();
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

/// What is wrong with a blob of `length` bytes. It reads them only if `is_read` is set and the
/// store doesn't know their digest.
async fn wrong(
    blobs: &dyn Blobs,
    sha256: &Sha256,
    length: u64,
    is_read: bool,
) -> anyhow::Result<Option<String>> {
    let Some(blob) = blobs.head(sha256).await? else { return Ok(Some("it is missing".into())) };
    if blob.length != length {
        return Ok(Some(format!(
            "it has {} bytes instead of the {length} that are listed",
            blob.length
        )));
    }
    let found = match blob.sha256 {
        Some(known) => Some(known),
        None if is_read => blobs.read(sha256, 0, length).await?.map(|bytes| Sha256::of(&bytes)),
        None => None,
    };
    Ok(found.filter(|found| found != sha256).map(|found| format!("its SHA-256 is {found}")))
}
