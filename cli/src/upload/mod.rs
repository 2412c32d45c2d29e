//! `tufline upload`: drops files where the pipeline takes them from.

mod folder;
mod plan;
mod s3;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use futures::{StreamExt, TryStreamExt, stream};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::json;
use tufline_tuf::{Refusal, Sha256};

use crate::connection::{Connection, ConnectionArguments};
use crate::outcome::{Outcome, Result, misused};
use crate::show;
use crate::show::{complain, say};
use crate::wait::{Awaited, Goal, tell, wait_for};
pub use folder::put as put_in_folder;
pub use plan::{Planned, ascii_custom};
pub use s3::UploadsBucket;

/// So many files are uploaded at once.
const AT_ONCE: usize = 4;

/// A transfer of fewer bytes shows no progress bar.
const WORTH_A_BAR: u64 = 8 << 20;

/// Uploads files; each becomes the target of its name.
///
/// Exits with 3, and sends nothing, if a name or the custom metadata would be refused.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The target's name, for a single file [default: the file's name]
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
    connection: ConnectionArguments,
}

/// Uploads, and waits if that is asked.
pub async fn run(arguments: Arguments) -> Result {
    if arguments.name.is_some() && arguments.files.len() > 1 {
        return Ok(misused("--name is for a single file; use --prefix for several"));
    }
    let custom = match arguments.custom.as_deref().map(plan::ascii_custom).transpose() {
        Ok(custom) => custom,
        Err(refusal) => return Ok(rejected(&refusal, arguments.json)),
    };
    let planned = match plan::plan(&arguments.files, arguments.name.as_deref(), arguments.prefix.as_deref())? {
        Ok(planned) => planned,
        Err(refusal) => return Ok(rejected(&refusal, arguments.json)),
    };
    let connection = arguments.connection.connect().await?;
    let bars = Bars::new(arguments.json);
    let uploading = planned.iter().map(|planned| put(&connection, planned, custom.as_deref(), &bars));
    let digests: Vec<Sha256> = stream::iter(uploading).buffered(AT_ONCE).try_collect().await?;
    drop(bars);

    if !arguments.wait {
        for (planned, sha256) in planned.iter().zip(&digests) {
            uploaded(planned, sha256, arguments.json);
        }
        return Ok(Outcome::Done);
    }
    let awaited = planned
        .iter()
        .zip(digests)
        .map(|(planned, sha256)| Awaited { name: planned.name.clone(), goal: Goal::Bytes(sha256) });
    let awaited: Vec<Awaited> = awaited.collect();
    let endings = wait_for(&connection, &awaited, Duration::from_secs(arguments.timeout)).await?;
    let outcomes = awaited.iter().zip(&endings);
    let outcomes = outcomes.map(|(awaited, ending)| tell(awaited.name.as_str(), ending, arguments.json));
    Ok(outcomes.max().unwrap_or(Outcome::Done))
}

async fn put(connection: &Connection, planned: &Planned, custom: Option<&str>, bars: &Bars) -> anyhow::Result<Sha256> {
    let bar = bars.bar(planned);
    let sha256 = match connection {
        Connection::Folder(endpoints) => {
            let (planned, uploads) = (planned.clone(), endpoints.uploads.clone());
            let (custom, bar) = (custom.map(str::to_owned), bar.clone());
            let copying = move || folder::put(&planned, &uploads, custom.as_deref(), &bar);
            tokio::task::spawn_blocking(copying).await??
        }
        Connection::Aws(aws) => UploadsBucket::of(aws)?.put(planned, custom, &bar).await?,
    };
    bar.finish_and_clear();
    Ok(sha256)
}

fn uploaded(planned: &Planned, sha256: &Sha256, as_json: bool) {
    let Planned { name, length, .. } = planned;
    if as_json {
        show::json(&json!({"outcome": "uploaded", "name": name, "sha256": sha256, "length": length}));
    } else {
        say!("uploaded {name}: {}, sha256 {sha256}", show::bytes(*length));
    }
}

fn rejected(refusal: &Refusal, as_json: bool) -> Outcome {
    if as_json {
        show::json(&json!({"outcome": "rejected", "reason": refusal.reason}));
    } else {
        complain!("rejected, nothing was uploaded: {}", refusal.reason);
    }
    Outcome::Rejected
}

/// Progress bars, on a terminal only.
struct Bars(Option<MultiProgress>);

impl Bars {
    fn new(as_json: bool) -> Self {
        Self((!as_json && std::io::stderr().is_terminal()).then(MultiProgress::new))
    }

    fn bar(&self, planned: &Planned) -> ProgressBar {
        let (Some(bars), true) = (&self.0, planned.length >= WORTH_A_BAR) else { return ProgressBar::hidden() };
        let bar = bars.add(ProgressBar::new(planned.length).with_message(planned.name.to_string()));
        if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}")
        {
            bar.set_style(style);
        }
        bar
    }
}
