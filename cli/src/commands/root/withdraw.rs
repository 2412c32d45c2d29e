//! `tufline root withdraw`: cleans up after runs of `publish` that were killed.

use clap::Args;
use tufline_pipeline::operations::publish_root::withdraw_all;

use crate::exit::{Exit, Result};
use crate::repository::RepositoryArguments;
use crate::terminal::say;
use crate::text;

/// Withdraws roots whose publication was begun but never finished. Run it only while no `tufline
/// root publish` runs anywhere.
///
/// A killed run leaves its root behind as an intent, and everything that is published must verify
/// under it.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    repository: RepositoryArguments,
}

pub async fn run(arguments: Arguments) -> Result {
    let store = arguments.repository.open().await?.store()?;
    let count = withdraw_all(&*store).await?;
    say!("{} withdrawn", text::count(count as u64, "intent"));
    Ok(Exit::Done)
}
