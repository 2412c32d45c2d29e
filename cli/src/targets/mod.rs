//! `tufline targets`: the top-level targets role, where people sign it.

pub mod document;

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use serde_json::json;
use tufline_functions::offline_targets;

use self::document::RoleFile;
use crate::outcome::{Outcome, Result};
use crate::root::document::{expect_absent, expiry, now};
use crate::root::place::PlaceArguments;
use crate::root::signing_key::SigningKeyArguments;

/// Makes, signs and publishes the top-level targets document, where the configuration says `offline_targets`.
///
/// docs/keys.md has the whole way.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Next(Next),
    Sign(Sign),
    Publish(Publish),
}

/// Makes the next document, unsigned, for the people who sign it. On AWS it needs an operator's keys.
#[derive(Debug, Args)]
struct Next {
    /// For how long it is in force, or until when
    #[arg(long, default_value = "365 days", value_name = "TIME")]
    expires: String,
    /// Where it goes
    #[arg(long, default_value = "targets.json", value_name = "targets.json")]
    out: PathBuf,
    #[command(flatten)]
    place: PlaceArguments,
}

/// Adds a signature to a document, in its file.
#[derive(Debug, Args)]
struct Sign {
    /// The document's file
    #[arg(default_value = "targets.json", value_name = "targets.json")]
    file: PathBuf,
    #[command(flatten)]
    key: SigningKeyArguments,
}

/// Publishes a document that enough people signed.
#[derive(Debug, Args)]
struct Publish {
    /// The document's file
    #[arg(default_value = "targets.json", value_name = "targets.json")]
    file: PathBuf,
    /// Print a line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArguments,
}

/// Runs the one that was asked for.
pub async fn run(arguments: Arguments) -> Result {
    match arguments.command {
        Command::Next(arguments) => next(arguments).await,
        Command::Sign(Sign { file, key }) => {
            let document = RoleFile::read(&file)?.with_context(|| format!("{} is not there", file.display()))?;
            document.sign(&file, &key).await?;
            Ok(Outcome::Done)
        }
        Command::Publish(arguments) => publish(arguments).await,
    }
}

async fn next(arguments: Next) -> Result {
    let Next { expires, out, place } = arguments;
    expect_absent(&out)?;
    if document::role(&out)?.as_str() != "targets" {
        bail!("{} must be called targets.json", out.display());
    }
    let expires = expiry(&expires)?;
    let place = place.find().await?;
    let draft = offline_targets::next(&*place.store()?, &place.config()?, now(), expires).await?;
    RoleFile::unsigned(draft.document().clone()).write(&out)?;
    println!("targets version {}, unsigned, in {}", draft.document().version, out.display());
    println!("who holds a key of the targets role signs it with `tufline targets sign`");
    Ok(Outcome::Done)
}

async fn publish(arguments: Publish) -> Result {
    let bytes = std::fs::read(&arguments.file).with_context(|| format!("cannot read {}", arguments.file.display()))?;
    let place = arguments.place.find().await?;
    let generation = offline_targets::publish(&*place.store()?, &place.config()?, now(), bytes.into()).await?;
    let next = place.wake(Vec::new()).await?;
    if arguments.json {
        println!("{}", json!({"outcome": "published", "generation": generation}));
    } else {
        println!("targets goes out with generation {generation}{next}");
    }
    Ok(Outcome::Done)
}
