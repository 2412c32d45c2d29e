//! `tufline root next`: makes the version after the newest root, to be edited and signed.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use tufline_folder::given;
use tufline_pipeline::state::roots;
use tufline_tuf::root::{self, Chain};

use crate::ceremony::{beside, create, open_published, parse_expiry};
use crate::exit::{Exit, Result};
use crate::files;
use crate::repository::RepositoryArguments;
use crate::terminal::say;
use crate::text::Quoted;

/// Makes the version after the newest root, unsigned and with the same keys, and writes the newest
/// beside it: signers need both.
#[derive(Debug, Args)]
pub struct Arguments {
    /// When it expires: a time, or how long from now
    #[arg(long, default_value = "365 days", value_name = "TIME")]
    expires: String,
    /// Where to write it [default: <its version>.root.json]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The newest root, if the repository can't be reached
    #[arg(long, value_name = "FILE", conflicts_with_all = ["data", "endpoints", "stack", "admin"])]
    previous: Option<PathBuf>,
    #[command(flatten)]
    repository: RepositoryArguments,
}

pub async fn run(arguments: Arguments) -> Result {
    let Arguments { expires, out, previous, repository } = arguments;
    let newest = if let Some(path) = &previous {
        let bytes = given::read(path).with_context(|| format!("cannot read {}", path.quoted()))?;
        Chain::trusting(&bytes.into()).with_context(|| {
            format!(
                "{} is not a root with enough signatures of its own keys: nothing can follow it",
                path.quoted()
            )
        })?
    } else {
        let chain = roots::chain(&*repository.open().await?.store()?).await?;
        chain.context("this repository has no root yet: make the first with `tufline root init`")?
    };
    let version = newest.newest().version.get();
    let file = root::next(newest.newest(), parse_expiry(&expires)?)?;
    let out = out.unwrap_or_else(|| format!("{}.root.json", file.version()).into());
    let before = previous.unwrap_or_else(|| beside(&out, version));
    if out == before {
        bail!("{} is the file of the previous version: choose another name", out.quoted());
    }
    if !before.exists() {
        files::write(&std::path::absolute(&before)?, newest.newest_bytes())?;
    } else if open_published(&before)?.contents() != newest.contents() {
        bail!("{} differs from the published root: move it away first", before.quoted());
    }
    create(&out, &file)?;
    say!(
        "version {} is in {}, unsigned; version {} is in {}",
        file.version(),
        out.quoted(),
        version,
        before.quoted()
    );
    Ok(Exit::Done)
}
