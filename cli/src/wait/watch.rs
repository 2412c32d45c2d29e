//! Waiting for several names at once: one look at the repository serves all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tufline_metadata::find;
use tufline_pipeline::state::ledger;
use tufline_pipeline::state::records::Hashed;
use tufline_store::{Head, Key, RejectedUpload, Upload, UploadKey, Uploads, VersionId};
use tufline_tuf::{Hasher, Sha256, TargetName};

use super::decide::{Current, Ending, Goal, Seen, decide, why_not};
use crate::connection::Connection;
use crate::device::SeenTarget;
use crate::inside::Inside;
use crate::outcome::one_line;
use crate::source::{self, Source};

/// The first pause between two looks. Each is half as long again as the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How much of an upload is read at once where its digest isn't known otherwise, in bytes.
const READ_AT_ONCE: u64 = 8 * 1024 * 1024;

/// A name that somebody waits for.
#[derive(Debug, Clone)]
pub struct Awaited {
    /// The target.
    pub name: TargetName,
    /// What to wait for.
    pub goal: Goal,
}

/// Looks until all are decided or the time is up; answers in the order of `awaited`.
pub async fn wait_for(connection: &Connection, awaited: &[Awaited], timeout: Duration) -> anyhow::Result<Vec<Ending>> {
    let mut watch = Watch::new(connection, awaited)?;
    let until = Instant::now() + timeout;
    let mut pause = FIRST_PAUSE;
    let mut endings: Vec<Option<Ending>> = awaited.iter().map(|_| None).collect();
    loop {
        let last = Instant::now() >= until;
        let trouble = watch.look().await.err();
        for (awaited, ending) in awaited.iter().zip(&mut endings).filter(|(_, ending)| ending.is_none()) {
            *ending = watch.decide(awaited, last, trouble.as_ref()).await;
        }
        if let Some(endings) = endings.iter().cloned().collect() {
            return Ok(endings);
        }
        sleep(pause.min(until.saturating_duration_since(Instant::now()))).await;
        pause = (pause * 3 / 2).min(LONGEST_PAUSE);
    }
}

/// A target as the device found it.
fn target(seen: &source::Seen, name: &TargetName) -> Option<SeenTarget> {
    let (_, target) = find(&seen.roles, name.as_str())?;
    let sha256: [u8; 32] = target.hashes.get("sha256")?.as_slice().try_into().ok()?;
    Some(SeenTarget { sha256: Sha256::from_bytes(sha256), length: target.length })
}

struct Watch {
    inside: Inside,
    uploads: Arc<dyn Uploads>,
    /// Whether an upload may be read to learn its digest: on AWS an uploader may not read what hash found.
    reads: bool,
    /// A device.
    source: Source,
    /// What it asks for.
    names: BTreeSet<String>,
    /// What it verified last, and the timestamp that it saw before.
    repository: Option<(source::Seen, Vec<u8>)>,
    /// Digests of versions that had to be read.
    read: BTreeMap<(String, VersionId), Sha256>,
}

impl Watch {
    fn new(connection: &Connection, awaited: &[Awaited]) -> anyhow::Result<Self> {
        let inside = Inside::for_uploader(connection)?;
        Ok(Self {
            uploads: inside.uploads()?,
            inside,
            reads: matches!(connection, Connection::Aws(_)),
            source: Source::of(connection)?,
            names: awaited.iter().map(|awaited| awaited.name.as_str().to_owned()).collect(),
            repository: None,
            read: BTreeMap::new(),
        })
    }

    /// Updates the device, if there is anything new. It doesn't go back (TUF specification 5.4.3 and 5.5.5).
    async fn look(&mut self) -> anyhow::Result<()> {
        let timestamp = self.source.peek().await?;
        if self.repository.as_ref().is_some_and(|(_, seen)| *seen == timestamp) {
            return Ok(());
        }
        let new = self.source.update(&self.names).await?;
        if let Some((old, _)) = &self.repository {
            let versions = |seen: &source::Seen| (seen.timestamp.version, seen.snapshot.version);
            let (before, after) = (versions(old), versions(&new));
            let goes_back = after.0 < before.0 || after.1 < before.1;
            anyhow::ensure!(
                !goes_back || new.root.version() > old.root.version(),
                "a device saw version {} of the timestamp, and is shown version {}: somebody shows an old state",
                before.0,
                after.0
            );
        }
        self.repository = Some((new, timestamp));
        Ok(())
    }

    async fn decide(&mut self, awaited: &Awaited, last: bool, trouble: Option<&anyhow::Error>) -> Option<Ending> {
        let seen = self.repository.as_ref().map(|(repository, _)| Seen {
            generation: repository.snapshot.version,
            target: target(repository, &awaited.name),
        });
        let current = self.current(awaited.name.as_str()).await;
        let found = current.as_ref().ok().and_then(|current| decide(awaited.goal, seen, current));
        if found.is_some() || !last {
            return found;
        }
        let reason = match &current {
            Ok(current) => why_not(awaited.goal, seen, current),
            Err(error) => format!("its upload cannot be looked at: {}", one_line(error)),
        };
        let trouble = trouble.map(|error| format!("; {}", one_line(error))).unwrap_or_default();
        Some(Ending::TimedOut { reason: reason + &trouble })
    }

    async fn current(&mut self, name: &str) -> anyhow::Result<Current> {
        let Head::Object(upload) = self.uploads.head(name).await? else { return Ok(Current::Nothing) };
        let refusal = match &upload.version {
            Some(version) => self.refusal(name, version).await?,
            None => None,
        };
        // What is refused need not be read.
        let sha256 = if refusal.is_some() { None } else { self.digest(&upload).await? };
        Ok(Current::Upload { sha256, refusal })
    }

    async fn refusal(&self, name: &str, version: &VersionId) -> anyhow::Result<Option<String>> {
        let key = Key::Rejected(UploadKey::new(name, version));
        let rejected: Option<RejectedUpload> = ledger::read(&*self.inside.store, &key).await?;
        Ok(rejected.map(|rejected| rejected.reason))
    }

    /// The digest of an upload: the one that came with it, or the one that hash found, or by reading it.
    async fn digest(&mut self, upload: &Upload) -> anyhow::Result<Option<Sha256>> {
        let Some(version) = upload.version.clone() else { return Ok(upload.sha256) };
        if upload.sha256.is_some() {
            return Ok(upload.sha256);
        }
        let key = Key::Hashed(UploadKey::new(&upload.name, &version));
        let hashed: Option<Hashed> = ledger::read(&*self.inside.store, &key).await?;
        if hashed.is_some() || !self.reads {
            return Ok(hashed.map(|hashed| hashed.sha256));
        }
        let id = (upload.name.clone(), version);
        if let Some(sha256) = self.read.get(&id) {
            return Ok(Some(*sha256));
        }
        let (mut digest, mut offset) = (Hasher::new(), 0);
        while offset < upload.length {
            let length = READ_AT_ONCE.min(upload.length - offset);
            let bytes = self.uploads.read(upload, offset, length).await?;
            anyhow::ensure!(!bytes.is_empty(), "{} ends before its length", upload.name);
            digest.update(&bytes);
            offset += bytes.len() as u64;
        }
        let sha256 = digest.finish();
        self.read.insert(id, sha256);
        Ok(Some(sha256))
    }
}
