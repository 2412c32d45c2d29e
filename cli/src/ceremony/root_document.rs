//! Root files on disk, each with the version before it at its side.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use tough::schema::Root;
use tufline_folder::given;
use tufline_store::Key;
use tufline_tuf::Sha256;
use tufline_tuf::root::{PublishedRoot, RootFile};

use crate::files;
use crate::repository::RepositoryArguments;
use crate::terminal::complain;
use crate::text::Quoted;

/// A root file, and where the one before is.
#[derive(Debug, Args)]
pub struct RootDocumentArguments {
    /// The root's file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The version before it [default: <its version>.root.json beside FILE]
    #[arg(long, value_name = "FILE")]
    previous: Option<PathBuf>,
}

/// A root that was read, with what it follows.
pub struct RootDocument {
    /// Where it is.
    pub path: PathBuf,
    /// The root with its signatures.
    pub file: RootFile,
    /// The version before; `None` for the first.
    pub previous: Option<PreviousRoot>,
}

/// The version before: others may have made it.
pub struct PreviousRoot {
    /// Where it is.
    pub path: PathBuf,
    /// The root, without keys of kinds that no root of Tufline has.
    pub root: Root,
    /// What is signed of it, as `tufline root show` tells it of any root.
    pub contents: Sha256,
    /// Of its file.
    pub sha256: Sha256,
}

impl RootDocument {
    /// The root of the version before.
    pub fn previous_root(&self) -> Option<&Root> {
        self.previous.as_ref().map(|previous| &previous.root)
    }

    /// Whether the version before is the one that is published in `repository`; `None` where none is given, or there is none.
    ///
    /// # Errors
    /// Where it is another.
    pub async fn compare_with(&self, repository: &RepositoryArguments) -> anyhow::Result<Option<bool>> {
        if !repository.is_given() {
            return Ok(None);
        }
        let Some(previous) = &self.previous else { return Ok(None) };
        let (store, version) = (repository.open().await?.store()?, previous.root.version.get());
        let Some(published) = store.get(&Key::root(version)).await? else { return Ok(Some(false)) };
        if PublishedRoot::read(&published.bytes)?.contents() != previous.contents {
            bail!(
                "{} is another root than the published version {version}: get that one, and look again at what changes",
                previous.path.quoted()
            );
        }
        Ok(Some(true))
    }
}

impl RootDocumentArguments {
    /// Reads a root that others published, with the version before it where that is there.
    pub fn open_published(&self) -> anyhow::Result<(PublishedRoot, Option<PreviousRoot>)> {
        let root = open_published(&self.file)?;
        let before = root.version() - 1;
        let path = self.previous.clone().unwrap_or_else(|| beside(&self.file, before));
        let wanted = before > 0 && (self.previous.is_some() || path.exists());
        Ok((root, wanted.then(|| open_previous(&path, before)).transpose()?))
    }

    /// Reads both.
    pub fn open(&self) -> anyhow::Result<RootDocument> {
        let file = open(&self.file)?;
        let previous = match (file.version(), &self.previous) {
            (1, None) => None,
            (1, Some(_)) => bail!("{} is the first version: nothing comes before it", self.file.quoted()),
            (version, Some(path)) => Some(open_previous(path, version - 1)?),
            (version, None) => {
                let path = beside(&self.file, version - 1);
                if !path.exists() {
                    bail!(
                        "{} is version {version}, and the one before is not there as {}: put it there, or name it with --previous",
                        self.file.quoted(),
                        path.quoted()
                    );
                }
                Some(open_previous(&path, version - 1)?)
            }
        };
        Ok(RootDocument { path: self.file.clone(), file, previous })
    }
}

/// Reads a root that may lack signatures.
pub fn open(path: &Path) -> anyhow::Result<RootFile> {
    let bytes = given::read(path).with_context(|| format!("cannot read {}", path.quoted()))?;
    RootFile::read(&bytes).with_context(|| format!("{} cannot be used", path.quoted()))
}

/// Reads a root that was published, whoever made it and whatever has become a rule since.
pub fn open_published(path: &Path) -> anyhow::Result<PublishedRoot> {
    let bytes = given::read(path).with_context(|| format!("cannot read {}", path.quoted()))?;
    PublishedRoot::read(&bytes).with_context(|| format!("{} cannot be used", path.quoted()))
}

/// Reads the version before. It may lack signatures, where both are signed in one ceremony: whoever signs must know that.
fn open_previous(path: &Path, version: u64) -> anyhow::Result<PreviousRoot> {
    let bytes = given::read(path).with_context(|| format!("cannot read {}", path.quoted()))?;
    let file = PublishedRoot::read(&bytes);
    let file = file.with_context(|| format!("{} cannot be the version before", path.quoted()))?;
    if file.version() != version {
        bail!("{} cannot be the version before: it is version {}", path.quoted(), file.version());
    }
    if file.missing() > 0 {
        complain!("tufline: {} is not signed by enough of its own keys yet: look at it too", path.quoted());
    }
    let (contents, sha256) = (file.contents(), Sha256::of(&bytes));
    Ok(PreviousRoot { path: path.to_owned(), root: file.root().clone(), contents, sha256 })
}

/// Writes a root in place of what is there.
pub fn write(path: &Path, file: &RootFile) -> anyhow::Result<()> {
    files::write(&std::path::absolute(path)?, &file.to_bytes()?)
}

/// Writes a root where nothing is yet.
pub fn create(path: &Path, file: &RootFile) -> anyhow::Result<()> {
    expect_absent(path)?;
    write(path, file)
}

/// Refuses a place where something is.
pub fn expect_absent(path: &Path) -> anyhow::Result<()> {
    if path.exists() {
        bail!("{} is there already: nothing was written", path.quoted());
    }
    Ok(())
}

/// Where the root of this version is, if it lies beside `path`.
pub fn beside(path: &Path, version: u64) -> PathBuf {
    path.with_file_name(format!("{version}.root.json"))
}
