//! Where a passphrase comes from: a file, the environment, or the person at the terminal.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use tufline_folder::Passphrase;
use zeroize::Zeroizing;

use crate::edge;

/// The environment variable with a passphrase.
const VARIABLE: &str = "TUFLINE_PASSPHRASE";

/// Where the passphrase comes from.
#[derive(Debug, Args)]
pub struct PassphraseArguments {
    /// Take the passphrase, or a token's PIN, from the first line of FILE, such as /dev/fd/3, instead of asking for it. `TUFLINE_PASSPHRASE` works
    /// too, but more programs can see it
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

impl PassphraseArguments {
    /// The passphrase for an existing key.
    pub fn ask(&self, key: &str) -> anyhow::Result<Passphrase> {
        match self.given()? {
            Some(passphrase) => Ok(passphrase),
            None => prompt(&format!("Passphrase of {key}: ")),
        }
    }

    /// The PIN of a token.
    pub fn pin(&self, token: &str) -> anyhow::Result<Passphrase> {
        match self.given()? {
            Some(pin) => Ok(pin),
            None => prompt(&format!("PIN of token {token}: ")),
        }
    }

    /// A passphrase for a new key: asked for twice, and never empty.
    pub fn choose(&self) -> anyhow::Result<Passphrase> {
        let passphrase = if let Some(passphrase) = self.given()? {
            passphrase
        } else {
            let passphrase = prompt("A passphrase for the new key: ")?;
            if prompt("The same again: ")? != passphrase {
                bail!("the two passphrases differ: no key was made");
            }
            passphrase
        };
        if passphrase.is_empty() {
            bail!("an empty passphrase protects nothing: no key was made");
        }
        Ok(passphrase)
    }

    fn given(&self) -> anyhow::Result<Option<Passphrase>> {
        let Some(file) = &self.passphrase_file else { return Ok(edge::variable(VARIABLE).map(Passphrase::new)) };
        let text = std::fs::read_to_string(file).map(Zeroizing::new);
        let text = text.with_context(|| format!("cannot read the passphrase from {}", file.display()))?;
        Ok(Some(Passphrase::new(text.lines().next().unwrap_or_default().to_owned())))
    }
}

fn prompt(question: &str) -> anyhow::Result<Passphrase> {
    let answer = rpassword::prompt_password(question);
    let answer = answer.context("there is no terminal to ask for the passphrase: give --passphrase-file")?;
    Ok(Passphrase::new(answer))
}
