//! The repository that a command is about.

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

/// A repository as its operators have it: what they may not read is an error. What an uploader has is [`UploaderView`](super::UploaderView).
#[derive(Debug, Clone)]
pub enum Repository {
    /// In a folder.
    Folder(FolderRepository),
    /// On AWS.
    Aws(Box<AwsRepository>),
}

impl Repository {
    /// The repository and the ledger, which are there.
    pub fn store(&self) -> anyhow::Result<Arc<dyn Store>> {
        match self {
            Self::Folder(folder) => folder.store(),
            Self::Aws(aws) => aws.store(),
        }
    }

    /// The repository's policy.
    pub fn config(&self) -> anyhow::Result<Config> {
        match self {
            Self::Folder(folder) => folder.config(),
            Self::Aws(aws) => aws.config(),
        }
    }

    /// How long documents are valid from their signing, where that is known.
    pub fn lifetimes(&self) -> anyhow::Result<Option<Expiry>> {
        match self {
            // What a deployment has isn't known by its endpoints alone.
            Self::Aws(aws) if aws.config.is_none() => Ok(None),
            _ => Ok(Some(self.config()?.expiry)),
        }
    }

    /// The time.
    pub fn clock(&self) -> Arc<dyn Clock> {
        match self {
            Self::Folder(_) | Self::Aws(_) => Arc::new(tufline_store::SystemClock),
        }
    }

    /// What build systems dropped. Fails while the uploads folder is not mounted; all else can be looked at then.
    pub fn uploads(&self) -> anyhow::Result<Arc<dyn Uploads>> {
        Ok(match self {
            Self::Folder(folder) => Arc::new(folder.uploads()?),
            Self::Aws(aws) => Arc::new(aws.resources.uploads(&aws.clients)?),
        })
    }

    /// The bytes of targets. Fails while the uploads folder is not mounted.
    pub fn blobs(&self) -> anyhow::Result<Arc<dyn Blobs>> {
        Ok(match self {
            Self::Folder(folder) => Arc::new(folder.blobs()?),
            // Nothing is copied.
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

    /// The queues; `None` in the embedded form, where they are in the process that runs it.
    pub fn queues(&self) -> anyhow::Result<Option<Arc<dyn Queues>>> {
        Ok(match self {
            Self::Folder(_) => None,
            Self::Aws(aws) => Some(Arc::new(aws.resources.queues(&aws.clients)?)),
        })
    }

    /// The online keys, of which some may be lost.
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

    /// What devices need.
    pub fn public(&self) -> anyhow::Result<&PublicEndpoints> {
        match self {
            Self::Folder(folder) => Ok(&folder.endpoints()?.public),
            Self::Aws(aws) => aws.public.as_ref().context(
                "where devices find the repository isn't known: set TUFLINE_METADATA_URL, TUFLINE_TARGETS_URL and \
                 TUFLINE_TRUSTED_ROOT",
            ),
        }
    }

    /// How devices are let in.
    pub fn device_access(&self) -> anyhow::Result<DeviceAccess> {
        match self {
            Self::Folder(_) => Ok(DeviceAccess::Open),
            Self::Aws(aws) => DeviceAccess::of(aws.access.as_deref(), &aws.clients),
        }
    }

    /// Has a generation signed that this process made, and `changes` looked at; answers what to add for people.
    pub async fn wake(&self, changes: Vec<Change>) -> anyhow::Result<&'static str> {
        match self {
            Self::Folder(folder) if DataFolder::lock(folder.data()).is_ok() => {
                Ok(", published when `tufline local` runs again")
            }
            Self::Folder(folder) => request::ask_and_wait(folder.data(), Request::Reconcile).await.map(|_| ""),
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
