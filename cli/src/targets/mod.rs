//! `tufline targets`: the top-level targets role, where people sign it.

pub mod document;

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::json;
use tufline_pipeline::operations::offline_targets;
use tufline_pipeline::operations::offline_targets::ToSign;
use tufline_tuf::RoleName;

use self::document::RoleFile;
use crate::outcome::{Outcome, Result};
use crate::root::document::{expect_absent, expiry, now};
use crate::root::place::PlaceArguments;
use crate::root::signing_key::SigningKeyArguments;
use crate::show::Quoted;
use crate::show::{self, say};
use tufline_folder::given;

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
///
/// While the key of the bins is replaced it makes two, targets.json and targets.2.json: people sign both, and the second is published
/// when all bins are signed by the new key.
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
            let role = RoleName::targets();
            let document = RoleFile::read(&role, &file)?.with_context(|| format!("{} is not there", file.quoted()))?;
            document.sign(&role, &file, &key).await?;
            Ok(Outcome::Done)
        }
        Command::Publish(arguments) => publish(arguments).await,
    }
}

async fn next(arguments: Next) -> Result {
    let Next { expires, out, place } = arguments;
    let second = out.with_extension("2.json");
    expect_absent(&out)?;
    expect_absent(&second)?;
    let expires = expiry(&expires)?;
    let place = place.find().await?;
    let (store, signer) = (place.store()?, place.signer()?);
    let ToSign { next, last } = offline_targets::next(&*store, &*signer, &place.config()?, now(), expires).await?;
    for (draft, path) in [(Some(next), &out), (last.clone(), &second)] {
        let Some(draft) = draft else { continue };
        RoleFile::unsigned(draft.document().clone()).write(path)?;
        say!("targets version {}, unsigned, in {}", draft.document().version, path.quoted());
    }
    say!("who holds a key of the targets role signs it with `tufline targets sign`");
    if last.is_some() {
        let (first, second) = (out.quoted(), second.quoted());
        say!(
            "the key of the bins is being replaced: sign both, publish {first}, and {second} when `tufline key rotate bins` says \
             signed"
        );
    }
    Ok(Outcome::Done)
}

async fn publish(arguments: Publish) -> Result {
    let bytes = given::read(&arguments.file).with_context(|| format!("cannot read {}", arguments.file.quoted()))?;
    let place = arguments.place.find().await?;
    let (store, signer) = (place.store()?, place.signer()?);
    let generation = offline_targets::publish(&*store, &*signer, &place.config()?, now(), bytes.into()).await?;
    let next = place.wake(Vec::new()).await?;
    if arguments.json {
        show::json(&json!({"outcome": "published", "generation": generation}));
    } else {
        say!("targets goes out with generation {generation}{next}");
    }
    Ok(Outcome::Done)
}
