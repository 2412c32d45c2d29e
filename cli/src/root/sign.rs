//! `tufline root sign`: one holder's signature.

use std::path::PathBuf;

use anyhow::{Context, anyhow};
use aws_lc_rs::rand::SystemRandom;
use clap::Args;
use tough::sign::Sign;
use tufline_folder::HolderKey;
use tufline_store::StoreError;
use tufline_tuf::root::{RootError, needed};

use super::document::{Document, DocumentArguments, now, write};
use super::key::open_kms;
use super::passphrase::PassphraseArguments;
use super::show;
use crate::outcome::{Outcome, Result};

/// Adds a signature to a root, in its file, after showing what it changes.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    document: DocumentArguments,
    /// The private key: PKCS#8 in PEM, with a passphrase or without (Ed25519, P-256, RSA of 3072 bits or more)
    #[arg(long, value_name = "PEM", required_unless_present = "kms_key")]
    key: Option<PathBuf>,
    /// A key in KMS: an ARN, or an id in `AWS_REGION`
    #[arg(long, value_name = "ARN", conflicts_with = "key")]
    kms_key: Option<String>,
    #[command(flatten)]
    passphrase: PassphraseArguments,
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
    let key: Box<dyn Sign> = match (&arguments.kms_key, &arguments.key) {
        (Some(id), _) => Box::new(open_kms(id).await?),
        (None, Some(path)) => {
            let ask = || {
                let asked = arguments.passphrase.ask(&path.display().to_string());
                asked.map_err(|error| StoreError::new("read", path.display(), format!("{error:#}")))
            };
            Box::new(HolderKey::open(path, ask)?)
        }
        (None, None) => return Err(anyhow!("give a key")),
    };
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
