//! A repository from inside: what operators' commands and `wait` read beside the public URLs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use anyhow::anyhow;
use tough::schema::{Signed, Targets};
use tufline_aws::CopyLimits;
use tufline_folder::{DataFolder, FolderBlobs, FolderUploads};
use tufline_pipeline::Deadline;
use tufline_pipeline::Ports;
use tufline_pipeline::ReadingMemory;
use tufline_pipeline::state::index::read_index;
use tufline_pipeline::state::ledger;
use tufline_store::{Blobs, Clock, Folder, Key, Signer, Store, Uploads};
use tufline_tuf::index::Place;
use tufline_tuf::{Manifest, RoleName, TargetName, generation};

use crate::connection::{AwsConnection, Connection};
use crate::local::{self, configured};

/// The most keys that are listed at once.
const PAGE: usize = 1000;

/// The repository and the ledger, and the uploads where they are asked for.
pub struct Inside {
    /// The repository and the ledger.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    connection: Connection,
    /// What may not be read counts as missing.
    for_uploader: bool,
}

impl Inside {
    /// For an operator, who may read everything: what may not be read is an error.
    pub fn for_operator(connection: &Connection) -> anyhow::Result<Self> {
        Self::of(connection, false)
    }

    /// For an uploader, who on AWS may read little of the ledger and list nothing of it, and may list uploads below its prefix only:
    /// what may not be read counts as missing.
    pub fn for_uploader(connection: &Connection) -> anyhow::Result<Self> {
        Self::of(connection, true)
    }

    fn of(connection: &Connection, for_uploader: bool) -> anyhow::Result<Self> {
        let (store, clock): (Arc<dyn Store>, Arc<dyn Clock>) = match connection {
            Connection::Folder(endpoints) => (
                local::store(&DataFolder::open(endpoints.data()?)?, &configured(endpoints.data()?)?),
                Arc::new(tufline_folder::SystemClock),
            ),
            Connection::Aws(aws) => {
                let store: Arc<dyn Store> = if for_uploader {
                    // Roots are none of its affair.
                    Arc::new(aws.resources.store(&aws.clients)?.forbidden_is_missing())
                } else {
                    aws.store()?
                };
                (store, Arc::new(tufline_aws::SystemClock))
            }
        };
        Ok(Self { store, clock, connection: connection.clone(), for_uploader })
    }

    /// The data folder, in the embedded form.
    pub fn data(&self) -> anyhow::Result<Option<&Path>> {
        match &self.connection {
            Connection::Folder(endpoints) => endpoints.data().map(Some),
            Connection::Aws(_) => Ok(None),
        }
    }

    /// What build systems dropped. Fails while the uploads folder is not mounted; all else can be looked at then.
    pub fn uploads(&self) -> anyhow::Result<Arc<dyn Uploads>> {
        Ok(match &self.connection {
            Connection::Folder(endpoints) => {
                let data = DataFolder::open(endpoints.data()?)?;
                Arc::new(FolderUploads::open(&data, &endpoints.uploads, self.clock.clone())?)
            }
            Connection::Aws(aws) => {
                let uploads = aws.resources.uploads(&aws.clients)?;
                Arc::new(if self.for_uploader { uploads.listing_tells() } else { uploads })
            }
        })
    }

    /// The bytes of targets. Fails while the uploads folder is not mounted.
    pub fn blobs(&self) -> anyhow::Result<Arc<dyn Blobs>> {
        Ok(match &self.connection {
            Connection::Folder(endpoints) => {
                let data = DataFolder::open(endpoints.data()?)?;
                let uploads = FolderUploads::open(&data, &endpoints.uploads, self.clock.clone())?;
                Arc::new(FolderBlobs::new(&data, &uploads))
            }
            // Nothing is copied.
            Connection::Aws(aws) => Arc::new(aws.resources.blobs(&aws.clients, CopyLimits::default())?),
        })
    }

    /// All keys of a folder of the ledger.
    pub async fn list(&self, folder: Folder) -> anyhow::Result<Vec<Key>> {
        let mut keys: Vec<Key> = Vec::new();
        loop {
            let page = self.store.list(folder, keys.last(), PAGE).await?;
            let is_last = page.len() < PAGE;
            keys.extend(page);
            if is_last {
                return Ok(keys);
            }
        }
    }

    /// Those of `names` that are targets in the generation of `manifest`, which is published. Reads only the roles in which
    /// they would stand.
    pub async fn published(
        &self,
        manifest: &Manifest,
        names: &BTreeSet<TargetName>,
    ) -> anyhow::Result<BTreeSet<TargetName>> {
        let places: Vec<Place<'_>> = names.iter().map(Place::Name).collect();
        let index = read_index(&*self.store, manifest, &places).await?;
        let mut by_role: BTreeMap<RoleName, Vec<&TargetName>> = BTreeMap::new();
        for name in names {
            by_role
                .entry(index.leaf(name).map_err(|(role, _)| anyhow!("the index lacks {role}"))?)
                .or_default()
                .push(name);
        }
        let mut published = BTreeSet::new();
        for (role, names) in by_role {
            let Some(entry) = index.entry(&role) else { continue };
            let key = Key::Metadata { role, version: entry.document.version };
            let document: Option<Signed<Targets>> = ledger::read(&*self.store, &key).await?;
            let Some(document) = document else { continue };
            let is_listed = |name: &TargetName| generation::content_of(&document.signed, name).is_some();
            published.extend(names.into_iter().filter(|name| is_listed(name)).cloned());
        }
        Ok(published)
    }
}

/// What functions of the pipeline need that an operator runs on AWS.
pub fn ports(aws: &AwsConnection, signer: Arc<dyn Signer>) -> anyhow::Result<Ports> {
    let AwsConnection { clients, resources, .. } = aws;
    let config = aws.config()?;
    Ok(Ports {
        store: aws.store()?,
        uploads: Arc::new(resources.uploads(clients)?),
        deliveries: Arc::new(resources.deliveries(clients)?),
        blobs: Arc::new(resources.blobs(clients, config.large_uploads.into())?),
        queues: Arc::new(resources.queues(clients)?),
        signer,
        events: Arc::new(resources.events(clients)?),
        clock: Arc::new(tufline_aws::SystemClock),
        config: Arc::new(config),
        reading: ReadingMemory::default(),
        deadline: Deadline::never(),
    })
}
