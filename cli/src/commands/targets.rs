//! `tufline targets`: the top-level targets role, if people sign it.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::json;
use tufline_folder::given;
use tufline_pipeline::operations::offline_targets;
use tufline_pipeline::operations::offline_targets::ToSign;
use tufline_tuf::RoleName;

use crate::ceremony::{RoleFile, SigningKeyArguments, expect_absent, parse_expiry};
use crate::exit::{Exit, Result};
use crate::process::now;
use crate::repository::RepositoryArguments;
use crate::terminal::{self, say};
use crate::text::Quoted;

/// Makes, signs and publishes the top-level targets document, if the configuration sets
/// `offline_targets`.
///
/// docs/offline-targets.md shows every step.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Next(NextArguments),
    Sign(SignArguments),
    Publish(PublishArguments),
}

/// Makes the next document, unsigned, for people to sign. On AWS it needs an operator's
/// credentials.
///
/// During a rotation of the bins' key it makes two documents, targets.json and targets.2.json.
/// People sign both; publish the second when the new key has signed all bins.
#[derive(Debug, Args)]
struct NextArguments {
    /// When it expires: a time, or how long from now
    #[arg(long, default_value = "365 days", value_name = "TIME")]
    expires: String,
    /// Where to write it
    #[arg(long, default_value = "targets.json", value_name = "targets.json")]
    out: PathBuf,
    #[command(flatten)]
    repository: RepositoryArguments,
}

/// Adds a signature to a document's file.
#[derive(Debug, Args)]
struct SignArguments {
    /// The document's file
    #[arg(default_value = "targets.json", value_name = "targets.json")]
    file: PathBuf,
    #[command(flatten)]
    key: SigningKeyArguments,
}

/// Publishes a document that has enough signatures.
#[derive(Debug, Args)]
struct PublishArguments {
    /// The document's file
    #[arg(default_value = "targets.json", value_name = "targets.json")]
    file: PathBuf,
    /// Print a line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    repository: RepositoryArguments,
}

pub async fn run(arguments: Arguments) -> Result {
    match arguments.command {
        Command::Next(arguments) => make_next(arguments).await,
        Command::Sign(SignArguments { file, key }) => {
            let role = RoleName::targets();
            let document = RoleFile::read(&role, &file)?
                .with_context(|| format!("{} does not exist", file.quoted()))?;
            document.sign(&role, &file, &key).await?;
            Ok(Exit::Done)
        }
        Command::Publish(arguments) => publish(arguments).await,
    }
}

async fn make_next(arguments: NextArguments) -> Result {
    let NextArguments { expires, out, repository } = arguments;
    let second = out.with_extension("2.json");
    expect_absent(&out)?;
    expect_absent(&second)?;
    let expires = parse_expiry(&expires)?;
    let repository = repository.open().await?;
    let (store, signer) = (repository.store()?, repository.signer()?);
    let ToSign { next, last } =
        offline_targets::next(&*store, &*signer, &repository.config()?, now(), expires).await?;
    for (draft, path) in [(Some(next), &out), (last.clone(), &second)] {
        let Some(draft) = draft else { continue };
        RoleFile::unsigned(draft.document().clone()).write(path)?;
        say!("targets version {}, unsigned, in {}", draft.document().version, path.quoted());
    }
    say!("the holders of the targets role's keys sign it with `tufline targets sign`");
    if last.is_some() {
        let (first, second) = (out.quoted(), second.quoted());
        say!(
            "the key of the bins is being replaced: sign both, publish {first} now, and {second} \
             when `tufline key rotate bins` says signed"
        );
    }
    Ok(Exit::Done)
}

async fn publish(arguments: PublishArguments) -> Result {
    let bytes = given::read(&arguments.file)
        .with_context(|| format!("cannot read {}", arguments.file.quoted()))?;
    let repository = arguments.repository.open().await?;
    let (store, signer) = (repository.store()?, repository.signer()?);
    let generation =
        offline_targets::publish(&*store, &*signer, &repository.config()?, now(), bytes.into())
            .await?;
    let next = repository.wake(Vec::new()).await?;
    if arguments.json {
        terminal::json(&json!({"outcome": "published", "generation": generation}));
    } else {
        say!("targets goes out with generation {generation}{next}");
    }
    Ok(Exit::Done)
}
