//! `tufline serve`: answers devices from a repository bucket. Also the HTTP server of `tufline local`.

mod connections;
mod paced;
mod server;

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::bail;
use clap::Args;

use crate::connection::{Connection, ConnectionArguments};
use crate::edge::StopSignal;
use crate::outcome::{Outcome, Result};
use crate::show::say;

pub use server::Server;

/// Answers devices over HTTP from a repository on AWS.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    connection: ConnectionArguments,
    /// Address and port to listen on
    #[arg(long, default_value = "127.0.0.1:8081", value_name = "ADDRESS")]
    listen: SocketAddr,
}

/// Runs until it is told to stop.
pub async fn run(arguments: Arguments) -> Result {
    let Connection::Aws(aws) = arguments.connection.connect().await? else {
        bail!("a repository in a folder is served by the `tufline local` that runs it");
    };
    let store = aws.store()?;
    let blobs = Arc::new(aws.resources.blobs(&aws.clients, tufline_aws::CopyLimits::default())?);
    let server = Server::bind(arguments.listen).await?;
    let mut stop = StopSignal::take()?;
    say!("serving http://{}/metadata/ and http://{0}/targets/", server.address());
    server.run(store, blobs, async move { stop.wait().await }).await;
    Ok(Outcome::Done)
}
