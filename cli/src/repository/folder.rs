//! A repository in a folder: its configuration, its marker files, and its lock.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use tufline_folder::given;
use tufline_folder::{
    DataFolder, FileSigner, FolderBlobs, FolderChunks, FolderStore, FolderUploads,
};
use tufline_store::{Key, Store, SystemClock, VerifiedRoots};
use tufline_tuf::Config;
use tufline_tuf::root::Chain;

use super::config_file;
use super::endpoints::FolderEndpoints;
use crate::files;
use crate::text::Quoted;

/// The name of the trusted root's file in the data folder; devices ship with it.
pub const TRUSTED_ROOT: &str = "root.json";

/// A repository in a folder.
#[derive(Debug, Clone)]
pub struct FolderRepository {
    data: PathBuf,
    /// Its endpoints, if the user named it by them.
    endpoints: Option<Box<FolderEndpoints>>,
}

impl FolderRepository {
    /// The repository in the data folder `data`.
    pub fn at(data: &Path) -> anyhow::Result<Self> {
        Ok(Self { data: std::path::absolute(data)?, endpoints: None })
    }

    /// The repository with these endpoints.
    pub fn with(endpoints: FolderEndpoints) -> anyhow::Result<Self> {
        Ok(Self { data: endpoints.data()?.to_owned(), endpoints: Some(Box::new(endpoints)) })
    }

    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Its endpoints.
    ///
    /// # Errors
    /// If the user named only the data folder.
    pub fn endpoints(&self) -> anyhow::Result<&FolderEndpoints> {
        self.endpoints.as_deref().with_context(|| {
            format!(
                "it is not known where {} is served: name its endpoints file with --endpoints",
                self.data.quoted()
            )
        })
    }

    /// The store of the repository and the ledger, which must exist.
    pub fn store(&self) -> anyhow::Result<Arc<dyn Store>> {
        Ok(folder_store(&DataFolder::open(&self.data)?, &configured(&self.data)?))
    }

    pub fn config(&self) -> anyhow::Result<Config> {
        configured(&self.data)
    }

    pub fn uploads(&self) -> anyhow::Result<FolderUploads> {
        let data = DataFolder::open(&self.data)?;
        Ok(FolderUploads::open(&data, &self.endpoints()?.uploads, Arc::new(SystemClock))?)
    }

    pub fn blobs(&self) -> anyhow::Result<FolderBlobs> {
        Ok(FolderBlobs::new(&DataFolder::open(&self.data)?, &self.uploads()?))
    }

    /// The chunks of targets.
    pub fn chunks(&self) -> anyhow::Result<FolderChunks> {
        Ok(FolderChunks::new(&DataFolder::open(&self.data)?))
    }

    /// The online keys, some of which may be lost.
    pub fn signer(&self) -> anyhow::Result<FileSigner> {
        Ok(FileSigner::at(&DataFolder::open(&self.data)?.keys()))
    }
}

/// The locked folder of a repository that isn't running. Between `tufline root init` and the
/// publication of the root, a marker keeps `tufline local` from making a root of its own.
pub struct IdleFolder {
    data: DataFolder,
    /// The store of the repository and the ledger.
    pub store: Arc<dyn Store>,
}

impl IdleFolder {
    /// Opens the folder, and creates it if it is missing.
    pub fn make(data: &Path) -> anyhow::Result<Self> {
        let data = DataFolder::lock(data)?;
        Ok(Self { store: folder_store(&data, &configured(data.path())?), data })
    }

    /// Opens the folder, which must exist and be a data folder.
    pub fn open(data: &Path) -> anyhow::Result<Self> {
        DataFolder::open(data)?;
        Self::make(data)
    }

    pub fn signer(&self) -> anyhow::Result<FileSigner> {
        Ok(FileSigner::open(&self.data.keys())?)
    }

    /// The online keys; it makes those that are missing. Call it only before there is a root:
    /// devices would not trust a new key in place of a lost one.
    pub fn new_signer(&self) -> anyhow::Result<FileSigner> {
        Ok(FileSigner::generate(&self.data.keys())?)
    }

    /// Sets the marker: from now on the folder waits for its root.
    pub fn wait_for_root(&self) -> anyhow::Result<()> {
        files::write(&root_marker(self.data.path()), b"")
    }

    /// Removes the marker: the root is published.
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

/// The path of the marker that exists during an import into `data`.
pub fn import_marker(data: &Path) -> PathBuf {
    data.join("import")
}

/// The store of the repository and the ledger in `data`. Its chain of roots begins with the root
/// that `config` names, or else with the one that an earlier start copied to `root.json`.
pub fn folder_store(data: &DataFolder, config: &Config) -> Arc<dyn Store> {
    let stored = Arc::new(FolderStore::new(data));
    let left = || {
        let copy = given::read(&data.path().join(TRUSTED_ROOT)).ok()?;
        let first = Chain::trusting(&copy.into()).ok()?.pinned();
        // If the repository has neither this root nor a timestamp, somebody starts over and left an
        // old copy behind.
        let lies = |key: Key| data.path().join("repository").join(key.path()).exists();
        (lies(Key::root(first.version)) || lies(Key::Timestamp)).then_some(first)
    };
    Arc::new(VerifiedRoots::new(stored, config.trusted_root.or_else(left)))
}

/// The configuration of the repository in `data`, or the default if there is none yet. Writes
/// nothing.
pub fn configured(data: &Path) -> anyhow::Result<Config> {
    let path = config_file::path(data);
    if path.exists() { config_file::read(&path) } else { Ok(Config::default()) }
}
