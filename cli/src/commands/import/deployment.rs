//! A deployment on AWS into which something is imported. Its functions hash, sign and publish; this uploads the targets, and makes the
//! roots and the first generation.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{anyhow, bail};
use futures::{StreamExt, TryStreamExt, stream};
use indicatif::ProgressBar;
use tempfile::NamedTempFile;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};
use tufline_pipeline::Ports;
use tufline_pipeline::operations::import::Old;
use tufline_pipeline::operations::import::Standing;
use tufline_pipeline::operations::import::missing;
use tufline_pipeline::operations::import::standing;
use tufline_pipeline::operations::import::take_over;
use tufline_pipeline::operations::import::taken_over;
use tufline_pipeline::state::ledger;
use tufline_store::Message;
use tufline_tuf::root::FitRoot;
use tufline_tuf::{Content, Custom, TargetName};

use super::from::OtherRepository;
use crate::repository::{AwsRepository, wait_for_first_generation};
use crate::uploading::{PlannedUpload, UploadsBucket, ascii_custom};

/// So many targets are on their way at once: most of them wait until they are hashed.
const AT_ONCE: usize = 64;

/// So many are copied at once, each through a file.
const COPIES_AT_ONCE: usize = 4;

/// How often it is looked whether an upload is hashed.
const PAUSE: Duration = Duration::from_millis(500);

/// How long that may take: a large one waits for others, and has several runs.
const PATIENCE: Duration = Duration::from_hours(1);

/// A deployment that has no repository yet, or one of which an earlier run began to make it.
pub struct Deployment {
    /// What its functions have, but for the right to sign and to write blobs.
    pub ports: Ports,
    uploads: UploadsBucket,
    copies: Semaphore,
}

impl Deployment {
    /// That of a repository. Nothing is sent yet.
    pub fn of(aws: &AwsRepository) -> anyhow::Result<Self> {
        let ports = aws.ports(Arc::new(aws.kms_signer()?))?;
        Ok(Self { ports, uploads: UploadsBucket::of(aws)?, copies: Semaphore::new(COPIES_AT_ONCE) })
    }

    /// Refuses what can't be taken over.
    pub fn check(&self, old: &Old) -> anyhow::Result<()> {
        old.check(self.ports.config.largest_target.0)?;
        for (name, content) in &old.targets {
            metadata(name, &content.custom)?;
        }
        Ok(())
    }

    /// Refuses where a repository is.
    pub async fn expect_new(&self, old: &Old) -> anyhow::Result<()> {
        self.expect_first(old).await?;
        taken_over(&*self.ports.store, old, None).await?;
        Ok(())
    }

    /// Refuses where nothing is published yet and the functions would begin with another root: their configuration says with which.
    async fn expect_first(&self, old: &Old) -> anyhow::Result<()> {
        let store = &*self.ports.store;
        if ledger::published(store).await?.is_none() {
            let remedy = |first| format!("deploy with -c trustedRoot={first}, and run this again");
            old.expect_first(store.pinned_root(), remedy)?;
        }
        Ok(())
    }

    /// The second step; answers the generation that is published then. It may be killed at any time: the next run finds what is there.
    pub async fn take(&self, found: &OtherRepository, old: &Old, next: &FitRoot) -> anyhow::Result<u64> {
        let store = &*self.ports.store;
        self.expect_first(old).await?;
        if let Some(generation) = taken_over(store, old, Some(next)).await? {
            return Ok(generation);
        }
        found.expect_no_others(&*self.ports.uploads).await?;
        let all: Vec<_> = old.targets.iter().map(|(name, content)| self.bring(found, name, content)).collect();
        stream::iter(all).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        take_over(&self.ports, old, next).await?;
        self.ports.queues.send(&Message::Sign, Duration::ZERO).await?;
        wait_for_first_generation(store).await
    }

    /// Makes an upload of a target, and waits until hash has made a blob of it.
    async fn bring(&self, found: &OtherRepository, name: &TargetName, content: &Content) -> anyhow::Result<()> {
        let look = || standing(&self.ports, name, content);
        if look().await? == Standing::Missing {
            self.put(found, name, &content.custom).await?;
        }
        let until = Instant::now() + PATIENCE;
        loop {
            match look().await? {
                Standing::Hashed => return Ok(()),
                Standing::Missing => return Err(missing(name).into()),
                Standing::Waits if Instant::now() >= until => bail!(
                    "the upload {name} is not hashed after {} minutes: look at the logs of hash and large, and run this again",
                    PATIENCE.as_secs() / 60
                ),
                Standing::Waits => sleep(PAUSE).await,
            }
        }
    }

    async fn put(&self, found: &OtherRepository, name: &TargetName, custom: &Custom) -> anyhow::Result<()> {
        let _turn = self.copies.acquire().await?;
        let listed = found.targets.get(name).ok_or_else(|| missing(name))?;
        let mut file = NamedTempFile::new()?;
        found.source.download(&found.seen, name.as_str(), listed, &mut file).await?;
        let planned = PlannedUpload { file: file.path().to_owned(), name: name.clone(), length: listed.length };
        self.uploads.put(&planned, metadata(name, custom)?.as_deref(), &ProgressBar::hidden()).await?;
        Ok(())
    }
}

/// Custom metadata as it travels with an upload, if there is any.
fn metadata(name: &TargetName, custom: &Custom) -> anyhow::Result<Option<String>> {
    if custom.is_empty() {
        return Ok(None);
    }
    let ascii = ascii_custom(&serde_json::to_string(custom)?);
    Ok(Some(ascii.map_err(|refusal| anyhow!("the target {name} can't be kept: {refusal}"))?))
}
