//! A private key as an argument: in a file, in KMS, or in a token.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;
use tough::sign::Sign;
use tufline_folder::HolderKey;
use tufline_store::{ErrorKind, StoreError};
use tufline_token::{Token, TokenKey};

use super::passphrase::PassphraseArguments;
use super::public_keys::open_kms;
use crate::terminal::complain;
use crate::text::Quoted;

/// The arguments that name the key that signs.
#[derive(Debug, Args)]
pub struct SigningKeyArguments {
    /// The private key in PEM: PKCS#8, encrypted or not, or as openssl writes it (Ed25519, P-256,
    /// RSA)
    #[arg(long, value_name = "PEM", required_unless_present_any = ["kms_key", "pkcs11_key"])]
    key: Option<PathBuf>,
    /// A key in KMS: an ARN, or an id in `AWS_REGION`
    #[arg(long, value_name = "ARN", conflicts_with = "key")]
    kms_key: Option<String>,
    /// A key in a PKCS#11 token: `pkcs11:token=LABEL;object=LABEL?module-path=FILE` (RFC 7512); its
    /// PIN is asked for
    #[arg(long, value_name = "URI", conflicts_with_all = ["key", "kms_key"])]
    pkcs11_key: Option<String>,
    #[command(flatten)]
    passphrase: PassphraseArguments,
}

impl SigningKeyArguments {
    /// Opens the key, and asks for its passphrase or PIN if it needs one.
    pub async fn open(&self) -> anyhow::Result<Box<dyn Sign>> {
        Ok(match (&self.kms_key, &self.pkcs11_key, &self.key) {
            (Some(id), _, _) => Box::new(open_kms(id).await?),
            (None, Some(uri), _) => Box::new(unlock(uri, &self.passphrase)?),
            (None, None, Some(path)) => {
                let ask = || {
                    let asked = self.passphrase.ask(&path.quoted());
                    asked.map_err(|error| {
                        StoreError::from_source(ErrorKind::Invalid, "read", path.quoted(), error)
                    })
                };
                Box::new(HolderKey::open(path, ask)?)
            }
            (None, None, None) => return Err(anyhow!("give a key")),
        })
    }
}

/// Opens a key in a token with its PIN.
fn unlock(uri: &str, passphrase: &PassphraseArguments) -> anyhow::Result<TokenKey> {
    let token = Token::open(&uri.parse()?)?;
    if token.has_pad() {
        complain!("enter the PIN of token {} on the token or its reader", token.label());
        return Ok(token.unlock(None)?);
    }
    let pin = passphrase.pin(token.label())?;
    Ok(token.unlock(Some(pin.reveal()))?)
}
