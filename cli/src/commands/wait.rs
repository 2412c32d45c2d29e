//! `tufline wait`: waits until devices see an upload.

use std::time::Duration;

use clap::Args;
use tufline_tuf::{Sha256, TargetName};

use crate::exit::Result;
use crate::repository::EndpointsArguments;
use crate::waiting::{Awaited, Goal, UploadEnding, tell_ending, wait_for};

/// Waits until devices see an upload. It looks through the public URL and verifies as a device
/// does.
///
/// Exits with 0 when devices see it, 3 if it was rejected, 4 if the time is up, 6 if other bytes are
/// uploaded under the name by then, and at once with 1 if access is denied.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The target's name
    name: String,
    /// Wait until its bytes have this digest, whatever is uploaded under the name now
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
            let mut endings =
                wait_for(&repository, &awaited, Duration::from_secs(arguments.timeout)).await?;
            endings.remove(0)
        }
        // No repository would ever publish such a name, so there is nothing to ask.
        Err(refusal) => UploadEnding::Rejected { reason: refusal.reason },
    };
    Ok(tell_ending(&arguments.name, &ending, arguments.json))
}
