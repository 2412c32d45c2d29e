//! Which repository a root is for.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tufline_folder::{DataFolder, FileSigner};
use tufline_store::{Change, Message, Queues, Signer, Store};
use tufline_tuf::Config;

use crate::connection::{AwsConnection, Connection, ConnectionArguments};
use crate::local::{self, configured};
use crate::{files, reconcile};

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
    /// Whether somebody said which one.
    pub fn is_given(&self) -> bool {
        self.data.is_some() || self.connection.endpoints.is_some() || self.connection.stack.is_some()
    }

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
            Self::Folder(data) => local::store(&DataFolder::open(data)?, &configured(data)?),
            Self::Aws(aws) => aws.store()?,
        })
    }

    /// The repository's policy.
    pub fn config(&self) -> anyhow::Result<Config> {
        match self {
            Self::Folder(data) => configured(data),
            Self::Aws(aws) => aws.config(),
        }
    }

    /// Has a generation signed that this process made, and `changes` looked at; answers what to add for people.
    pub async fn wake(&self, changes: Vec<Change>) -> anyhow::Result<&'static str> {
        match self {
            Self::Folder(data) if DataFolder::lock(data).is_ok() => Ok(", published when `tufline local` runs again"),
            Self::Folder(data) => reconcile::ask(data).await.map(|_| ""),
            Self::Aws(aws) => {
                let queues = aws.resources.queues(&aws.clients)?;
                for message in Message::changes(changes).into_iter().chain([Message::Sign]) {
                    queues.send(&message, Duration::ZERO).await?;
                }
                Ok("")
            }
        }
    }

    /// The online keys, of which some may be lost.
    pub fn signer(&self) -> anyhow::Result<Arc<dyn Signer>> {
        Ok(match self {
            Self::Folder(data) => Arc::new(FileSigner::at(&DataFolder::open(data)?.keys())),
            Self::Aws(aws) => Self::kms(aws)?,
        })
    }

    /// The online keys on AWS. Only their public parts are asked for.
    pub fn kms(aws: &AwsConnection) -> anyhow::Result<Arc<dyn Signer>> {
        Ok(Arc::new(aws.resources.signer(&aws.clients)?))
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
        Ok(Self { store: local::store(&data, &configured(data.path())?), data })
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
    pub fn wait(&self) -> anyhow::Result<()> {
        files::write(&marker(self.data.path()), b"")
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
