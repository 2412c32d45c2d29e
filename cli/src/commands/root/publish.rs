//! `tufline root publish`: from then on devices trust the new root.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{anyhow, bail};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use clap::Args;
use serde_json::json;
use tokio::time::{Instant, sleep};
use tufline_folder::DataFolder;
use tufline_pipeline::StageError;
use tufline_pipeline::operations::init::first_generation;
use tufline_pipeline::operations::publish_root::Concluded;
use tufline_pipeline::operations::publish_root::Proposal;
use tufline_pipeline::operations::publish_root::Proposed;
use tufline_pipeline::operations::publish_root::conclude;
use tufline_pipeline::operations::publish_root::propose;
use tufline_pipeline::operations::publish_root::publish_first;
use tufline_pipeline::operations::publish_root::withdraw;
use tufline_pipeline::state::roots;
use tufline_store::{ErrorKind, Key, Store, SystemClock};
use tufline_tuf::generation::FirstBins;
use tufline_tuf::root::RootFile;

use crate::ceremony::open;
use crate::exit::{Exit, Result};
use crate::process::StopSignal;
use crate::repository::{
    AwsRepository, IdleFolder, Repository, RepositoryArguments, wait_for_first_generation,
};
use crate::terminal::{complain, say};
use crate::text::Quoted;

/// The pause between two checks whether the timestamp was replaced.
const PAUSE: Duration = Duration::from_millis(250);

/// Publishes a root that enough holders signed, if everything that is published verifies under it.
///
/// The first root starts the repository. On AWS it needs an operator's credentials.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The root file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// With the first root on AWS: how many bins the repository has at the start: 1, 16, 256 or
    /// 4096. In a folder, give this to `tufline local` instead
    #[arg(long, default_value = "1", value_name = "NUMBER")]
    bins: FirstBins,
    /// Give up after this many seconds without a new timestamp; refresh normally makes one within a
    /// minute
    #[arg(long, default_value_t = 300, value_name = "SECONDS")]
    timeout: u64,
    /// Print a line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    repository: RepositoryArguments,
}

pub async fn run(arguments: Arguments) -> Result {
    let file = open(&arguments.file)?;
    let repository = arguments.repository.open().await?;
    let version = file.version();
    let exit = match (&repository, version) {
        (Repository::Folder(folder), 1) => begin_folder(folder.data(), &file).await?,
        (Repository::Aws(aws), 1) => begin_aws(aws, &file, arguments.bins).await?,
        (repository, _) => follow(repository, &file, &arguments).await?,
    };
    if exit == Exit::Done {
        say!(
            "{}",
            if arguments.json {
                json!({"outcome": "published", "version": version}).to_string()
            } else {
                describe(&repository, &arguments.file, version)
            }
        );
    }
    Ok(exit)
}

fn describe(repository: &Repository, file: &Path, version: u64) -> String {
    let file = file.quoted();
    match repository {
        Repository::Folder(folder) if version == 1 => {
            let data = folder.data().quoted();
            format!(
                "version 1 is in place; `tufline local --data {data}` starts with it. Devices ship \
                 with {file}"
            )
        }
        Repository::Aws(_) if version == 1 => {
            format!("version 1 is published; devices ship with {file}")
        }
        _ => format!("version {version} is published; devices take it at their next update"),
    }
}

async fn begin_folder(data: &Path, file: &RootFile) -> Result {
    let folder = IdleFolder::open(data)?;
    publish_first(&*folder.store, &folder.signer()?, &SystemClock, file).await?;
    folder.end_wait()?;
    Ok(Exit::Done)
}

async fn begin_aws(aws: &AwsRepository, file: &RootFile, bins: FirstBins) -> Result {
    let (store, signer) = (aws.store()?, Arc::new(aws.kms_signer()?));
    publish_first(&*store, &*signer, &SystemClock, file).await?;
    first_generation(&aws.ports(signer)?, bins).await?;
    wait_for_first_generation(&*store).await?;
    Ok(Exit::Done)
}

async fn follow(repository: &Repository, file: &RootFile, arguments: &Arguments) -> Result {
    let store = repository.store()?;
    let mut stop = StopSignal::take()?;
    let proposal = match propose(&*store, &SystemClock, file, name_attempt()?).await? {
        Proposed::Already => return Ok(Exit::Done),
        Proposed::Now(proposal) => proposal,
    };
    if let Repository::Folder(folder) = repository
        && proposal.waits()
        && DataFolder::lock(folder.data()).is_ok()
    {
        withdraw(&*store, &proposal).await?;
        bail!(
            "nothing runs in {}: start `tufline local` there first, since it must sign the new \
             timestamp",
            folder.data().quoted()
        );
    }
    if !arguments.json && proposal.waits() {
        say!("it can be published; waiting for a new timestamp, which takes up to a minute");
    }
    match wait_and_publish(&*store, &proposal, Duration::from_secs(arguments.timeout), &mut stop)
        .await
    {
        Ok(Waited::Published) => Ok(Exit::Done),
        Ok(Waited::Stopped) => {
            withdraw(&*store, &proposal).await?;
            bail!("stopped: nothing was published");
        }
        Ok(Waited::TimedOut) => {
            withdraw(&*store, &proposal).await?;
            let seconds = arguments.timeout;
            complain!(
                "tufline: no new timestamp was signed within {seconds} s, so the root was not \
                 published: `tufline status` and the log of refresh say why"
            );
            Ok(Exit::TimedOut)
        }
        Err(error @ StageError::Store(_)) if is_kept(&*store, &error, file.version()).await => {
            withdraw(&*store, &proposal).await?;
            bail!(
                "{} holds something that is not a root, and the bucket's policy protects it: \
                 deploy with -c replaceRoots=true, run this again, and deploy without that \
                 (docs/keys.md)",
                Key::root(file.version())
            )
        }
        // S3 may have applied a request that failed, or may apply it later: the intent must stay
        // for that case.
        Err(error @ StageError::Store(_)) => Err(anyhow!(error)
            .context("the root may or may not have been published: run the same command again")),
        Err(error) => {
            withdraw(&*store, &proposal).await?;
            Err(error.into())
        }
    }
}

/// Whether the bucket's policy protects a file in the root's place: then the write was refused and
/// not applied.
async fn is_kept(store: &dyn Store, error: &StageError, version: u64) -> bool {
    let lies = || async {
        roots::ignored(store).await.is_ok_and(|lie| lie.iter().any(|root| root.version == version))
    };
    error.kind() == ErrorKind::Denied && lies().await
}

enum Waited {
    Published,
    Stopped,
    TimedOut,
}

/// Waits for the new timestamp, and publishes. A signal ends the waiting, but never interrupts the
/// publishing.
async fn wait_and_publish(
    store: &dyn Store,
    proposal: &Proposal,
    patience: Duration,
    stop: &mut StopSignal,
) -> std::result::Result<Waited, StageError> {
    let until = Instant::now() + patience;
    loop {
        if conclude(store, &SystemClock, proposal).await? == Concluded::Published {
            return Ok(Waited::Published);
        }
        if Instant::now() >= until {
            return Ok(Waited::TimedOut);
        }
        tokio::select! {
            () = sleep(PAUSE) => {}
            () = stop.wait() => return Ok(Waited::Stopped),
        }
    }
}

/// A random name for this attempt, which no other run has.
fn name_attempt() -> anyhow::Result<String> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| anyhow!("the system gives no randomness"))?;
    Ok(hex::encode(bytes))
}
