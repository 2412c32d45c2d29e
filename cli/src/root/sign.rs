//! `tufline root sign`: one holder's signature.

use anyhow::{Context, anyhow};
use aws_lc_rs::rand::SystemRandom;
use clap::Args;
use tufline_tuf::root::{RootError, needed};

use super::document::{Document, DocumentArguments, now, write};
use super::show;
use super::signing_key::SigningKeyArguments;
use crate::outcome::{Outcome, Result};

/// Adds a signature to a root, in its file, after showing what it changes.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    document: DocumentArguments,
    #[command(flatten)]
    key: SigningKeyArguments,
}

/// Signs.
pub async fn run(arguments: Arguments) -> Result {
    let Document { path, mut file, previous } = arguments.document.open()?;
    let previous = previous.as_ref();
    if file.root().expires <= now() {
        return Err(RootError::Expired(file.root().expires).into());
    }
    // Before the passphrase is asked for: whoever signs shall know what.
    println!("{}", show::text(&file, previous)?);
    let key = arguments.key.open().await?;
    file.expect_signer(&key.tuf_key(), previous)?;
    let signature = key.sign(&file.message()?, &SystemRandom::new()).await;
    let signature = signature.map_err(|error| anyhow!("{error}")).context("the key does not sign")?;
    file.add_signature(&key.tuf_key(), &signature, previous)?;
    write(&path, &file)?;
    let missing = match needed(&file, previous) {
        0 => "enough to be published with `tufline root publish`".to_owned(),
        needed => format!("at least {} still missing", crate::show::count(needed, "signature")),
    };
    println!("signed in {}: {missing}", path.display());
    Ok(Outcome::Done)
}
