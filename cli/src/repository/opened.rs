//! The repository that a command works on.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tufline_aws::CopyLimits;
use tufline_folder::DataFolder;
use tufline_store::{Blobs, Change, Chunks, Clock, Message, Queues, Signer, Store, Uploads};
use tufline_tuf::Config;
use tufline_tuf::config::Expiry;

use super::aws::AwsRepository;
use super::endpoints::PublicEndpoints;
use super::folder::FolderRepository;
use super::request::{self, Request};
use crate::access::DeviceAccess;

/// A repository as its operators see it: a part that they may not read is an error. Uploaders have
/// [`UploaderView`](super::UploaderView).
#[derive(Debug, Clone)]
pub enum Repository {
    Folder(FolderRepository),
    Aws(Box<AwsRepository>),
}

impl Repository {
    /// The store of the repository and the ledger.
    pub fn store(&self) -> anyhow::Result<Arc<dyn Store>> {
        match self {
            Self::Folder(folder) => folder.store(),
            Self::Aws(aws) => aws.store(),
        }
    }

    pub fn config(&self) -> anyhow::Result<Config> {
        match self {
            Self::Folder(folder) => folder.config(),
            Self::Aws(aws) => aws.config(),
        }
    }

    /// How long documents are valid after they are signed, if that is known.
    pub fn lifetimes(&self) -> anyhow::Result<Option<Expiry>> {
        match self {
            // The endpoints alone don't tell a deployment's configuration.
            Self::Aws(aws) if aws.config.is_none() => Ok(None),
            _ => Ok(Some(self.config()?.expiry)),
        }
    }

    pub fn clock(&self) -> Arc<dyn Clock> {
        match self {
            Self::Folder(_) | Self::Aws(_) => Arc::new(tufline_store::SystemClock),
        }
    }

    /// The uploads. Fails while the uploads folder is not mounted; everything else can still be
    /// read then.
    pub fn uploads(&self) -> anyhow::Result<Arc<dyn Uploads>> {
        Ok(match self {
            Self::Folder(folder) => Arc::new(folder.uploads()?),
            Self::Aws(aws) => Arc::new(aws.resources.uploads(&aws.clients)?),
        })
    }

    /// The targets' bytes. Fails while the uploads folder is not mounted.
    pub fn blobs(&self) -> anyhow::Result<Arc<dyn Blobs>> {
        Ok(match self {
            Self::Folder(folder) => Arc::new(folder.blobs()?),
            // The limits don't matter: no command copies blobs.
            Self::Aws(aws) => Arc::new(aws.resources.blobs(&aws.clients, CopyLimits::default())?),
        })
    }

    /// The chunks of targets.
    pub fn chunks(&self) -> anyhow::Result<Arc<dyn Chunks>> {
        Ok(match self {
            Self::Folder(folder) => Arc::new(folder.chunks()?),
            Self::Aws(aws) => Arc::new(aws.resources.chunks(&aws.clients)?),
        })
    }

    /// The queues; `None` in the embedded form, whose process holds them in memory.
    pub fn queues(&self) -> anyhow::Result<Option<Arc<dyn Queues>>> {
        Ok(match self {
            Self::Folder(_) => None,
            Self::Aws(aws) => Some(Arc::new(aws.resources.queues(&aws.clients)?)),
        })
    }

    /// The online keys, some of which may be lost.
    pub fn signer(&self) -> anyhow::Result<Arc<dyn Signer>> {
        Ok(match self {
            Self::Folder(folder) => Arc::new(folder.signer()?),
            Self::Aws(aws) => Arc::new(aws.kms_signer()?),
        })
    }

    /// The data folder, in the embedded form.
    pub fn data(&self) -> Option<&Path> {
        match self {
            Self::Folder(folder) => Some(folder.data()),
            Self::Aws(_) => None,
        }
    }

    /// The endpoints for devices.
    pub fn public(&self) -> anyhow::Result<&PublicEndpoints> {
        match self {
            Self::Folder(folder) => Ok(&folder.endpoints()?.public),
            Self::Aws(aws) => aws.public.as_ref().context(
                "it is not known where devices find the repository: set TUFLINE_METADATA_URL, \
                 TUFLINE_TARGETS_URL and TUFLINE_TRUSTED_ROOT",
            ),
        }
    }

    /// What the API asks of devices.
    pub fn device_access(&self) -> anyhow::Result<DeviceAccess> {
        match self {
            Self::Folder(_) => Ok(DeviceAccess::Open),
            Self::Aws(aws) => DeviceAccess::of(aws.access.as_deref(), &aws.clients),
        }
    }

    /// Wakes the stages: sign for a generation that this command made, and rebuild for `changes`.
    /// Returns what to add to the command's message.
    pub async fn wake(&self, changes: Vec<Change>) -> anyhow::Result<&'static str> {
        match self {
            Self::Folder(folder) if DataFolder::lock(folder.data()).is_ok() => {
                Ok(", to be published when `tufline local` runs again")
            }
            Self::Folder(folder) => {
                request::ask_and_wait(folder.data(), Request::Reconcile).await.map(|_| "")
            }
            Self::Aws(aws) => {
                let queues = aws.resources.queues(&aws.clients)?;
                for message in Message::changes(changes).into_iter().chain([Message::Sign]) {
                    queues.send(&message, Duration::ZERO).await?;
                }
                Ok("")
            }
        }
    }
}
