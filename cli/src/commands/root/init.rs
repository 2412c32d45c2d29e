//! `tufline root init`: makes the first root, unsigned, for its holders to sign.

use std::path::PathBuf;

use clap::Args;
use tufline_pipeline::operations::init::online_keys;
use tufline_pipeline::state::roots::expect_none;
use tufline_tuf::root::FirstRoot;

use super::show;
use crate::ceremony::{KeyArguments, create, expect_absent, parse_expiry};
use crate::exit::{Exit, Result};
use crate::repository::{IdleFolder, Repository, RepositoryArguments};
use crate::terminal::{lines, say};
use crate::text::Quoted;

/// Makes the first root of a repository, unsigned, from its holders' public keys and the
/// repository's online keys.
///
/// In the embedded form, `--data DIR` makes the folder and its online keys.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    keys: KeyArguments,
    /// How many of the keys must sign a root
    #[arg(long, value_name = "COUNT")]
    threshold: u64,
    /// When the root expires: a time, or how long from now
    #[arg(long, default_value = "365 days", value_name = "TIME")]
    expires: String,
    /// Where to write the unsigned root
    #[arg(long, default_value = "1.root.json", value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    repository: RepositoryArguments,
}

pub async fn run(arguments: Arguments) -> Result {
    let Arguments { keys, threshold, expires, out, repository } = arguments;
    expect_absent(&out)?;
    let (keys, expires) = (keys.read().await?, parse_expiry(&expires)?);
    let repository = repository.open().await?;
    let make = |online| FirstRoot { keys, threshold, online, expires }.make();
    let file = match &repository {
        Repository::Folder(folder) => {
            let folder = IdleFolder::make(folder.data())?;
            expect_none(&*folder.store).await?;
            let file = make(online_keys(&folder.new_signer()?).await?)?;
            folder.wait_for_root()?;
            file
        }
        Repository::Aws(aws) => {
            expect_none(&*aws.store()?).await?;
            make(online_keys(&aws.kms_signer()?).await?)?
        }
    };
    create(&out, &file)?;
    lines(&show::describe(&file, None, None)?);
    say!("");
    say!("unsigned, in {}; its holders sign it with `tufline root sign`", out.quoted());
    Ok(Exit::Done)
}
