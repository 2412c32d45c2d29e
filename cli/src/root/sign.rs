//! `tufline root sign`: one holder's signature.

use std::path::PathBuf;

use anyhow::{Context, anyhow};
use aws_lc_rs::rand::SystemRandom;
use clap::Args;
use tough::sign::Sign;
use tufline_folder::HolderKey;
use tufline_store::StoreError;
use tufline_token::{Token, TokenKey};
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
    #[arg(long, value_name = "PEM", required_unless_present_any = ["kms_key", "pkcs11_key"])]
    key: Option<PathBuf>,
    /// A key in KMS: an ARN, or an id in `AWS_REGION`
    #[arg(long, value_name = "ARN", conflicts_with = "key")]
    kms_key: Option<String>,
    /// A key in a PKCS#11 token: `pkcs11:token=LABEL;object=LABEL?module-path=FILE` (RFC 7512); its PIN is asked for
    #[arg(long, value_name = "URI", conflicts_with_all = ["key", "kms_key"])]
    pkcs11_key: Option<String>,
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
    let key: Box<dyn Sign> = match (&arguments.kms_key, &arguments.pkcs11_key, &arguments.key) {
        (Some(id), _, _) => Box::new(open_kms(id).await?),
        (None, Some(uri), _) => Box::new(unlock(uri, &arguments.passphrase)?),
        (None, None, Some(path)) => {
            let ask = || {
                let asked = arguments.passphrase.ask(&path.display().to_string());
                asked.map_err(|error| StoreError::new("read", path.display(), format!("{error:#}")))
            };
            Box::new(HolderKey::open(path, ask)?)
        }
        (None, None, None) => return Err(anyhow!("give a key")),
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

/// The key in a token, after its PIN.
fn unlock(uri: &str, passphrase: &PassphraseArguments) -> anyhow::Result<TokenKey> {
    let token = Token::open(&uri.parse()?)?;
    if token.has_pad() {
        eprintln!("enter the PIN of token {} on the token or its reader", token.label());
        return Ok(token.unlock(None)?);
    }
    let pin = passphrase.pin(token.label())?;
    Ok(token.unlock(Some(pin.reveal()))?)
}
