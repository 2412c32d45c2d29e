//! The first generation of a repository on AWS, which its functions sign and publish.

use std::time::Duration;

use anyhow::bail;
use tokio::time::{Instant, sleep};
use tufline_pipeline::state::ledger;
use tufline_store::Store;

/// How long sign and publish may take for the first generation.
const PATIENCE: Duration = Duration::from_mins(1);

/// The pause between two checks.
const PAUSE: Duration = Duration::from_millis(100);

/// Waits until a generation is published; returns its number.
pub async fn wait_for_first_generation(store: &dyn Store) -> anyhow::Result<u64> {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(published) = ledger::published(store).await? {
            return Ok(published.generation);
        }
        if Instant::now() >= until {
            bail!(
                "the first generation was made, but is not published after {} s: look at the logs \
                 of sign and publish",
                PATIENCE.as_secs()
            );
        }
        sleep(PAUSE).await;
    }
}
