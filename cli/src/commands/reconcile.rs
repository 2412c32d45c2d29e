//! `tufline reconcile`: has the pipeline check every upload again, which repairs whatever got lost.

use std::collections::BTreeMap;
use std::sync::Arc;

use clap::Args;
use serde_json::json;
use tufline_aws::KmsSigner;
use tufline_pipeline::stages::reconcile;

use crate::exit::{Exit, Result};
use crate::repository::{EndpointsArguments, Repository, Request, request};
use crate::terminal::{self, say};
use crate::text;

/// Checks every upload again, and every published target whose upload is gone. On AWS it needs an
/// operator's credentials.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Print a line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    repository: EndpointsArguments,
}

pub async fn run(arguments: Arguments) -> Result {
    let hints = match arguments.repository.open().await? {
        Repository::Folder(folder) => {
            request::ask_and_wait(folder.data(), Request::Reconcile).await?
        }
        Repository::Aws(aws) => {
            // Reconciling signs nothing, so it needs no keys.
            let signer = KmsSigner::new(aws.clients.kms(), BTreeMap::new());
            reconcile(&aws.ports(Arc::new(signer))?).await?
        }
    };
    if arguments.json {
        terminal::json(&json!({"outcome": "reconciled", "hints": hints}));
    } else {
        say!("{} will be checked again", text::count(hints as u64, "upload"));
    }
    Ok(Exit::Done)
}
