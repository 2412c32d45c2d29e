//! Which repository a root is for.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use tufline_folder::{DataFolder, FileSigner, FolderStore};
use tufline_store::{Signer, Store};

use crate::connection::{AwsConnection, Connection, ConnectionArguments};
use crate::files;

/// Which repository is meant.
#[derive(Debug, Args)]
pub struct PlaceArguments {
    /// The folder of a repository of `tufline local`, whether that runs or not
    #[arg(long, value_name = "DIR", conflicts_with_all = ["endpoints", "stack", "admin"])]
    data: Option<PathBuf>,
    #[command(flatten)]
    connection: ConnectionArguments,
}

/// A repository.
pub enum Place {
    /// In this folder.
    Folder(PathBuf),
    /// On AWS.
    Aws(Box<AwsConnection>),
}

impl PlaceArguments {
    /// Finds it.
    pub async fn find(&self) -> anyhow::Result<Place> {
        if let Some(data) = &self.data {
            return Ok(Place::Folder(std::path::absolute(data)?));
        }
        Ok(match self.connection.connect().await? {
            Connection::Folder(endpoints) => Place::Folder(endpoints.data()?.to_owned()),
            Connection::Aws(aws) => Place::Aws(aws),
        })
    }
}

impl Place {
    /// The repository and the ledger, which are there.
    pub fn store(&self) -> anyhow::Result<Arc<dyn Store>> {
        Ok(match self {
            Self::Folder(data) => Arc::new(FolderStore::new(&DataFolder::open(data)?)),
            Self::Aws(aws) => Arc::new(aws.resources.store(&aws.clients)?),
        })
    }

    /// The online keys on AWS. Only their public parts are asked for.
    pub fn kms(aws: &AwsConnection) -> anyhow::Result<Arc<dyn Signer>> {
        Ok(Arc::new(aws.resources.signer(&aws.clients)?))
    }
}

/// A folder that waits for its first root: locked, with the online keys in it. Until the root is there, `tufline local` must not
/// make one of its own.
pub struct WaitingFolder {
    data: DataFolder,
    /// The repository and the ledger.
    pub store: FolderStore,
    /// The online keys.
    pub signer: FileSigner,
}

impl WaitingFolder {
    /// Makes the folder or opens it, and makes the keys that are missing.
    pub fn make(data: &Path) -> anyhow::Result<Self> {
        let data = DataFolder::lock(data)?;
        files::write(&marker(data.path()), b"")?;
        let signer = FileSigner::generate(&data.keys())?;
        Ok(Self { store: FolderStore::new(&data), data, signer })
    }

    /// Opens the folder of a repository that isn't running.
    pub fn open(data: &Path) -> anyhow::Result<Self> {
        DataFolder::open(data)?;
        let data = DataFolder::lock(data)?;
        let signer = FileSigner::open(&data.keys())?;
        Ok(Self { store: FolderStore::new(&data), data, signer })
    }

    /// The root is there.
    pub fn done(&self) -> anyhow::Result<()> {
        files::remove(&marker(self.data.path())).map(drop)
    }
}

/// Whether the folder waits for a root that people make.
pub fn waits(data: &Path) -> bool {
    marker(data).exists()
}

fn marker(data: &Path) -> PathBuf {
    data.join("root-ceremony")
}
