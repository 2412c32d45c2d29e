//! The folder into which a repository is imported.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use futures::{StreamExt, TryStreamExt, stream};
use tokio::task::spawn_blocking;
use tufline_folder::FoundFolder;
use tufline_pipeline::operations::import::Old;
use tufline_tuf::TargetName;

use super::from::{OtherRepository, custom_of};
use crate::embedded::LocalRepository;
use crate::files;
use crate::repository::{config_file, configured, import_marker};
use crate::source::ListedTarget;
use crate::text::Quoted;

/// How many targets are copied at once.
const AT_ONCE: usize = 16;

/// The data folder of an import. Until the import is done, a marker in it keeps `tufline local`
/// from starting there.
pub struct NewFolder(PathBuf);

impl NewFolder {
    /// The folder `data`. It must be new or empty, or an earlier run of the import must have begun
    /// it.
    pub fn find(data: &Path) -> anyhow::Result<Self> {
        let data = std::path::absolute(data)?;
        let empty = match std::fs::read_dir(&data) {
            Ok(mut entries) => entries.next().is_none(),
            Err(error) if error.kind() == ErrorKind::NotFound => true,
            Err(error) => {
                return Err(error).with_context(|| format!("cannot use {}", data.quoted()));
            }
        };
        if !empty && !import_marker(&data).exists() {
            bail!("{} is there already: import into a new folder", data.quoted());
        }
        Ok(Self(data))
    }

    /// Refuses targets and roots that can't be taken over, by the configuration that the first step
    /// wrote, or else by the one that it will write.
    pub fn check(&self, old: &Old) -> anyhow::Result<()> {
        let config = configured(&self.0)?;
        old.check(config.largest_target.0)?;
        if config_file::path(&self.0).exists() {
            let data = self.0.display();
            old.expect_first(config.trusted_root, |first| {
                format!(
                    "give the root with which {data} was begun, set trusted_root = \"{first}\" in \
                     {data}/config.toml, or remove {data} and start over"
                )
            })?;
        }
        Ok(())
    }

    /// Refuses a folder in which the first step wasn't done.
    pub fn expect_begun(&self) -> anyhow::Result<()> {
        if !import_marker(&self.0).exists() {
            bail!(
                "{} is not prepared: the next root must list its keys; run this without \
                 --next-root first, which makes both",
                self.0.quoted()
            );
        }
        Ok(())
    }

    /// Opens the repository, and creates it if it is missing. Its chain of roots begins with the
    /// first of `old`, now and at every later start.
    ///
    /// It accepts any folder in the place of the uploads: between the two steps, the data folder
    /// may have been moved or copied, or `--uploads` may name another folder. *Invariant*: this
    /// removes no target, since [`put_all`] puts all targets there before anything is published or
    /// may start.
    pub async fn open(&self, old: &Old, uploads: Option<&Path>) -> anyhow::Result<LocalRepository> {
        if !import_marker(&self.0).exists() {
            std::fs::create_dir_all(&self.0)
                .with_context(|| format!("cannot make {}", self.0.quoted()))?;
            files::write(&import_marker(&self.0), b"")?;
        }
        if !config_file::path(&self.0).exists() {
            config_file::write(&self.0, old.first()?)?;
        }
        let place = uploads.map_or_else(|| self.0.join("uploads"), Path::to_owned);
        std::fs::create_dir_all(&place)
            .with_context(|| format!("cannot make {}", place.quoted()))?;
        let repository = LocalRepository::open_for_import(&self.0, uploads).await?;
        if let FoundFolder::Other(identity) = repository.uploads.standing()? {
            repository.uploads.take(&identity)?;
        }
        Ok(repository)
    }

    /// Removes the marker: from now on it is a repository like any other.
    pub fn done(&self) -> anyhow::Result<()> {
        files::remove(&import_marker(&self.0)).map(drop)
    }
}

/// Puts every target into the uploads, as if somebody had dropped it there. So what is published
/// equals what the uploads hold, also for everything that compares the two later. After a crash the
/// next run skips the files that are there.
pub async fn put_all(uploads: &Path, found: &OtherRepository) -> anyhow::Result<()> {
    let puts = found.targets.iter().map(|(name, target)| put(uploads, found, name, target));
    stream::iter(puts.collect::<Vec<_>>()).buffer_unordered(AT_ONCE).try_collect().await
}

async fn put(
    uploads: &Path,
    found: &OtherRepository,
    name: &TargetName,
    target: &ListedTarget,
) -> anyhow::Result<()> {
    let place = uploads.join(name.as_str());
    let cannot = || format!("cannot write {}", place.quoted());
    if is_there(&place, target).with_context(cannot)? {
        return Ok(());
    }
    std::fs::create_dir_all(place.parent().unwrap_or(uploads)).with_context(cannot)?;
    let mut file = files::beside(&place).with_context(cannot)?;
    found.source.download(&found.seen, name.as_str(), target, &mut file).await?;
    // A file must not be published without its custom metadata.
    let custom = custom_of(name, target)?;
    if !custom.is_empty() {
        files::write(&files::side_file(&place), &serde_json::to_vec(&custom)?)?;
    }
    // Waiting for the disk must not hold up the other downloads.
    let at = place.clone();
    spawn_blocking(move || files::put(file, &at)).await?.with_context(cannot)
}

fn is_there(place: &Path, target: &ListedTarget) -> io::Result<bool> {
    match place.metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        found => Ok(found?.len() == target.length && Some(files::sha256(place)?) == target.sha256),
    }
}
