//! `tufline reconcile`: every upload is looked at again, so that whatever got lost comes back.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use serde_json::json;
use tokio::time::{Instant, sleep};
use tufline_aws::KmsSigner;
use tufline_pipeline::stages::reconcile;

use crate::connection::{Connection, ConnectionArguments};
use crate::local::request;
use crate::outcome::{Outcome, Result};
use crate::show::Quoted;
use crate::show::say;
use crate::{inside, show};

/// How long the running process may take: it looks for requests every second, and reads the whole folder then.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often its answer is looked for.
const PAUSE: Duration = Duration::from_millis(50);

/// Has every upload looked at again, and every published target whose upload is gone. On AWS it needs an operator's keys.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Print a line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArguments,
}

/// Asks for it.
pub async fn run(arguments: Arguments) -> Result {
    let hints = match arguments.connection.connect().await? {
        Connection::Folder(endpoints) => ask(endpoints.data()?).await?,
        Connection::Aws(aws) => {
            // It signs nothing.
            let signer = KmsSigner::new(aws.clients.kms(), BTreeMap::new());
            reconcile(&inside::ports(&aws, Arc::new(signer))?).await?
        }
    };
    if arguments.json {
        show::json(&json!({"outcome": "reconciled", "hints": hints}));
    } else {
        say!("{} will be looked at again", show::count(hints as u64, "upload"));
    }
    Ok(Outcome::Done)
}

/// Asks the process that runs the repository in `data`; answers how many uploads it looks at.
pub async fn ask(data: &Path) -> anyhow::Result<usize> {
    request::ask(data)?;
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(hints) = request::take_answer(data)? {
            return Ok(hints);
        }
        if Instant::now() >= until {
            request::withdraw(data)?;
            bail!("no `tufline local` answers in {}: start it, which reconciles as well", data.quoted());
        }
        sleep(PAUSE).await;
    }
}
