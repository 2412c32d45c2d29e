//! `tufline chunk`: has targets cut that have no chunks yet.

use anyhow::{Context, bail};
use clap::Args;
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::json;
use tufline_chunk::request as chunk_request;
use tufline_chunks::is_cut;
use tufline_pipeline::state::listed_blobs::listed_blobs;
use tufline_store::Chunks;

use crate::exit::{Exit, Result};
use crate::repository::{AwsRepository, EndpointsArguments, Repository, Request, request};
use crate::terminal::{self, say};
use crate::text::{self, Quoted};

/// How many targets are checked and requested at once.
const AT_ONCE: usize = 32;

/// Cuts every target that has no chunks yet: after chunks were turned on, or if some were lost. On
/// AWS it needs an operator's credentials.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Print a line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    repository: EndpointsArguments,
}

pub async fn run(arguments: Arguments) -> Result {
    let asked = match arguments.repository.open().await? {
        Repository::Folder(folder) => {
            if !folder.config()?.chunks {
                let file = folder.data().join("config.toml");
                bail!(
                    "no targets are cut: set `chunks = true` in {}, and start `tufline local` again",
                    file.quoted()
                );
            }
            request::ask_and_wait(folder.data(), Request::Chunk).await?
        }
        Repository::Aws(aws) => ask_on_aws(&aws).await?,
    };
    if arguments.json {
        terminal::json(&json!({"outcome": "asked", "targets": asked}));
    } else {
        say!("{} will be cut", text::count(asked as u64, "target"));
    }
    Ok(Exit::Done)
}

/// Requests the chunks of all listed targets that have none; returns how many targets those are.
async fn ask_on_aws(aws: &AwsRepository) -> anyhow::Result<usize> {
    let queue = aws.resources.chunk_queue(&aws.clients);
    let queue =
        queue.context("no targets are cut: deploy with the prop `chunks` (docs/deploy-more.md#images-by-difference)")?;
    let chunks = aws.resources.chunks(&aws.clients)?;
    let (queue, chunks) = (&queue, &chunks);
    let blobs = listed_blobs(&*aws.store()?).await?;
    let cut = blobs.into_iter().filter(|(_, length)| is_cut(*length));
    let asks = cut.map(|(blob, _)| async move {
        let is_there = chunks.length(&blob).await?.is_some();
        if !is_there {
            queue.send(chunk_request(blob)?).await?;
        }
        anyhow::Ok(usize::from(!is_there))
    });
    let asks = stream::iter(asks.collect::<Vec<_>>()).buffer_unordered(AT_ONCE);
    asks.try_fold(0, |sum, one| async move { Ok(sum + one) }).await
}
