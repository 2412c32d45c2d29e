//! The deployment on AWS into which a repository is imported. This module uploads the targets, and
//! makes the roots and the first generation; the deployment's functions hash, sign and publish.

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

/// How many targets are imported at once: most of them wait to be hashed.
const AT_ONCE: usize = 64;

/// How many targets are copied at once, each through a temporary file.
const COPIES_AT_ONCE: usize = 4;

/// The pause between two checks whether an upload is hashed.
const PAUSE: Duration = Duration::from_millis(500);

/// How long hashing may take: a large upload waits for others, and takes several runs.
const PATIENCE: Duration = Duration::from_hours(1);

/// A deployment that has no repository yet, or in which an earlier run of the import began one.
pub struct Deployment {
    /// The same ports as its functions have, without the rights to sign and to write blobs.
    pub ports: Ports,
    uploads: UploadsBucket,
    copies: Semaphore,
}

impl Deployment {
    pub fn of(aws: &AwsRepository) -> anyhow::Result<Self> {
        let ports = aws.ports(Arc::new(aws.kms_signer()?))?;
        Ok(Self { ports, uploads: UploadsBucket::of(aws)?, copies: Semaphore::new(COPIES_AT_ONCE) })
    }

    /// Refuses targets and roots that can't be taken over.
    pub fn check(&self, old: &Old) -> anyhow::Result<()> {
        old.check(self.ports.config.largest_target.0)?;
        for (name, content) in &old.targets {
            metadata(name, &content.custom)?;
        }
        Ok(())
    }

    /// Refuses a deployment that already has a repository.
    pub async fn expect_new(&self, old: &Old) -> anyhow::Result<()> {
        self.expect_first(old).await?;
        taken_over(&*self.ports.store, old, None).await?;
        Ok(())
    }

    /// Refuses a deployment that has published nothing and whose configuration names another first
    /// root.
    async fn expect_first(&self, old: &Old) -> anyhow::Result<()> {
        let store = &*self.ports.store;
        if ledger::published(store).await?.is_none() {
            let remedy = |first| format!("deploy with -c trustedRoot={first}, and run this again");
            old.expect_first(store.pinned_root(), remedy)?;
        }
        Ok(())
    }

    /// The second step of the import. Returns the published generation. It may be killed at any
    /// time: the next run continues from what is there.
    pub async fn take(
        &self,
        found: &OtherRepository,
        old: &Old,
        next: &FitRoot,
    ) -> anyhow::Result<u64> {
        let store = &*self.ports.store;
        self.expect_first(old).await?;
        if let Some(generation) = taken_over(store, old, Some(next)).await? {
            return Ok(generation);
        }
        found.expect_no_others(&*self.ports.uploads).await?;
        let all: Vec<_> =
            old.targets.iter().map(|(name, content)| self.bring(found, name, content)).collect();
        stream::iter(all).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        take_over(&self.ports, old, next).await?;
        self.ports.queues.send(&Message::Sign, Duration::ZERO).await?;
        wait_for_first_generation(store).await
    }

    /// Uploads a target, and waits until hash has made a blob of it.
    async fn bring(
        &self,
        found: &OtherRepository,
        name: &TargetName,
        content: &Content,
    ) -> anyhow::Result<()> {
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
                    "the upload {name} is still not hashed after {} minutes: look at the logs of \
                     hash and large, and run this again",
                    PATIENCE.as_secs() / 60
                ),
                Standing::Waits => sleep(PAUSE).await,
            }
        }
    }

    async fn put(
        &self,
        found: &OtherRepository,
        name: &TargetName,
        custom: &Custom,
    ) -> anyhow::Result<()> {
        let _turn = self.copies.acquire().await?;
        let listed = found.targets.get(name).ok_or_else(|| missing(name))?;
        let mut file = NamedTempFile::new()?;
        found.source.download(&found.seen, name.as_str(), listed, &mut file).await?;
        let planned = PlannedUpload {
            file: file.path().to_owned(),
            name: name.clone(),
            length: listed.length,
        };
        self.uploads
            .put(&planned, metadata(name, custom)?.as_deref(), &ProgressBar::hidden())
            .await?;
        Ok(())
    }
}

/// Custom metadata in the form that an upload carries; `None` if there is none.
fn metadata(name: &TargetName, custom: &Custom) -> anyhow::Result<Option<String>> {
    if custom.is_empty() {
        return Ok(None);
    }
    let ascii = ascii_custom(&serde_json::to_string(custom)?);
    Ok(Some(ascii.map_err(|refusal| anyhow!("the target {name} can't be kept: {refusal}"))?))
}
