//! `tufline root keygen`: a key for somebody who shall hold one.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use tufline_folder::{HolderKey, KeyKind};
use tufline_tuf::root::{key_id, to_pem};

use crate::ceremony::PassphraseArguments;
use crate::exit::{Exit, Result};
use crate::files;
use crate::terminal::say;
use crate::text::{self, Quoted};

/// Makes a root key: the private part in OUT, encrypted with a passphrase; the public part beside it, ending in .pub.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Where the private key goes; it must not be there yet
    #[arg(long, value_name = "OUT")]
    out: PathBuf,
    /// Ed25519
    #[arg(long, conflicts_with = "p256")]
    ed25519: bool,
    /// ECDSA on P-256 [default]
    #[arg(long)]
    p256: bool,
    #[command(flatten)]
    passphrase: PassphraseArguments,
}

/// Makes it.
pub fn run(arguments: &Arguments) -> Result {
    let (private, public) = (std::path::absolute(&arguments.out)?, arguments.out.with_extension("pub"));
    let public = std::path::absolute(public)?;
    for path in [&private, &public] {
        if path.exists() {
            bail!("{} is there already: no key was made", path.quoted());
        }
    }
    let passphrase = arguments.passphrase.choose()?;
    let kind = if arguments.ed25519 { KeyKind::Ed25519 } else { KeyKind::P256 };
    let key = HolderKey::generate(&private, kind, &passphrase)?.public_key();
    files::write(&public, to_pem(&key).as_bytes())?;
    say!("key {} in {}", text::short(&hex::encode(key_id(&key)?)), private.quoted());
    say!("hand out {}; the private key stays with its holder, with a copy in another place", public.quoted());
    Ok(Exit::Done)
}
