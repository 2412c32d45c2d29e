//! `tufline demo`: follows one artifact from a folder to a device that verifies it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use indicatif::ProgressBar;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tufline_pipeline::state::ledger;
use tufline_pipeline::state::pending::Tip;
use tufline_store::{Queue, Store};
use tufline_tuf::TargetName;
use tufline_tuf::generation::FirstBins;

use crate::embedded::{Options, Running, StageRun};
use crate::exit::{Exit, Result};
use crate::process::StopSignal;
use crate::terminal::{self, say};
use crate::text::{self, Quoted};
use crate::uploading::{PlannedUpload, put_in_folder};
use narration::{tell_note, tell_step};

mod client;
mod device;
mod narration;
mod timed;

/// The target name under which the demo uploads its own executable.
const NAME: &str = "demo/tufline";

/// The longest that one stage may take before the demo gives up.
const PATIENCE: Duration = Duration::from_mins(1);

/// Follows one artifact all the way: uploaded to a folder, hashed, signed, published, and verified
/// by a device.
#[derive(Debug, Args)]
pub struct Arguments {
    /// End when everything is shown, instead of keeping the repository running
    #[arg(long)]
    exit: bool,
    /// The folder of the repository [default: a new one, removed at the end]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

pub async fn run(arguments: Arguments) -> Result {
    let mut stop = StopSignal::take()?;
    let temporary = tempfile::Builder::new()
        .prefix("tufline-demo-")
        .tempdir()
        .context("cannot make a folder")?;
    let data = arguments.data.unwrap_or_else(|| temporary.path().join("data"));
    let (sender, mut reports) = mpsc::unbounded_channel();
    let listen = ([127, 0, 0, 1], 0).into();
    let begin = Instant::now();
    let running = Running::start(Options {
        data,
        uploads: None,
        listen,
        bins: FirstBins::One,
        reports: Some(sender),
    })
    .await?;
    say!("A TUF repository in {}", running.data.quoted());
    if running.is_new {
        tell_step("start", "new keys, a root, the first generation", begin.elapsed());
    }

    let shown = tokio::select! {
        shown = show_everything(&running, &mut reports) => shown,
        () = stop.wait() => return running.stop().await.map(|()| Exit::Done),
    };
    if shown.is_ok() && !arguments.exit {
        terminal::lines(&describe_usage(&running));
        stop.wait().await;
        say!("");
    }
    running.stop().await?;
    shown.map(|()| Exit::Done)
}

async fn show_everything(
    running: &Running,
    reports: &mut mpsc::UnboundedReceiver<StageRun>,
) -> anyhow::Result<()> {
    let own = std::env::current_exe().context("cannot find the demo's own executable")?;
    let name: TargetName = NAME.parse()?;
    publish(running, reports, &own, &name).await?;
    client::download(running, &own, &name).await
}

/// Uploads the executable and shows the stages until devices see it.
async fn publish(
    running: &Running,
    reports: &mut mpsc::UnboundedReceiver<StageRun>,
    own: &Path,
    name: &TargetName,
) -> anyhow::Result<()> {
    let length =
        std::fs::metadata(own).with_context(|| format!("cannot read {}", own.quoted()))?.len();
    say!("");
    say!("An artifact arrives, and the stages publish it:");
    say!("");
    let planned = PlannedUpload { file: own.to_owned(), name: name.clone(), length };
    let uploads = running.endpoints.uploads.clone();
    let begin = Instant::now();
    let sha256 = tokio::task::spawn_blocking(move || {
        put_in_folder(&planned, &uploads, None, &ProgressBar::hidden())
    });
    let sha256 = sha256.await??;
    tell_step("upload", &format!("{name}, {}", text::bytes(length)), begin.elapsed());

    let begin = Instant::now();
    let store = &*running.repository.ports.store;
    let mut hashed = false;
    loop {
        let report = timeout(PATIENCE, reports.recv()).await.ok().flatten();
        let Some(report) = report else {
            bail!("the stages did not publish it in time; RUST_LOG=info shows why")
        };
        hashed |= report.queue == Queue::Uploads && report.items > 0;
        if !hashed {
            continue;
        }
        match report.queue {
            Queue::Uploads | Queue::Large => {
                tell_step("hash", &format!("sha256 {}", text::digest(&sha256)), report.took);
            }
            Queue::Changes => {
                let Some(generation) = report.generation else { continue };
                tell_step("rebuild", &format!("generation {generation}"), report.took);
                if ledger::manifest(store, generation).await?.is_fence() {
                    tell_note("it is published already");
                    return Ok(());
                }
            }
            Queue::Sign => tell_step("sign", &list_signed(store).await?, report.took),
            Queue::Publish => {
                let Some(generation) = report.generation.filter(|generation| *generation > 1)
                else {
                    continue;
                };
                let published =
                    ledger::published(store).await?.map_or(0, |published| published.version);
                tell_step(
                    "publish",
                    &format!("timestamp {published} shows generation {generation}"),
                    report.took,
                );
                tell_note(&format!(
                    "devices can see it {} after it arrived",
                    text::took(begin.elapsed())
                ));
                return Ok(());
            }
        }
    }
}

/// The documents that the newest generation changed, with their versions.
async fn list_signed(store: &dyn Store) -> anyhow::Result<String> {
    let tip = Tip::read(store).await?;
    let manifest = tip.newest();
    let mut documents: Vec<String> =
        manifest.changed.iter().map(|(role, entry)| format!("{role} {}", entry.version)).collect();
    documents.push(format!("snapshot {}", manifest.generation));
    Ok(documents.join(", "))
}

fn describe_usage(running: &Running) -> String {
    let endpoints = &running.endpoints;
    format!(
        "
It stays up until Ctrl-C. Try, in another terminal:

  cp FILE {uploads}/
  tufline wait FILE --endpoints {data}/endpoints.json
  curl {metadata}timestamp.json",
        uploads = endpoints.uploads.quoted(),
        data = running.data.quoted(),
        metadata = endpoints.public.metadata_url,
    )
}
