//! `tufline serve`: serves devices from a repository bucket.

use std::net::SocketAddr;

use anyhow::bail;
use clap::Args;

use crate::exit::{Exit, Result};
use crate::process::StopSignal;
use crate::repository::{EndpointsArguments, Repository};
use crate::server::Server;
use crate::terminal::say;

/// Serves a repository on AWS to devices over HTTP.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    repository: EndpointsArguments,
    /// The address and port on which to listen
    #[arg(long, default_value = "127.0.0.1:8081", value_name = "ADDRESS")]
    listen: SocketAddr,
}

/// Runs until a signal stops it.
pub async fn run(arguments: Arguments) -> Result {
    let repository = arguments.repository.open().await?;
    let Repository::Aws(_) = repository else {
        bail!("a repository in a folder is served by the `tufline local` that runs it");
    };
    let (store, blobs, chunks) = (repository.store()?, repository.blobs()?, repository.chunks()?);
    let server = Server::bind(arguments.listen).await?;
    let mut stop = StopSignal::take()?;
    say!("serving http://{}/metadata/ and http://{0}/targets/", server.address());
    server.run(store, blobs, chunks, async move { stop.wait().await }).await;
    Ok(Exit::Done)
}
