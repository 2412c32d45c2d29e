//! `tufline import`: takes over a repository that other tools made. Devices that trust it follow
//! without change.
//!
//! It has two steps, with a ceremony between them. The first makes the next root, which the holders
//! of the old root sign. The second takes over the signed root and everything else. Both steps read
//! the other repository as a client does, and verify all of it before they write anything.

mod deployment;
mod folder;
mod from;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use serde_json::json;
use tufline_folder::given;
use tufline_pipeline::Ports;
use tufline_pipeline::operations::import::Old;
use tufline_pipeline::operations::import::fit;
use tufline_pipeline::operations::import::import;
use tufline_pipeline::operations::init::online_keys;
use tufline_tuf::config::Lifetime;

use crate::ceremony::root_document;
use crate::exit::{Exit, Result};
use crate::files;
use crate::repository::{AwsRepository, Repository, RepositoryArguments};
use crate::source::{Base, UrlArguments};
use crate::terminal::{self, say};
use crate::text::{self, Quoted};
use deployment::Deployment;
use folder::NewFolder;
use from::OtherRepository;

/// Takes over an existing TUF repository into a new one: its devices follow without change.
///
/// The new repository is a folder that doesn't exist yet, or a deployment on AWS without a root.
///
/// Run it once to make the next root, which the holders of the old root sign, and again with the
/// signed root. docs/import.md shows every step.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The repository to take over: the URL of its metadata, or its folder
    #[arg(value_name = "METADATA_URL|DIR", value_parser = Base::parser())]
    from: Base,
    #[command(flatten)]
    urls: UrlArguments,
    #[command(flatten)]
    repository: RepositoryArguments,
    /// With --data: the uploads folder, which also gets all targets [default: DIR/uploads]
    #[arg(long, value_name = "DIR", requires = "data")]
    uploads: Option<PathBuf>,
    /// The next root, signed by the holders of the old one
    #[arg(long, value_name = "FILE")]
    next_root: Option<PathBuf>,
    /// How long the next root is valid
    #[arg(long, default_value = "365 days", value_name = "TIME", conflicts_with = "next_root")]
    expires: Lifetime,
    /// Where to write the next root, unsigned [default: <its version>.root.json]
    #[arg(long, value_name = "FILE", conflicts_with = "next_root")]
    out: Option<PathBuf>,
    /// Print a line of JSON
    #[arg(long)]
    json: bool,
}

pub async fn run(arguments: Arguments) -> Result {
    let found = OtherRepository::at(from::find_source(&arguments.from, &arguments.urls)?).await?;
    let old = found.old()?;
    let exit = match arguments.repository.open().await? {
        Repository::Folder(folder) => into_folder(&arguments, &found, &old, folder.data()).await?,
        Repository::Aws(aws) => into_deployment(&arguments, &found, &old, &aws).await?,
    };
    found.tell_before();
    Ok(exit)
}

async fn into_folder(
    arguments: &Arguments,
    found: &OtherRepository,
    old: &Old,
    data: &Path,
) -> Result {
    let (folder, uploads) = (NewFolder::find(data)?, arguments.uploads.as_deref());
    folder.check(old)?;
    let Some(next) = &arguments.next_root else {
        let proposal = RootProposal::of(arguments, old)?;
        return proposal.write(old, &folder.open(old, uploads).await?.ports, arguments).await;
    };
    let root = root_document::open(next)?;
    folder.expect_begun()?;
    let repository = folder.open(old, uploads).await?;
    let fit = fit(&repository.ports, old, &root).await.with_context(|| as_next(next))?;
    found.expect_no_others(&*repository.ports.uploads).await?;
    folder::put_all(repository.uploads.path(), found).await?;
    let generation = import(&repository.ports, old, &fit).await?;
    folder.done()?;
    tell_imported(
        old,
        generation,
        &format!("; `tufline local --data {}` goes on with it", data.quoted()),
        arguments.json,
    );
    Ok(Exit::Done)
}

/// The context of an error about the next root's file.
fn as_next(next: &Path) -> String {
    format!("{} as the next root", next.quoted())
}

async fn into_deployment(
    arguments: &Arguments,
    found: &OtherRepository,
    old: &Old,
    aws: &AwsRepository,
) -> Result {
    let deployment = Deployment::of(aws)?;
    deployment.check(old)?;
    let Some(next) = &arguments.next_root else {
        deployment.expect_new(old).await?;
        return RootProposal::of(arguments, old)?.write(old, &deployment.ports, arguments).await;
    };
    let fit = fit(&deployment.ports, old, &root_document::open(next)?)
        .await
        .with_context(|| as_next(next))?;
    let generation = deployment.take(found, old, &fit).await?;
    tell_imported(old, generation, "", arguments.json);
    Ok(Exit::Done)
}

/// The paths of the root to be signed and of its previous version.
struct RootProposal {
    version: u64,
    out: PathBuf,
    before: PathBuf,
}

impl RootProposal {
    /// Chooses the paths, and checks that writing there overwrites nothing else. Writes nothing.
    fn of(arguments: &Arguments, old: &Old) -> anyhow::Result<Self> {
        let chain = old.newest_root()?;
        let version = chain.newest().version.get() + 1;
        let out = arguments.out.clone().unwrap_or_else(|| format!("{version}.root.json").into());
        let before = root_document::beside(&out, version - 1);
        if out == before {
            bail!(
                "{} is the name of the previous version, which is written beside it: choose \
                 another name",
                out.quoted()
            );
        }
        root_document::expect_absent(&out)?;
        if before.exists()
            && given::read(&before).with_context(|| format!("cannot read {}", before.quoted()))?
                != *chain.newest_bytes()
        {
            bail!(
                "{} differs from the newest root of the other repository: move it away first",
                before.quoted()
            );
        }
        Ok(Self { version, out, before })
    }

    /// The first step: writes the root to be signed.
    async fn write(&self, old: &Old, ports: &Ports, arguments: &Arguments) -> Result {
        let next = old.next_root(
            online_keys(&*ports.signer).await?,
            ports.clock.now(),
            &arguments.expires,
        )?;
        files::write(&std::path::absolute(&self.before)?, old.newest_root()?.newest_bytes())?;
        root_document::create(&self.out, &next)?;
        let (version, out, before) = (self.version, self.out.quoted(), self.before.quoted());
        if arguments.json {
            terminal::json(&json!({"outcome": "proposed", "version": version}));
        } else {
            say!(
                "version {version} of the root is in {out}, unsigned; version {} is in {before}. \
                 The holders of the old root's keys sign it with `tufline root sign`; then run \
                 this again with --next-root {out}",
                version - 1
            );
        }
        Ok(Exit::Done)
    }
}

/// Reports the result of the second step.
fn tell_imported(old: &Old, generation: u64, goes_on: &str, as_json: bool) {
    let count = old.targets.len() as u64;
    if as_json {
        terminal::json(&json!({"outcome": "imported", "generation": generation, "targets": count}));
    } else {
        let count = text::count(count, "target");
        say!(
            "imported: {count} in generation {generation}{goes_on}. Devices follow once their two \
             URLs lead to it"
        );
    }
}
