//! A repository in a folder: its configuration, its marks, and its lock.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use tufline_folder::given;
use tufline_folder::{DataFolder, FileSigner, FolderBlobs, FolderChunks, FolderStore, FolderUploads};
use tufline_store::{Key, Store, SystemClock, VerifiedRoots};
use tufline_tuf::Config;
use tufline_tuf::root::Chain;

use super::config_file;
use super::endpoints::FolderEndpoints;
use crate::files;
use crate::text::Quoted;

/// What devices ship with, in the data folder.
pub const TRUSTED_ROOT: &str = "root.json";

/// A repository in a folder.
#[derive(Debug, Clone)]
pub struct FolderRepository {
    data: PathBuf,
    /// Where it was named by them.
    endpoints: Option<Box<FolderEndpoints>>,
}

impl FolderRepository {
    /// The one in the data folder `data`.
    pub fn at(data: &Path) -> anyhow::Result<Self> {
        Ok(Self { data: std::path::absolute(data)?, endpoints: None })
    }

    /// The one of these endpoints.
    pub fn with(endpoints: FolderEndpoints) -> anyhow::Result<Self> {
        Ok(Self { data: endpoints.data()?.to_owned(), endpoints: Some(Box::new(endpoints)) })
    }

    /// The data folder.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Where everything is.
    ///
    /// # Errors
    /// Where only the data folder was named.
    pub fn endpoints(&self) -> anyhow::Result<&FolderEndpoints> {
        self.endpoints.as_deref().with_context(|| {
            format!("where {} is served isn't known: name its endpoints file with --endpoints", self.data.quoted())
        })
    }

    /// The repository and the ledger, which are there.
    pub fn store(&self) -> anyhow::Result<Arc<dyn Store>> {
        Ok(folder_store(&DataFolder::open(&self.data)?, &configured(&self.data)?))
    }

    /// The repository's policy.
    pub fn config(&self) -> anyhow::Result<Config> {
        configured(&self.data)
    }

    /// What build systems dropped.
    pub fn uploads(&self) -> anyhow::Result<FolderUploads> {
        let data = DataFolder::open(&self.data)?;
        Ok(FolderUploads::open(&data, &self.endpoints()?.uploads, Arc::new(SystemClock))?)
    }

    /// The bytes of targets.
    pub fn blobs(&self) -> anyhow::Result<FolderBlobs> {
        Ok(FolderBlobs::new(&DataFolder::open(&self.data)?, &self.uploads()?))
    }

    /// The chunks of targets.
    pub fn chunks(&self) -> anyhow::Result<FolderChunks> {
        Ok(FolderChunks::new(&DataFolder::open(&self.data)?))
    }

    /// The online keys, of which some may be lost.
    pub fn signer(&self) -> anyhow::Result<FileSigner> {
        Ok(FileSigner::at(&DataFolder::open(&self.data)?.keys()))
    }
}

/// The folder of a repository that isn't running, locked. Between `tufline root init` and the publication of the root it waits:
/// `tufline local` must not make a root of its own meanwhile.
pub struct IdleFolder {
    data: DataFolder,
    /// The repository and the ledger.
    pub store: Arc<dyn Store>,
}

impl IdleFolder {
    /// Opens the folder, made where it is missing.
    pub fn make(data: &Path) -> anyhow::Result<Self> {
        let data = DataFolder::lock(data)?;
        Ok(Self { store: folder_store(&data, &configured(data.path())?), data })
    }

    /// Opens the folder, which must be one.
    pub fn open(data: &Path) -> anyhow::Result<Self> {
        DataFolder::open(data)?;
        Self::make(data)
    }

    /// The online keys.
    pub fn signer(&self) -> anyhow::Result<FileSigner> {
        Ok(FileSigner::open(&self.data.keys())?)
    }

    /// The online keys; those that are missing are made. Only where there is no root yet: devices don't trust a new key in place
    /// of a lost one.
    pub fn new_signer(&self) -> anyhow::Result<FileSigner> {
        Ok(FileSigner::generate(&self.data.keys())?)
    }

    /// From now on it waits for its root.
    pub fn wait_for_root(&self) -> anyhow::Result<()> {
        files::write(&root_marker(self.data.path()), b"")
    }

    /// The root is there.
    pub fn end_wait(&self) -> anyhow::Result<()> {
        files::remove(&root_marker(self.data.path())).map(drop)
    }
}

/// Whether the folder waits for a root that people make.
pub fn waits_for_root(data: &Path) -> bool {
    root_marker(data).exists()
}

fn root_marker(data: &Path) -> PathBuf {
    data.join("root-ceremony")
}

/// Where a file lies while something is imported into `data`.
pub fn import_marker(data: &Path) -> PathBuf {
    data.join("import")
}

/// The repository and the ledger in `data`. Its chain of roots begins with the one that `config` names, or else with the one of which an earlier start left
/// a copy in `root.json`.
pub fn folder_store(data: &DataFolder, config: &Config) -> Arc<dyn Store> {
    let stored = Arc::new(FolderStore::new(data));
    let left = || {
        let copy = given::read(&data.path().join(TRUSTED_ROOT)).ok()?;
        let first = Chain::trusting(&copy.into()).ok()?.pinned();
        // Whoever begins anew left the copy there.
        let lies = |key: Key| data.path().join("repository").join(key.path()).exists();
        (lies(Key::root(first.version)) || lies(Key::Timestamp)).then_some(first)
    };
    Arc::new(VerifiedRoots::new(stored, config.trusted_root.or_else(left)))
}

/// The configuration of the repository in `data`, or that of a new one. Writes nothing.
pub fn configured(data: &Path) -> anyhow::Result<Config> {
    let path = config_file::path(data);
    if path.exists() { config_file::read(&path) } else { Ok(Config::default()) }
}
