//! `tufline wait`: until devices see an upload.

mod decide;
mod watch;

use std::time::Duration;

use clap::Args;
use serde_json::json;
use tufline_tuf::{Sha256, TargetName};

use crate::connection::ConnectionArguments;
use crate::outcome::{Outcome, Result};
use crate::show;
use crate::show::{complain, say};

pub use decide::{Ending, Goal};
pub use watch::{Awaited, wait_for};

/// Waits until devices see what is uploaded: verified as they would, through the public URL.
///
/// Exits with 0 when they do, 3 when the upload was refused, 4 when the time is up.
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
    connection: ConnectionArguments,
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
            let connection = arguments.connection.connect().await?;
            let awaited = [Awaited { name, goal }];
            let mut endings = wait_for(&connection, &awaited, Duration::from_secs(arguments.timeout)).await?;
            endings.remove(0)
        }
        // Nobody needs to be asked: it can never be published.
        Err(refusal) => Ending::Rejected { reason: refusal.reason },
    };
    Ok(tell(&arguments.name, &ending, arguments.json))
}

/// Prints what became of `name`.
pub fn tell(name: &str, ending: &Ending, as_json: bool) -> Outcome {
    let outcome = match ending {
        Ending::Published { .. } | Ending::Gone { .. } => Outcome::Done,
        Ending::Rejected { .. } => Outcome::Rejected,
        Ending::TimedOut { .. } => Outcome::TimedOut,
    };
    if as_json {
        let mut line = json!(ending);
        line["name"] = name.into();
        show::json(&line);
        return outcome;
    }
    match ending {
        Ending::Published { sha256, length, generation } => {
            say!("published {name}: generation {generation}, {}, sha256 {sha256}", show::bytes(*length));
        }
        Ending::Gone { generation } => say!("gone {name}: generation {generation}"),
        Ending::Rejected { reason } => complain!("rejected {name}: {reason}"),
        Ending::TimedOut { reason } => complain!("timed out {name}: {reason}"),
    }
    outcome
}
