//! A folder into which something is imported.

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

/// So many targets are copied at once.
const AT_ONCE: usize = 16;

/// A folder into which something is imported. Until that is done a marker lies in it, and `tufline local` refuses to start there.
pub struct NewFolder(PathBuf);

impl NewFolder {
    /// The folder `data`, which must not be there yet, or be one that an earlier run began.
    pub fn find(data: &Path) -> anyhow::Result<Self> {
        let data = std::path::absolute(data)?;
        let empty = match std::fs::read_dir(&data) {
            Ok(mut entries) => entries.next().is_none(),
            Err(error) if error.kind() == ErrorKind::NotFound => true,
            Err(error) => return Err(error).with_context(|| format!("cannot use {}", data.quoted())),
        };
        if !empty && !import_marker(&data).exists() {
            bail!("{} is there already: import into a new folder", data.quoted());
        }
        Ok(Self(data))
    }

    /// Refuses what can't be taken over, by the configuration that is there after a first step, or else the one that is made.
    pub fn check(&self, old: &Old) -> anyhow::Result<()> {
        let config = configured(&self.0)?;
        old.check(config.largest_target.0)?;
        if config_file::path(&self.0).exists() {
            let data = self.0.display();
            old.expect_first(config.trusted_root, |first| {
                format!("give the root that {data} was begun with, set trusted_root = \"{first}\" in {data}/config.toml, or remove {data} and begin again")
            })?;
        }
        Ok(())
    }

    /// Refuses where the first step wasn't done.
    pub fn expect_begun(&self) -> anyhow::Result<()> {
        if !import_marker(&self.0).exists() {
            bail!(
                "{} is not begun: its keys must stand in the next root, which this command makes without --next-root",
                self.0.quoted()
            );
        }
        Ok(())
    }

    /// Opens it, made where it is missing: its chain of roots begins with the first of `old`, now and at every later start.
    ///
    /// Whichever folder is at the uploads' place is taken for them: between the steps the data folder may have been moved or copied, or `--uploads` may name
    /// another one now. *Invariant*: that removes nothing, since all targets are put there ([`put_all`]) before anything is published or may start.
    pub async fn open(&self, old: &Old, uploads: Option<&Path>) -> anyhow::Result<LocalRepository> {
        if !import_marker(&self.0).exists() {
            std::fs::create_dir_all(&self.0).with_context(|| format!("cannot make {}", self.0.quoted()))?;
            files::write(&import_marker(&self.0), b"")?;
        }
        if !config_file::path(&self.0).exists() {
            config_file::write(&self.0, old.first()?)?;
        }
        let place = uploads.map_or_else(|| self.0.join("uploads"), Path::to_owned);
        std::fs::create_dir_all(&place).with_context(|| format!("cannot make {}", place.quoted()))?;
        let repository = LocalRepository::open_for_import(&self.0, uploads).await?;
        if let FoundFolder::Other(identity) = repository.uploads.standing()? {
            repository.uploads.take(&identity)?;
        }
        Ok(repository)
    }

    /// From now on it is a repository like any other.
    pub fn done(&self) -> anyhow::Result<()> {
        files::remove(&import_marker(&self.0)).map(drop)
    }
}

/// Makes an upload of every target, as if it had been dropped there: what is published is what the uploads are, also for everything
/// that looks at them later. A crash in between: the next run finds those that are there.
pub async fn put_all(uploads: &Path, found: &OtherRepository) -> anyhow::Result<()> {
    let puts = found.targets.iter().map(|(name, target)| put(uploads, found, name, target));
    stream::iter(puts.collect::<Vec<_>>()).buffer_unordered(AT_ONCE).try_collect().await
}

async fn put(uploads: &Path, found: &OtherRepository, name: &TargetName, target: &ListedTarget) -> anyhow::Result<()> {
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
    // Others go on while the disk is waited for.
    let at = place.clone();
    spawn_blocking(move || files::put(file, &at)).await?.with_context(cannot)
}

fn is_there(place: &Path, target: &ListedTarget) -> io::Result<bool> {
    match place.metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        found => Ok(found?.len() == target.length && Some(files::sha256(place)?) == target.sha256),
    }
}
