//! `tufline init`: the first root and the first generation of a repository on AWS.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use tokio::time::{Instant, sleep};
use tufline_folder::KeyFile;
use tufline_pipeline::operations::init;
use tufline_pipeline::state::ledger;
use tufline_pipeline::state::roots;
use tufline_store::{Key, Store};
use tufline_tuf::generation::FirstBins;

use crate::connection::{Connection, ConnectionArguments};
use crate::outcome::{Outcome, Result};
use crate::show::Quoted;
use crate::show::say;
use crate::{files, inside};

/// How long sign and publish may take for the first generation.
const PATIENCE: Duration = Duration::from_mins(1);

/// How often it is looked for.
const PAUSE: Duration = Duration::from_millis(100);

/// Makes the first root and the first generation of a repository on AWS.
///
/// Harmless where that is done. The online keys are named by `TUFLINE_KEY_TARGETS`, _BINS, _SNAPSHOT and _TIMESTAMP.
#[derive(Debug, Args)]
pub struct Arguments {
    /// With a root of one key, in the file DIR/root.pem: for development and tests only
    #[arg(long, required = true)]
    development: bool,
    /// Where to leave the root's key and the trusted root, DIR/root.json
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Into how many bins it is split from the start: 1, 16, 256 or 4096. It splits further by itself
    #[arg(long, default_value = "1", value_name = "NUMBER")]
    bins: FirstBins,
    #[command(flatten)]
    connection: ConnectionArguments,
}

/// Initializes it, and waits until it is published.
pub async fn run(arguments: Arguments) -> Result {
    let Connection::Aws(aws) = arguments.connection.connect().await? else {
        bail!("a repository in a folder is initialized when `tufline local` first starts");
    };
    let data = &arguments.data;
    std::fs::create_dir_all(data).with_context(|| format!("cannot make {}", data.quoted()))?;
    let data = std::path::absolute(data)?;
    let root_key = KeyFile::generate(&data.join("root.pem"))?;
    let signer = Arc::new(aws.resources.signer(&aws.clients)?);
    let ports = inside::ports(&aws, signer)?;
    init::init(&ports, &root_key, arguments.bins).await?;
    wait(&*ports.store).await?;
    let missing = || format!("{} is missing: restore it", Key::root(ports.store.first_root()));
    let root = roots::first(&*ports.store).await?.with_context(missing)?;
    let file = data.join("root.json");
    files::write(&file, &root.bytes)?;
    say!("initialized; devices ship with {}", file.quoted());
    Ok(Outcome::Done)
}

/// Waits until the first generation is published; answers which one is.
pub async fn wait(store: &dyn Store) -> anyhow::Result<u64> {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(published) = ledger::published(store).await? {
            return Ok(published.generation);
        }
        if Instant::now() >= until {
            bail!(
                "the first generation was made, but is not published after {} s: look at the logs of sign and publish",
                PATIENCE.as_secs()
            );
        }
        sleep(PAUSE).await;
    }
}
