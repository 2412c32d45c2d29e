//! `tufline root init`: the first root, unsigned, for the people who shall hold it.

use std::path::PathBuf;

use clap::Args;
use tufline_pipeline::operations::init::online_keys;
use tufline_pipeline::state::roots::expect_none;
use tufline_tuf::root::FirstRoot;

use super::document::{create, expect_absent, expiry};
use super::key::KeyArguments;
use super::place::{IdleFolder, Place, PlaceArguments};
use super::show;
use crate::outcome::{Outcome, Result};
use crate::show::Quoted;
use crate::show::{lines, say};

/// Makes the first root of a repository, unsigned, from the public keys of its holders and of the repository itself.
///
/// In the embedded form, `--data DIR` makes the folder and its online keys.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    keys: KeyArguments,
    /// How many of the keys must sign a root
    #[arg(long, value_name = "COUNT")]
    threshold: u64,
    /// For how long it is in force, or until when
    #[arg(long, default_value = "365 days", value_name = "TIME")]
    expires: String,
    /// Where the unsigned root goes
    #[arg(long, default_value = "1.root.json", value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    place: PlaceArguments,
}

/// Makes it.
pub async fn run(arguments: Arguments) -> Result {
    let Arguments { keys, threshold, expires, out, place } = arguments;
    expect_absent(&out)?;
    let (keys, expires) = (keys.read().await?, expiry(&expires)?);
    let place = place.find().await?;
    let make = |online| FirstRoot { keys, threshold, online, expires }.make();
    let file = match &place {
        Place::Folder(data) => {
            let folder = IdleFolder::make(data)?;
            expect_none(&*folder.store).await?;
            let file = make(online_keys(&folder.new_signer()?).await?)?;
            folder.wait()?;
            file
        }
        Place::Aws(aws) => {
            expect_none(&*place.store()?).await?;
            make(online_keys(&*Place::kms(aws)?).await?)?
        }
    };
    create(&out, &file)?;
    lines(&show::text(&file, None, None)?);
    say!("");
    say!("unsigned, in {}; whoever holds a key signs it with `tufline root sign`", out.quoted());
    Ok(Outcome::Done)
}
