//! `tufline import`: takes over a repository that others made. Devices which trust it follow without change.
//!
//! Two steps, with a ceremony between them: the first makes the next root, which the holders of the old one sign; the second takes the
//! signed root and all else. Both read the other repository as a client, and write nothing before they have verified all of it.

mod from;
mod place;

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use serde_json::json;
use tufline_functions::import::{Old, fit, import};
use tufline_functions::init::online_keys;
use tufline_tuf::config::Lifetime;
use tufline_tuf::root::RootFile;

use crate::local::configured;
use crate::outcome::{Outcome, Result};
use crate::root::document;
use crate::source::UrlArguments;
use crate::{files, show};
use from::Found;
use place::Place;

/// Takes over a TUF repository that others made, into a new repository in a folder: its devices follow without change.
///
/// Run it once for the root that the holders of the old one must sign, and again with that root. docs/import.md has it step by step.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The other repository: the URL of its metadata, or its folder
    #[arg(value_name = "METADATA_URL|DIR")]
    from: String,
    #[command(flatten)]
    urls: UrlArguments,
    /// The folder of the new repository, which must not exist yet
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The folder to drop files in, in which the targets are left as well [default: DIR/uploads]
    #[arg(long, value_name = "DIR")]
    uploads: Option<PathBuf>,
    /// The next root, signed by the holders of the old one
    #[arg(long, value_name = "FILE")]
    next_root: Option<PathBuf>,
    /// For how long the next root is in force
    #[arg(long, default_value = "365 days", value_name = "TIME", conflicts_with = "next_root")]
    expires: Lifetime,
    /// Where the next root goes, unsigned [default: <its version>.root.json]
    #[arg(long, value_name = "FILE", conflicts_with = "next_root")]
    out: Option<PathBuf>,
    /// Print a line of JSON
    #[arg(long)]
    json: bool,
}

/// Does the step that is due.
pub async fn run(arguments: Arguments) -> Result {
    let found = Found::at(from::source(&arguments.from, &arguments.urls)?).await?;
    let old = found.old()?;
    let place = Place::find(&arguments.data)?;
    old.check(configured(&arguments.data)?.largest_target.0)?;
    match &arguments.next_root {
        None => propose(&arguments, &old, place).await,
        Some(file) => take(&arguments, &found, &old, &document::open(file)?, place).await,
    }
}

/// The first step: the root to be signed.
async fn propose(arguments: &Arguments, old: &Old, place: Place) -> Result {
    let chain = old.newest_root()?;
    let version = chain.newest().version.get() + 1;
    let out = arguments.out.clone().unwrap_or_else(|| format!("{version}.root.json").into());
    let before = document::beside(&out, version - 1);
    if out == before {
        bail!("{} would be the version before and the next at once: choose another name", out.display());
    }
    document::expect_absent(&out)?;
    if before.exists() && std::fs::read(&before)? != *chain.newest_bytes() {
        bail!("{} is another root than the newest there: put it away first", before.display());
    }
    let repository = place.open(arguments.uploads.as_deref()).await?;
    let ports = &repository.ports;
    let next = old.next_root(online_keys(&*ports.signer).await?, ports.clock.now(), &arguments.expires)?;
    files::write(&std::path::absolute(&before)?, chain.newest_bytes())?;
    document::create(&out, &next)?;
    let (out, before) = (out.display(), before.display());
    if arguments.json {
        println!("{}", json!({"outcome": "proposed", "version": version}));
    } else {
        println!(
            "version {version} of the root in {out}, unsigned; version {} in {before}. Whoever holds a root key there signs it with `tufline root \
             sign`; then run this again with --next-root {out}",
            version - 1
        );
    }
    Ok(Outcome::Done)
}

/// The second step: all else.
async fn take(arguments: &Arguments, found: &Found, old: &Old, next: &RootFile, place: Place) -> Result {
    place.expect_begun()?;
    let repository = place.open(arguments.uploads.as_deref()).await?;
    let fit = fit(&repository.ports, old, next).await?;
    place::expect_none_but(&*repository.ports.uploads, &found.targets).await?;
    place::put_all(repository.uploads.path(), found).await?;
    let generation = import(&repository.ports, old, &fit).await?;
    place.done()?;
    let count = old.targets.len() as u64;
    if arguments.json {
        println!("{}", json!({"outcome": "imported", "generation": generation, "targets": count}));
    } else {
        let data = arguments.data.display();
        println!(
            "imported: {} in generation {generation}; `tufline local --data {data}` goes on with it. Devices follow once their two URLs lead there",
            show::count(count, "target")
        );
    }
    Ok(Outcome::Done)
}
