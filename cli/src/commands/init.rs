//! `tufline init`: the first root and the first generation of a repository on AWS.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Args;
use tufline_folder::KeyFile;
use tufline_pipeline::operations::init;
use tufline_pipeline::state::roots;
use tufline_store::Key;
use tufline_tuf::generation::FirstBins;

use crate::exit::{Exit, Result};
use crate::files;
use crate::repository::{EndpointsArguments, Repository, wait_for_first_generation};
use crate::terminal::say;
use crate::text::Quoted;

/// Makes the first root and the first generation of a repository on AWS.
///
/// Does nothing if the repository has been initialized. `TUFLINE_KEY_TARGETS`, _BINS, _SNAPSHOT and
/// _TIMESTAMP name the online keys.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Make a root with a single key, in the file DIR/root.pem: for development and tests only
    #[arg(long, required = true)]
    development: bool,
    /// Where to write the root's key and the trusted root, DIR/root.json
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// How many bins the repository has at the start: 1, 16, 256 or 4096. It splits further by
    /// itself
    #[arg(long, default_value = "1", value_name = "NUMBER")]
    bins: FirstBins,
    #[command(flatten)]
    repository: EndpointsArguments,
}

pub async fn run(arguments: Arguments) -> Result {
    let Repository::Aws(aws) = arguments.repository.open().await? else {
        bail!("a repository in a folder is initialized when `tufline local` first starts");
    };
    let data = &arguments.data;
    std::fs::create_dir_all(data).with_context(|| format!("cannot make {}", data.quoted()))?;
    let data = std::path::absolute(data)?;
    let root_key = KeyFile::generate(&data.join("root.pem"))?;
    let ports = aws.ports(Arc::new(aws.kms_signer()?))?;
    init::init(&ports, &root_key, arguments.bins).await?;
    wait_for_first_generation(&*ports.store).await?;
    let missing = || format!("{} is missing: restore it", Key::root(ports.store.first_root()));
    let root = roots::first(&*ports.store).await?.with_context(missing)?;
    let file = data.join("root.json");
    files::write(&file, &root.bytes)?;
    say!("initialized; devices ship with {}", file.quoted());
    Ok(Exit::Done)
}
