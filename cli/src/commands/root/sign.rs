//! `tufline root sign`: one holder's signature.

use anyhow::{Context, anyhow};
use aws_lc_rs::rand::SystemRandom;
use clap::Args;
use tough::schema::RoleType;
use tough::schema::Root;
use tough::schema::key::Key;
use tufline_tuf::root::{RootError, expect_plain, needed, same_key};

use super::show;
use crate::ceremony::{RootDocument, RootDocumentArguments, SigningKeyArguments, write};
use crate::exit::{Exit, Result};
use crate::process::now;
use crate::repository::RepositoryArguments;
use crate::terminal::{expect_shown, lines, say};
use crate::text::{self, Quoted};

/// Adds a signature to a root file, after showing what the root changes.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    document: RootDocumentArguments,
    #[command(flatten)]
    key: SigningKeyArguments,
    #[command(flatten)]
    repository: RepositoryArguments,
}

pub async fn run(arguments: Arguments) -> Result {
    let document = arguments.document.open()?;
    let published = document.compare_with(&arguments.repository).await?;
    let shown = show::describe(&document.file, document.previous.as_ref(), published)?;
    let RootDocument { path, mut file, previous } = document;
    let previous = previous.as_ref().map(|previous| &previous.root);
    expect_plain(file.root())?;
    if file.root().expires <= now() {
        return Err(RootError::Expired(file.root().expires).into());
    }
    // Shown before it asks for the passphrase, so that the signer knows what they sign.
    lines(&shown);
    say!("");
    expect_shown()?;
    let key = arguments.key.open().await?;
    let public = key.tuf_key();
    file.expect_signer(&public, previous)?;
    if let Some(previous) = previous {
        let known = if holds(previous, &public) { "is listed" } else { "is NOT listed" };
        say!(
            "the signing key {known} in version {} of the root, with which this one was compared",
            previous.version
        );
    }
    let signature = key.sign(&file.message()?, &SystemRandom::new()).await;
    let signature =
        signature.map_err(|error| anyhow!("{error}")).context("the key does not sign")?;
    file.add_signature(&public, &signature, previous)?;
    write(&path, &file)?;
    let missing = match needed(&file, previous) {
        0 => "enough to be published with `tufline root publish`".to_owned(),
        needed => format!("at least {} still missing", text::count(needed, "signature")),
    };
    say!("signed in {}: {missing}", path.quoted());
    Ok(Exit::Done)
}

/// Whether `key` is one of the root's own keys.
fn holds(root: &Root, key: &Key) -> bool {
    let ids =
        root.roles.get(&RoleType::Root).map(|entry| entry.keyids.as_slice()).unwrap_or_default();
    ids.iter().filter_map(|id| root.keys.get(id)).any(|known| same_key(known, key))
}
