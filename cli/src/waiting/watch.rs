//! Waits for several names at once: one look at the repository serves all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::anyhow;
use tokio::time::{Instant, sleep, timeout_at};
use tufline_metadata::find;
use tufline_pipeline::state::ledger;
use tufline_pipeline::state::records::Hashed;
use tufline_store::{Head, Key, RejectedUpload, Upload, UploadKey, VersionId};
use tufline_tuf::{Hasher, Sha256, TargetName};

use super::decide::{
    CurrentUpload, DeviceView, Goal, UploadEnding, VisibleTarget, decide, other_bytes, why_not,
};
use crate::failure::{advice, is_denied, one_line};
use crate::repository::{Repository, UploaderView};
use crate::source::{ClientSource, VerifiedRepository};

/// The first pause between two looks. Each later pause is half as long again as the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How long after the time is up the last look may still take. A server that never answers must not
/// keep a build waiting.
const GRACE: Duration = Duration::from_secs(10);

/// How many bytes are read at once of an upload whose digest isn't known otherwise.
const READ_AT_ONCE: u64 = 8 * 1024 * 1024;

/// A name to wait for.
#[derive(Debug, Clone)]
pub struct Awaited {
    pub name: TargetName,
    pub goal: Goal,
}

/// Waits until all names are decided or the time is up; returns the endings in the order of
/// `awaited`. A name that the caller may not look at ends at once as denied, while the others go
/// on.
pub async fn wait_for(
    repository: &Repository,
    awaited: &[Awaited],
    timeout: Duration,
) -> anyhow::Result<Vec<UploadEnding>> {
    let mut watch = Watch::new(repository, awaited)?;
    let until = Instant::now() + timeout;
    let mut pause = FIRST_PAUSE;
    let mut endings: Vec<Option<UploadEnding>> = awaited.iter().map(|_| None).collect();
    loop {
        let last = Instant::now() >= until;
        let trouble = match timeout_at(until + GRACE, watch.look()).await {
            Ok(looked) => looked.err(),
            Err(_) => Some(anyhow!("the repository's server doesn't answer")),
        };
        for (awaited, ending) in
            awaited.iter().zip(&mut endings).filter(|(_, ending)| ending.is_none())
        {
            *ending = watch.decide(awaited, last, trouble.as_ref()).await;
        }
        if let Some(endings) = endings.iter().cloned().collect() {
            return Ok(endings);
        }
        sleep(pause.min(until.saturating_duration_since(Instant::now()))).await;
        pause = (pause * 3 / 2).min(LONGEST_PAUSE);
    }
}

/// A target as the device sees it.
fn find_target(seen: &VerifiedRepository, name: &TargetName) -> Option<VisibleTarget> {
    let (_, target) = find(&seen.roles, name.as_str())?;
    let sha256: [u8; 32] = target.hashes.get("sha256")?.as_slice().try_into().ok()?;
    Some(VisibleTarget { sha256: Sha256::from_bytes(sha256), length: target.length })
}

struct Watch {
    uploader: UploaderView,
    /// Whether it may read an upload to learn its digest: on AWS an uploader may not read what hash
    /// found.
    reads: bool,
    /// The repository as a device finds it.
    source: ClientSource,
    /// The names that the device asks for.
    names: BTreeSet<String>,
    /// What the device verified last, and the bytes of the timestamp at that time.
    verified: Option<(VerifiedRepository, Vec<u8>)>,
    /// The digests of upload versions that had to be read.
    read: BTreeMap<(String, VersionId), Sha256>,
}

impl Watch {
    fn new(repository: &Repository, awaited: &[Awaited]) -> anyhow::Result<Self> {
        Ok(Self {
            uploader: UploaderView::of(repository)?,
            reads: matches!(repository, Repository::Aws(_)),
            source: ClientSource::of(repository)?,
            names: awaited.iter().map(|awaited| awaited.name.as_str().to_owned()).collect(),
            verified: None,
            read: BTreeMap::new(),
        })
    }

    /// Updates the device if the timestamp changed. It refuses to go back to older versions (TUF
    /// specification 5.4.3 and 5.5.5).
    async fn look(&mut self) -> anyhow::Result<()> {
        let timestamp = self.source.peek().await?;
        if self.verified.as_ref().is_some_and(|(_, seen)| *seen == timestamp) {
            return Ok(());
        }
        let new = self.source.update(&self.names).await?;
        if let Some((old, _)) = &self.verified {
            let versions =
                |seen: &VerifiedRepository| (seen.timestamp.version, seen.snapshot.version);
            let (before, after) = (versions(old), versions(&new));
            let goes_back = after.0 < before.0 || after.1 < before.1;
            anyhow::ensure!(
                !goes_back || new.root.version() > old.root.version(),
                "a device saw version {} of the timestamp, but now gets version {}: somebody shows \
                 an old state",
                before.0,
                after.0
            );
        }
        self.verified = Some((new, timestamp));
        Ok(())
    }

    async fn decide(
        &mut self,
        awaited: &Awaited,
        last: bool,
        trouble: Option<&anyhow::Error>,
    ) -> Option<UploadEnding> {
        let seen = self.verified.as_ref().map(|(repository, _)| DeviceView {
            generation: repository.snapshot.version,
            target: find_target(repository, &awaited.name),
        });
        let current = self.find_current(awaited.name.as_str()).await;
        let found = current.as_ref().ok().and_then(|current| decide(awaited.goal, seen, current));
        if found.is_some() {
            return found;
        }
        // If access is denied, waiting doesn't help.
        if let Some(denied) =
            [current.as_ref().err(), trouble].into_iter().flatten().find(|error| is_denied(error))
        {
            let advice =
                advice(&**denied).await.map(|advice| format!("; {advice}")).unwrap_or_default();
            return Some(UploadEnding::Denied { reason: one_line(denied) + &advice });
        }
        if !last {
            return None;
        }
        // If devices couldn't be asked, they may see the awaited bytes.
        let is_certain = seen.is_some() && trouble.is_none();
        if let Some(sha256) = current
            .as_ref()
            .ok()
            .filter(|_| is_certain)
            .and_then(|current| other_bytes(awaited.goal, current))
        {
            return Some(UploadEnding::Superseded { sha256 });
        }
        let reason = match &current {
            Ok(current) => why_not(awaited.goal, seen, current),
            Err(error) => format!("its upload cannot be read: {}", one_line(error)),
        };
        let trouble = trouble.map(|error| format!("; {}", one_line(error))).unwrap_or_default();
        Some(UploadEnding::TimedOut { reason: reason + &trouble })
    }

    async fn find_current(&mut self, name: &str) -> anyhow::Result<CurrentUpload> {
        let Head::Object(upload) = self.uploader.uploads.head(name).await? else {
            return Ok(CurrentUpload::Nothing);
        };
        let rejection = match &upload.version {
            Some(version) => self.read_rejection(name, version).await?,
            None => None,
        };
        let sha256 = match self.find_known_digest(&upload).await? {
            // A rejected upload isn't read: it may be larger than any that is allowed.
            None if rejection.is_none() => self.read_digest(&upload).await?,
            known => known,
        };
        Ok(CurrentUpload::Upload { sha256, rejection })
    }

    async fn read_rejection(
        &self,
        name: &str,
        version: &VersionId,
    ) -> anyhow::Result<Option<String>> {
        let key = Key::Rejected(UploadKey::new(name, version));
        let rejected: Option<RejectedUpload> = ledger::read(&*self.uploader.store, &key).await?;
        Ok(rejected.map(|rejected| rejected.reason))
    }

    /// The digest of an upload, if S3 has it, or hash found it.
    async fn find_known_digest(&self, upload: &Upload) -> anyhow::Result<Option<Sha256>> {
        let Some(version) = upload.version.as_ref().filter(|_| upload.sha256.is_none()) else {
            return Ok(upload.sha256);
        };
        let key = Key::Hashed(UploadKey::new(&upload.name, version));
        let hashed: Option<Hashed> = ledger::read(&*self.uploader.store, &key).await?;
        Ok(hashed.map(|hashed| hashed.sha256))
    }

    /// The digest of an upload's bytes. `None` if it isn't for this caller to read them.
    async fn read_digest(&mut self, upload: &Upload) -> anyhow::Result<Option<Sha256>> {
        let Some(version) = upload.version.clone().filter(|_| self.reads) else { return Ok(None) };
        let id = (upload.name.clone(), version);
        if let Some(sha256) = self.read.get(&id) {
            return Ok(Some(*sha256));
        }
        let (mut digest, mut offset) = (Hasher::new(), 0);
        while offset < upload.length {
            let length = READ_AT_ONCE.min(upload.length - offset);
            let bytes = self.uploader.uploads.read(upload, offset, length).await?;
            anyhow::ensure!(!bytes.is_empty(), "{} ends before its length", upload.name);
            digest.update(&bytes);
            offset += bytes.len() as u64;
        }
        let sha256 = digest.finish();
        self.read.insert(id, sha256);
        Ok(Some(sha256))
    }
}
