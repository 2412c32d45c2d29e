//! `tufline accept-removals`: lets removals through that were held because there were too many at
//! once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::Args;
use serde_json::json;
use tufline_pipeline::state::ledger;
use tufline_pipeline::state::records::LONGEST_ACCEPTANCE;
use tufline_pipeline::state::records::RECORD_FORMAT;
use tufline_pipeline::state::records::RemovalsAccepted;
use tufline_store::{Hint, Key, Message, Queues, Store, Written};
use tufline_tuf::config::Lifetime;
use tufline_tuf::{Time, time};

use crate::exit::{Exit, Result};
use crate::health::held_removals;
use crate::repository::{EndpointsArguments, Repository, Request, request};
use crate::terminal::{self, say};
use crate::text;

/// How often the record's write is tried. Only a concurrent `accept-removals` makes an attempt
/// fail.
const ATTEMPTS: usize = 8;

/// Accepts any number of removals for a while, and carries out those that are held now. On AWS it
/// needs an operator's credentials.
#[derive(Debug, Args)]
pub struct Arguments {
    /// How long, such as "15m" or "2 hours"; a day at most
    #[arg(long = "for", default_value = "15m", value_name = "TIME")]
    period: Lifetime,
    /// Print a line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    repository: EndpointsArguments,
}

pub async fn run(arguments: Arguments) -> Result {
    ensure!(
        arguments.period.seconds() <= LONGEST_ACCEPTANCE,
        "--for refused: removals are accepted for a day at most; give a shorter time, and run this \
         again after it"
    );
    let repository = arguments.repository.open().await?;
    let store = repository.store()?;
    let published = ledger::published(&*store).await?.context("nothing is published yet")?;
    let manifest = ledger::manifest(&*store, published.generation).await?;
    let held = match (held_removals(&repository, &*store, &manifest).await, &repository) {
        // If another folder is now in the place of the uploads, the operator accepts that folder.
        (Err(_), Repository::Folder(_)) => BTreeSet::new(),
        (held, _) => held?,
    };
    let until = time::after(repository.clock().now(), arguments.period.seconds());
    accept(&*store, until).await?;
    let count = held.len();
    match &repository {
        Repository::Folder(folder) => {
            _ = request::ask_and_wait(folder.data(), Request::Reconcile).await?;
        }
        Repository::Aws(aws) => {
            let queues: Arc<dyn Queues> = Arc::new(aws.resources.queues(&aws.clients)?);
            let hints = held.into_iter().map(|name| Hint { name, removed: true, version: None });
            for message in Message::uploads(hints.collect()) {
                queues.send(&message, Duration::ZERO).await?;
            }
        }
    }
    if arguments.json {
        terminal::json(&json!({"outcome": "accepted", "until": until, "held": count}));
    } else {
        say!(
            "removals of any number are accepted until {until}, with {} now",
            text::count(count as u64, "held removal")
        );
    }
    Ok(Exit::Done)
}

async fn accept(store: &dyn Store, until: Time) -> anyhow::Result<()> {
    let record =
        ledger::pointer(Key::RemovalsAccepted, &RemovalsAccepted { format: RECORD_FORMAT, until })?;
    for _ in 0..ATTEMPTS {
        let written = match store.get(&Key::RemovalsAccepted).await? {
            Some(stored) => store.replace(&record, &stored.tag).await?,
            None => store.create(&record).await?,
        };
        if written == Written::Done {
            return Ok(());
        }
    }
    bail!("others accept removals at the same time: try again")
}
