//! `tufline root keygen`: makes a key for a root holder.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use tufline_folder::{HolderKey, KeyKind};
use tufline_tuf::root::{key_id, short_id, to_pem};

use crate::ceremony::PassphraseArguments;
use crate::exit::{Exit, Result};
use crate::files;
use crate::terminal::say;
use crate::text::Quoted;

/// Makes a root key: the private key in OUT, encrypted with a passphrase, and the public key beside
/// it, ending in .pub.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Where to write the private key; the file must not exist yet
    #[arg(long, value_name = "OUT")]
    out: PathBuf,
    /// Make an Ed25519 key
    #[arg(long, conflicts_with = "p256")]
    ed25519: bool,
    /// Make an ECDSA key on P-256 [default]
    #[arg(long)]
    p256: bool,
    #[command(flatten)]
    passphrase: PassphraseArguments,
}

pub fn run(arguments: &Arguments) -> Result {
    let (private, public) =
        (std::path::absolute(&arguments.out)?, arguments.out.with_extension("pub"));
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
    say!("key {} in {}", short_id(&key_id(&key)?), private.quoted());
    say!(
        "hand out {}; its holder keeps the private key, and a copy of it in another place",
        public.quoted()
    );
    Ok(Exit::Done)
}
