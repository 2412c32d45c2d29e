//! A client that reads everything a repository has.
//!
//! A next root that doesn't verify counts as absent: somebody who can write files there, but holds
//! no keys, must not be able to stop the copy. (A plain client would stop, TUF specification 5.3.4.
//! Tufline never serves such a root; others may.)

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use futures::{StreamExt, TryStreamExt, stream};
use tokio::task::spawn_blocking;
use tufline_folder::given;
use tufline_metadata::{Meta, Snapshot, Targets, Time, TrustedRoot, metadata_path};
use tufline_store::ErrorKind;

use super::base::Base;
use super::transport::{Fetched, Reader};
use super::verified::VerifiedRepository;
use crate::failure::{Failure, kind, one_line};
use crate::process::now;

/// The largest root that it reads, in bytes, as in python-tuf and go-tuf.
pub const LARGEST_ROOT: u64 = 512_000;

/// The largest timestamp that it reads, in bytes. Clients read 16,384 bytes; a larger one is a
/// fault, but no reason to stop.
pub const LARGEST_TIMESTAMP: u64 = 1 << 20;

/// The largest other document that it reads, in bytes: some repositories list all targets in one.
const LARGEST_DOCUMENT: u64 = 256 << 20;

/// How many roots a client follows from its trusted root (TUF specification 5.3.3 leaves this open;
/// python-tuf and tuf-js follow 256).
pub const LONGEST_WALK: u64 = 1024;

/// How many files are read at once.
const AT_ONCE: usize = 32;

/// How much of the repository is read.
#[derive(Clone, Copy)]
pub enum Scope<'a> {
    /// Everything, with every root that leads to the trusted one. Files that never change and are
    /// in this folder are not fetched again.
    All(Option<&'a Path>),
    /// What a device reads to find these names.
    Names(&'a BTreeSet<String>),
}

impl Scope<'_> {
    /// Whether to read a role to which `targets` delegates.
    fn has(self, targets: &Targets, role: &str) -> bool {
        match self {
            Self::All(_) => true,
            Self::Names(names) => names
                .iter()
                .any(|name| targets.roles_for(name).iter().any(|delegated| delegated.role == role)),
        }
    }
}

/// Reads and verifies a repository, starting from the trusted `root`.
pub async fn look(
    reader: &Reader,
    metadata: &Base,
    root: &[u8],
    scope: Scope<'_>,
) -> anyhow::Result<VerifiedRepository> {
    let kept = if let Scope::All(kept) = scope { kept } else { None };
    let files = ClientFiles { reader, metadata, kept };
    let Roots { newest, all, passed_over } =
        files.roots(root, matches!(scope, Scope::All(_))).await?;
    match (documents(&files, scope, newest, all).await, &passed_over) {
        (Ok(seen), _) => Ok(VerifiedRepository { passed_over, ..seen }),
        // The root that counts as absent may be the reason for the failure.
        (Err(error), Some(why)) => {
            let told = format!("{}; {why}", one_line(&error));
            let error = error.reallocate_into_boxed_dyn_error_without_backtrace();
            Err(Failure::of(kind(&*error).unwrap_or(ErrorKind::Corrupt), told, error).into())
        }
        (Err(error), None) => Err(error),
    }
}

/// Reads and verifies all documents but the roots, under the newest root.
async fn documents(
    files: &ClientFiles<'_>,
    scope: Scope<'_>,
    root: TrustedRoot,
    roots: BTreeMap<u64, Vec<u8>>,
) -> anyhow::Result<VerifiedRepository> {
    let now = now();
    root.expect_fresh(now).with_context(|| format!("{}.root.json", root.version()))?;
    let consistent = root.root().consistent_snapshot;
    let name = |role: &str, meta: &Meta| metadata_path(role, consistent.then_some(meta.version));
    let mut read = BTreeMap::new();

    let bytes = files.listed("timestamp.json", LARGEST_TIMESTAMP).await?;
    let timestamp = root.timestamp(&bytes, now).context("timestamp.json")?;
    read.insert("timestamp.json".to_owned(), bytes);

    let file = name("snapshot", timestamp.snapshot());
    let bytes = files.listed(&file, largest(timestamp.snapshot())).await?;
    let snapshot = Arc::new(root.snapshot(&bytes, &timestamp, now).with_context(|| file.clone())?);
    read.insert(file, bytes);

    let meta = snapshot.role("targets").context("the snapshot lists no targets.json")?;
    let file = name("targets", meta);
    let bytes = files.listed(&file, largest(meta)).await?;
    let targets = root.targets(&bytes, &snapshot, now).with_context(|| file.clone())?;
    read.insert(file, bytes);

    let mut roles = BTreeMap::from([("targets".to_owned(), Arc::new(targets))]);
    let mut asked = vec!["targets".to_owned()];
    while !asked.is_empty() {
        let mut next: BTreeMap<String, String> = BTreeMap::new();
        for from in &asked {
            let Some(targets) = roles.get(from) else { continue };
            for role in targets.delegated_roles(&snapshot) {
                if !roles.contains_key(&role) && scope.has(targets, &role) {
                    next.entry(role).or_insert_with(|| from.clone());
                }
            }
        }
        let reads = next.iter().filter_map(|(role, from)| {
            let (meta, delegating) = (snapshot.role(role)?, roles.get(from)?.clone());
            Some(files.delegated(
                role.clone(),
                from.clone(),
                name(role, meta),
                delegating,
                snapshot.clone(),
                now,
            ))
        });
        let found: Vec<(String, String, Vec<u8>, Targets)> =
            stream::iter(reads.collect::<Vec<_>>()).buffer_unordered(AT_ONCE).try_collect().await?;
        asked.clear();
        for (role, file, bytes, targets) in found {
            read.insert(file, bytes);
            roles.insert(role.clone(), Arc::new(targets));
            asked.push(role);
        }
    }
    let roles =
        roles.into_iter().map(|(role, targets)| (role, Arc::unwrap_or_clone(targets))).collect();
    let snapshot = Arc::unwrap_or_clone(snapshot);
    Ok(VerifiedRepository {
        root,
        timestamp,
        snapshot,
        roles,
        files: read,
        roots,
        passed_over: None,
    })
}

fn largest(meta: &Meta) -> u64 {
    meta.length.unwrap_or(LARGEST_DOCUMENT).min(LARGEST_DOCUMENT)
}

/// The roots that were verified.
struct Roots {
    newest: TrustedRoot,
    /// All of them, from the oldest that leads to the trusted one up to the newest.
    all: BTreeMap<u64, Vec<u8>>,
    /// Why the file in the next root's place counts as absent, if there is one.
    passed_over: Option<String>,
}

struct ClientFiles<'a> {
    reader: &'a Reader,
    metadata: &'a Base,
    kept: Option<&'a Path>,
}

impl ClientFiles<'_> {
    async fn read(&self, name: &str, most: u64) -> anyhow::Result<Fetched<Vec<u8>>> {
        let never_changes =
            name.split_once('.').is_some_and(|(version, _)| version.parse::<u64>().is_ok());
        if let Some(kept) = self.kept.filter(|_| never_changes)
            && let Ok(bytes) = given::read(&kept.join(name))
        {
            return Ok(Ok(bytes));
        }
        self.reader.read(self.metadata, name, most).await
    }

    /// Reads a file that must be there.
    async fn listed(&self, name: &str, most: u64) -> anyhow::Result<Vec<u8>> {
        Ok(self.read(name, most).await?.map_err(|absent| absent.of(name))?)
    }

    /// Reads and verifies a delegated role. Verifying runs on another thread, so that other reads
    /// go on meanwhile.
    async fn delegated(
        &self,
        role: String,
        from: String,
        file: String,
        delegating: Arc<Targets>,
        snapshot: Arc<Snapshot>,
        now: Time,
    ) -> anyhow::Result<(String, String, Vec<u8>, Targets)> {
        let most = snapshot.role(&role).map_or(0, largest);
        let bytes = self.listed(&file, most).await?;
        let verified = spawn_blocking(move || {
            let targets = delegating.delegated(&from, &role, &bytes, &snapshot, now);
            (role, bytes, targets)
        });
        let (role, bytes, targets) = verified.await?;
        let targets = targets.with_context(|| file.clone())?;
        Ok((role, file, bytes, targets))
    }

    /// Reads the roots from the trusted one on, whose `bytes` are given. With `older` it also reads
    /// back the roots that lead to the trusted one, which serve only older devices.
    async fn roots(&self, bytes: &[u8], older: bool) -> anyhow::Result<Roots> {
        let trusted = TrustedRoot::begin(bytes).context("the trusted root")?;
        let mut roots = BTreeMap::from([(trusted.version(), bytes.to_vec())]);
        for version in (1..trusted.version()).rev().filter(|_| older) {
            let Ok(Ok(bytes)) = self.read(&format!("{version}.root.json"), LARGEST_ROOT).await
            else {
                break;
            };
            let Ok(before) = TrustedRoot::begin(&bytes) else { break };
            let follows =
                roots.first_key_value().is_some_and(|(_, after)| before.follow(after).is_ok());
            if before.version() != version || !follows {
                break;
            }
            roots.insert(version, bytes);
        }
        let mut newest = trusted;
        for _ in 0..LONGEST_WALK {
            let version = newest.version() + 1;
            let name = format!("{version}.root.json");
            let ends = |newest, all, passed_over| Ok(Roots { newest, all, passed_over });
            let bytes = match self.read(&name, LARGEST_ROOT).await? {
                Ok(bytes) => bytes,
                Err(absent) => {
                    absent.expect_missing(&name)?;
                    return ends(newest, roots, None);
                }
            };
            match newest.follow(&bytes) {
                Ok(next) => (_, newest) = (roots.insert(version, bytes), next),
                Err(error) => {
                    let why = format!(
                        "{name} there does not follow as a root, and counts as absent: {error}"
                    );
                    return ends(newest, roots, Some(why));
                }
            }
        }
        bail!(
            "it has more than {LONGEST_WALK} roots after version {}",
            newest.version() - LONGEST_WALK
        )
    }
}
