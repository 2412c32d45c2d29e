//! `tufline root publish`: the moment from which devices trust a new root.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{anyhow, bail};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use clap::Args;
use serde_json::json;
use tokio::time::{Instant, sleep};
use tufline_folder::{DataFolder, SystemClock};
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
use tufline_store::{Key, Store};
use tufline_tuf::generation::FirstBins;
use tufline_tuf::root::RootFile;

use super::document::open;
use super::place::{IdleFolder, Place, PlaceArguments};
use crate::connection::AwsConnection;
use crate::edge::StopSignal;
use crate::outcome::{Outcome, Result};
use crate::show::Quoted;
use crate::show::{complain, say};
use crate::{init, inside};

/// How often it is looked whether the timestamp was replaced.
const PAUSE: Duration = Duration::from_millis(250);

/// Publishes a root that enough of its holders signed, if everything that is published verifies under it.
///
/// The first root of a repository begins it. On AWS it needs an operator's keys.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The root's file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// With the first root on AWS: into how many bins the repository is split from the start, 1, 16, 256 or 4096. In a folder
    /// `tufline local` is told
    #[arg(long, default_value = "1", value_name = "NUMBER")]
    bins: FirstBins,
    /// Give up after so many seconds without a new timestamp, which refresh makes within a minute
    #[arg(long, default_value_t = 300, value_name = "SECONDS")]
    timeout: u64,
    /// Print a line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArguments,
}

/// Publishes it.
pub async fn run(arguments: Arguments) -> Result {
    let file = open(&arguments.file)?;
    let place = arguments.place.find().await?;
    let version = file.version();
    let outcome = match (&place, version) {
        (Place::Folder(data), 1) => begin_folder(data, &file).await?,
        (Place::Aws(aws), 1) => begin_aws(aws, &place, &file, arguments.bins).await?,
        (place, _) => follow(place, &file, &arguments).await?,
    };
    if outcome == Outcome::Done {
        say!(
            "{}",
            if arguments.json {
                json!({"outcome": "published", "version": version}).to_string()
            } else {
                told(&place, &arguments.file, version)
            }
        );
    }
    Ok(outcome)
}

fn told(place: &Place, file: &Path, version: u64) -> String {
    let file = file.quoted();
    match place {
        Place::Folder(data) if version == 1 => {
            let data = data.quoted();
            format!("version 1 is there; `tufline local --data {data}` begins with it. Devices ship with {file}")
        }
        Place::Aws(_) if version == 1 => format!("version 1 is published; devices ship with {file}"),
        _ => format!("version {version} is published; devices follow to it at their next update"),
    }
}

async fn begin_folder(data: &Path, file: &RootFile) -> Result {
    let folder = IdleFolder::open(data)?;
    publish_first(&*folder.store, &folder.signer()?, &SystemClock, file).await?;
    folder.done()?;
    Ok(Outcome::Done)
}

async fn begin_aws(aws: &AwsConnection, place: &Place, file: &RootFile, bins: FirstBins) -> Result {
    let (store, signer) = (place.store()?, Place::kms(aws)?);
    publish_first(&*store, &*signer, &SystemClock, file).await?;
    first_generation(&inside::ports(aws, signer)?, bins).await?;
    init::wait(&*store).await?;
    Ok(Outcome::Done)
}

async fn follow(place: &Place, file: &RootFile, arguments: &Arguments) -> Result {
    let store = place.store()?;
    let mut stop = StopSignal::take()?;
    let proposal = match propose(&*store, &SystemClock, file, attempt()?).await? {
        Proposed::Already => return Ok(Outcome::Done),
        Proposed::Now(proposal) => proposal,
    };
    if let Place::Folder(data) = place
        && proposal.waits()
        && DataFolder::lock(data).is_ok()
    {
        withdraw(&*store, &proposal).await?;
        bail!("nothing runs in {}: start `tufline local` there first, which signs what must be signed", data.quoted());
    }
    if !arguments.json && proposal.waits() {
        say!("it can be published; waiting for a new timestamp, which takes up to a minute");
    }
    match wait(&*store, &proposal, Duration::from_secs(arguments.timeout), &mut stop).await {
        Ok(Ending::Published) => Ok(Outcome::Done),
        Ok(Ending::Stopped) => {
            withdraw(&*store, &proposal).await?;
            bail!("stopped: nothing was published");
        }
        Ok(Ending::TimedOut) => {
            withdraw(&*store, &proposal).await?;
            let seconds = arguments.timeout;
            complain!(
                "tufline: the timestamp was not signed again within {seconds} s, so the root was not published: `tufline status` and \
                 the log of refresh say why"
            );
            Ok(Outcome::TimedOut)
        }
        Err(error @ StageError::Store(_)) if is_kept(&*store, &error, file.version()).await => {
            withdraw(&*store, &proposal).await?;
            bail!(
                "what is no root lies at {}, and the bucket keeps it: deploy with -c replaceRoots=true, run this again, and deploy without \
                 that (docs/keys.md)",
                Key::root(file.version())
            )
        }
        // A request that failed may have been applied, and may even be applied later: then the intent must still be there.
        Err(error @ StageError::Store(_)) => {
            Err(anyhow!(error).context("it is not known whether the root was published: run the same command again"))
        }
        Err(error) => {
            withdraw(&*store, &proposal).await?;
            Err(error.into())
        }
    }
}

/// Whether the bucket's policy keeps what lies in the root's place: the write was refused, and so not applied.
async fn is_kept(store: &dyn Store, error: &StageError, version: u64) -> bool {
    let lies = || async { roots::ignored(store).await.is_ok_and(|lie| lie.iter().any(|root| root.version == version)) };
    error.to_string().contains("AccessDenied") && lies().await
}

enum Ending {
    Published,
    Stopped,
    TimedOut,
}

/// Waits for the new timestamp, and publishes. Only the waiting is ended by a signal, never the publishing.
async fn wait(
    store: &dyn Store,
    proposal: &Proposal,
    patience: Duration,
    stop: &mut StopSignal,
) -> std::result::Result<Ending, StageError> {
    let until = Instant::now() + patience;
    loop {
        if conclude(store, &SystemClock, proposal).await? == Concluded::Published {
            return Ok(Ending::Published);
        }
        if Instant::now() >= until {
            return Ok(Ending::TimedOut);
        }
        tokio::select! {
            () = sleep(PAUSE) => {}
            () = stop.wait() => return Ok(Ending::Stopped),
        }
    }
}

/// A name that no other run has.
fn attempt() -> anyhow::Result<String> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| anyhow!("the system gives no randomness"))?;
    Ok(hex::encode(bytes))
}
