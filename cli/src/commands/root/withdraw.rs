//! `tufline root withdraw`: tidies up after runs of `publish` that were killed.

use clap::Args;
use tufline_pipeline::operations::publish_root::withdraw_all;

use crate::exit::{Exit, Result};
use crate::repository::RepositoryArguments;
use crate::terminal::say;
use crate::text;

/// Gives up roots that somebody began to publish and didn't. Only when no `tufline root publish` runs anywhere.
///
/// A run that was killed leaves its root behind as an intent, under which everything that is shown must verify.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    repository: RepositoryArguments,
}

/// Withdraws them.
pub async fn run(arguments: Arguments) -> Result {
    let store = arguments.repository.open().await?.store()?;
    let count = withdraw_all(&*store).await?;
    say!("{} withdrawn", text::count(count as u64, "intent"));
    Ok(Exit::Done)
}
