//! Root files on disk, each with the previous version beside it.

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

/// A root file, and where its previous version is.
#[derive(Debug, Args)]
pub struct RootDocumentArguments {
    /// The root file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The previous version of the root [default: <its version>.root.json beside FILE]
    #[arg(long, value_name = "FILE")]
    previous: Option<PathBuf>,
}

/// A root file that was read, with its previous version.
pub struct RootDocument {
    pub path: PathBuf,
    /// The root with its signatures.
    pub file: RootFile,
    /// The previous version; `None` for version 1.
    pub previous: Option<PreviousRoot>,
}

/// The previous version of a root. Other tools may have made it.
pub struct PreviousRoot {
    pub path: PathBuf,
    /// The root, without keys of kinds that Tufline does not use.
    pub root: Root,
    /// The digest of its signed part, as `tufline root show` prints it.
    pub contents: Sha256,
    /// The digest of the whole file.
    pub sha256: Sha256,
}

impl RootDocument {
    /// The previous version's root.
    pub fn previous_root(&self) -> Option<&Root> {
        self.previous.as_ref().map(|previous| &previous.root)
    }

    /// Whether `repository` has published the previous version. `None` if no repository is given,
    /// or the root has no previous version.
    ///
    /// # Errors
    /// If the repository has published another root under that version.
    pub async fn compare_with(
        &self,
        repository: &RepositoryArguments,
    ) -> anyhow::Result<Option<bool>> {
        if !repository.is_given() {
            return Ok(None);
        }
        let Some(previous) = &self.previous else { return Ok(None) };
        let (store, version) = (repository.open().await?.store()?, previous.root.version.get());
        let Some(published) = store.get(&Key::root(version)).await? else { return Ok(Some(false)) };
        if PublishedRoot::read(&published.bytes)?.contents() != previous.contents {
            bail!(
                "{} differs from the published version {version}: get that one, and check again \
                 what changes",
                previous.path.quoted()
            );
        }
        Ok(Some(true))
    }
}

impl RootDocumentArguments {
    /// Reads a published root of any origin, with its previous version if that is there.
    pub fn open_published(&self) -> anyhow::Result<(PublishedRoot, Option<PreviousRoot>)> {
        let root = open_published(&self.file)?;
        let before = root.version() - 1;
        let path = self.previous.clone().unwrap_or_else(|| beside(&self.file, before));
        let wanted = before > 0 && (self.previous.is_some() || path.exists());
        Ok((root, wanted.then(|| open_previous(&path, before)).transpose()?))
    }

    /// Reads the root and its previous version, which must be there unless the root is version 1.
    pub fn open(&self) -> anyhow::Result<RootDocument> {
        let file = open(&self.file)?;
        let previous = match (file.version(), &self.previous) {
            (1, None) => None,
            (1, Some(_)) => {
                bail!("{} is version 1: there is no previous version", self.file.quoted())
            }
            (version, Some(path)) => Some(open_previous(path, version - 1)?),
            (version, None) => {
                let path = beside(&self.file, version - 1);
                if !path.exists() {
                    bail!(
                        "{} is version {version}, but its previous version is not at {}: put it \
                         there, or name it with --previous",
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

/// Reads a published root: one that any tool made, and perhaps before today's rules for roots.
pub fn open_published(path: &Path) -> anyhow::Result<PublishedRoot> {
    let bytes = given::read(path).with_context(|| format!("cannot read {}", path.quoted()))?;
    PublishedRoot::read(&bytes).with_context(|| format!("{} cannot be used", path.quoted()))
}

/// Reads the previous version. It may lack signatures if both are signed in one ceremony; the
/// signer gets a warning.
fn open_previous(path: &Path, version: u64) -> anyhow::Result<PreviousRoot> {
    let bytes = given::read(path).with_context(|| format!("cannot read {}", path.quoted()))?;
    let file = PublishedRoot::read(&bytes);
    let file = file.with_context(|| format!("{} cannot be the previous version", path.quoted()))?;
    if file.version() != version {
        bail!("{} cannot be the previous version: it is version {}", path.quoted(), file.version());
    }
    if file.missing() > 0 {
        complain!(
            "tufline: {} does not yet have enough signatures of its own keys: check it too",
            path.quoted()
        );
    }
    let (contents, sha256) = (file.contents(), Sha256::of(&bytes));
    Ok(PreviousRoot { path: path.to_owned(), root: file.root().clone(), contents, sha256 })
}

/// Writes a root, over any file that is there.
pub fn write(path: &Path, file: &RootFile) -> anyhow::Result<()> {
    files::write(&std::path::absolute(path)?, &file.to_bytes()?)
}

/// Writes a root where no file exists yet.
pub fn create(path: &Path, file: &RootFile) -> anyhow::Result<()> {
    expect_absent(path)?;
    write(path, file)
}

/// Fails if something exists at `path`.
pub fn expect_absent(path: &Path) -> anyhow::Result<()> {
    if path.exists() {
        bail!("{} is there already: nothing was written", path.quoted());
    }
    Ok(())
}

/// The path of the root of this version beside `path`.
pub fn beside(path: &Path, version: u64) -> PathBuf {
    path.with_file_name(format!("{version}.root.json"))
}
