//! `tufline upload`: puts files where the pipeline finds them.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use futures::{StreamExt, TryStreamExt, stream};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::json;
use tufline_tuf::{Rejection, Sha256};

use crate::exit::{Exit, Result, misused};
use crate::repository::{EndpointsArguments, Repository};
use crate::terminal::{self, complain, say};
use crate::text;
use crate::uploading::{PlannedUpload, ascii_custom, plan_uploads, put_upload};
use crate::waiting::{Awaited, Goal, tell_ending, wait_for};

/// How many files are uploaded at once.
const AT_ONCE: usize = 4;

/// Only a file of at least this many bytes gets a progress bar.
const WORTH_A_BAR: u64 = 8 << 20;

/// Uploads files; each becomes a target under its name.
///
/// Exits with 3, and sends nothing, if a name or the custom metadata would be rejected.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The files to upload
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The target's name; for a single file only [default: the file's name]
    #[arg(long)]
    name: Option<String>,
    /// A folder to put in front of each name
    #[arg(long)]
    prefix: Option<String>,
    /// Custom metadata: a JSON object
    #[arg(long, value_name = "JSON")]
    custom: Option<String>,
    /// Wait until devices see the files, as `tufline wait` does
    #[arg(long)]
    wait: bool,
    /// How many seconds to wait
    #[arg(long, default_value_t = 60, value_name = "SECONDS", requires = "wait")]
    timeout: u64,
    /// Print a line of JSON for each file
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    repository: EndpointsArguments,
}

pub async fn run(arguments: Arguments) -> Result {
    if arguments.name.is_some() && arguments.files.len() > 1 {
        return Ok(misused("--name is for a single file; use --prefix for several"));
    }
    let custom = match arguments.custom.as_deref().map(ascii_custom).transpose() {
        Ok(custom) => custom,
        Err(refusal) => return Ok(tell_rejected(&refusal, arguments.json)),
    };
    let planned = match plan_uploads(
        &arguments.files,
        arguments.name.as_deref(),
        arguments.prefix.as_deref(),
    )? {
        Ok(planned) => planned,
        Err(refusal) => return Ok(tell_rejected(&refusal, arguments.json)),
    };
    let repository = arguments.repository.open().await?;
    let bars = Bars::new(arguments.json);
    let uploading =
        planned.iter().map(|planned| put(&repository, planned, custom.as_deref(), &bars));
    let digests: Vec<Sha256> = stream::iter(uploading).buffered(AT_ONCE).try_collect().await?;
    drop(bars);

    if !arguments.wait {
        for (planned, sha256) in planned.iter().zip(&digests) {
            tell_uploaded(planned, sha256, arguments.json);
        }
        return Ok(Exit::Done);
    }
    let awaited = planned
        .iter()
        .zip(digests)
        .map(|(planned, sha256)| Awaited { name: planned.name.clone(), goal: Goal::Bytes(sha256) });
    let awaited: Vec<Awaited> = awaited.collect();
    let endings = wait_for(&repository, &awaited, Duration::from_secs(arguments.timeout)).await?;
    let exits = awaited.iter().zip(&endings);
    let exits =
        exits.map(|(awaited, ending)| tell_ending(awaited.name.as_str(), ending, arguments.json));
    Ok(exits.max().unwrap_or(Exit::Done))
}

async fn put(
    repository: &Repository,
    planned: &PlannedUpload,
    custom: Option<&str>,
    bars: &Bars,
) -> anyhow::Result<Sha256> {
    let bar = bars.new_bar(planned);
    let sha256 = put_upload(repository, planned, custom, &bar).await?;
    bar.finish_and_clear();
    Ok(sha256)
}

fn tell_uploaded(planned: &PlannedUpload, sha256: &Sha256, as_json: bool) {
    let PlannedUpload { name, length, .. } = planned;
    if as_json {
        terminal::json(
            &json!({"outcome": "uploaded", "name": name, "sha256": sha256, "length": length}),
        );
    } else {
        say!("uploaded {name}: {}, sha256 {sha256}", text::bytes(*length));
    }
}

fn tell_rejected(refusal: &Rejection, as_json: bool) -> Exit {
    if as_json {
        terminal::json(&json!({"outcome": "rejected", "reason": refusal.reason}));
    } else {
        complain!("rejected, nothing was uploaded: {}", refusal.reason);
    }
    Exit::Rejected
}

/// Progress bars, on a terminal only.
struct Bars(Option<MultiProgress>);

impl Bars {
    fn new(as_json: bool) -> Self {
        Self((!as_json && std::io::stderr().is_terminal()).then(MultiProgress::new))
    }

    fn new_bar(&self, planned: &PlannedUpload) -> ProgressBar {
        let (Some(bars), true) = (&self.0, planned.length >= WORTH_A_BAR) else {
            return ProgressBar::hidden();
        };
        let bar = bars.add(ProgressBar::new(planned.length).with_message(planned.name.to_string()));
        if let Ok(style) = ProgressStyle::with_template(
            "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
        ) {
            bar.set_style(style);
        }
        bar
    }
}
