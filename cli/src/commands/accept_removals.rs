//! `tufline accept-removals`: lets removals through that were held because they were many.

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

/// After so many lost races somebody else is accepting all the time.
const ATTEMPTS: usize = 8;

/// Lets removals of any number through for a while, and makes those that are held now. On AWS it needs an operator's keys.
#[derive(Debug, Args)]
pub struct Arguments {
    /// For how long, such as "15m" or "2 hours"; a day at most
    #[arg(long = "for", default_value = "15m", value_name = "TIME")]
    period: Lifetime,
    /// Print a line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    repository: EndpointsArguments,
}

/// Accepts them.
pub async fn run(arguments: Arguments) -> Result {
    ensure!(
        arguments.period.seconds() <= LONGEST_ACCEPTANCE,
        "--for refused: it is longer than a day, for which no stage accepts removals; choose less, and run it again then"
    );
    let repository = arguments.repository.open().await?;
    let store = repository.store()?;
    let published = ledger::published(&*store).await?.context("nothing is published yet")?;
    let manifest = ledger::manifest(&*store, published.generation).await?;
    let held = match (held_removals(&repository, &*store, &manifest).await, &repository) {
        // Where another folder is in the place of the uploads, that it is taken is what an operator accepts.
        (Err(_), Repository::Folder(_)) => BTreeSet::new(),
        (held, _) => held?,
    };
    let until = time::after(repository.clock().now(), arguments.period.seconds());
    accept(&*store, until).await?;
    let count = held.len();
    match &repository {
        Repository::Folder(folder) => _ = request::ask_and_wait(folder.data(), Request::Reconcile).await?,
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
    let record = ledger::pointer(Key::RemovalsAccepted, &RemovalsAccepted { format: RECORD_FORMAT, until })?;
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
