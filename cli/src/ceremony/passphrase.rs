//! Where a passphrase comes from: a file, the environment, or the person at the terminal.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use tufline_folder::{Passphrase, given};
use zeroize::Zeroizing;

use crate::process;
use crate::text::Quoted;

/// The environment variable with a passphrase.
const VARIABLE: &str = "TUFLINE_PASSPHRASE";

/// The first line of a passphrase file must be shorter than this, in bytes.
const MOST_BYTES: usize = 4096;

/// The arguments that say where the passphrase comes from.
#[derive(Debug, Args)]
pub struct PassphraseArguments {
    /// Read the passphrase, or a token's PIN, from the first line of FILE, such as /dev/fd/3,
    /// instead of asking for it. `TUFLINE_PASSPHRASE` works too, but more programs can see it
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

    /// A passphrase for a new key. A person types it twice; an empty one is refused.
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
        let Some(file) = &self.passphrase_file else {
            return Ok(process::variable(VARIABLE).map(Passphrase::new));
        };
        let text = first_line(file);
        let text =
            text.with_context(|| format!("cannot read the passphrase from {}", file.quoted()))?;
        Ok(Some(Passphrase::new(text)))
    }
}

/// The first line of a file. The buffer is wiped at the end, and it never grows: a reallocation
/// would leave a copy behind.
fn first_line(file: &Path) -> io::Result<String> {
    let mut text = Zeroizing::new(Vec::with_capacity(MOST_BYTES));
    let (mut file, _) = given::open_document(file)?;
    while text.len() < MOST_BYTES && !text.contains(&b'\n') {
        let begin = text.len();
        text.resize(MOST_BYTES, 0);
        let read = file.read(&mut text[begin..])?;
        text.truncate(begin + read);
        if read == 0 {
            break;
        }
    }
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.len() == MOST_BYTES {
        return Err(io::Error::other("its first line has more than 4096 bytes"));
    }
    std::str::from_utf8(line)
        .map(str::to_owned)
        .map_err(|_| io::Error::other("its first line is not UTF-8"))
}

fn prompt(question: &str) -> anyhow::Result<Passphrase> {
    let answer = rpassword::prompt_password(question);
    let answer = answer.context("no terminal to ask for the passphrase: give --passphrase-file")?;
    Ok(Passphrase::new(answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_the_passphrase() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("p");
        let long = "x".repeat(MOST_BYTES - 1);
        for (text, line) in
            [("", ""), ("a b", "a b"), ("a \r\nb\n", "a "), ("\nb", ""), (&long, &*long)]
        {
            std::fs::write(&file, text).unwrap();
            assert_eq!(first_line(&file).unwrap(), line);
        }
        std::fs::write(&file, format!("{}\n{long}{long}", "y".repeat(7))).unwrap();
        assert_eq!(first_line(&file).unwrap(), "yyyyyyy");
        for bad in [long.repeat(2).into_bytes(), vec![0xff]] {
            std::fs::write(&file, bad).unwrap();
            assert!(first_line(&file).is_err());
        }
    }
}
