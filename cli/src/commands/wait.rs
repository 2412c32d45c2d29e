//! `tufline wait`: until devices see an upload.

use std::time::Duration;

use clap::Args;
use tufline_tuf::{Sha256, TargetName};

use crate::exit::Result;
use crate::repository::EndpointsArguments;
use crate::waiting::{Awaited, Goal, UploadEnding, tell_ending, wait_for};

/// Waits until devices see what is uploaded: verified as they would, through the public URL.
///
/// Exits with 0 when they do, 3 when the upload was refused, 4 when the time is up, and at once with 1 when whoever waits may not look.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The target
    name: String,
    /// Wait until its bytes have this digest, whatever is uploaded now
    #[arg(long, value_name = "DIGEST", conflicts_with = "gone")]
    sha256: Option<Sha256>,
    /// Wait until devices no longer see it
    #[arg(long)]
    gone: bool,
    /// How many seconds to wait
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    timeout: u64,
    /// Print a line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    repository: EndpointsArguments,
}

/// Waits.
pub async fn run(arguments: Arguments) -> Result {
    let goal = match arguments.sha256 {
        Some(sha256) => Goal::Bytes(sha256),
        None if arguments.gone => Goal::Gone,
        None => Goal::Current,
    };
    let ending = match arguments.name.parse::<TargetName>() {
        Ok(name) => {
            let repository = arguments.repository.open().await?;
            let awaited = [Awaited { name, goal }];
            let mut endings = wait_for(&repository, &awaited, Duration::from_secs(arguments.timeout)).await?;
            endings.remove(0)
        }
        // Nobody needs to be asked: it can never be published.
        Err(refusal) => UploadEnding::Rejected { reason: refusal.reason },
    };
    Ok(tell_ending(&arguments.name, &ending, arguments.json))
}
