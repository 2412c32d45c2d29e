//! A repository from inside: what operators' commands and `wait` read beside the public URLs.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::Context;
use tough::schema::{Signed, Targets};
use tufline_folder::{DataFolder, FolderStore, FolderUploads};
use tufline_functions::{Ports, ledger};
use tufline_store::{Clock, Folder, Key, Signer, Store, Uploads};
use tufline_tuf::{Config, Manifest};

use crate::connection::{AwsConnection, Connection};
use crate::edge;

/// The most keys that are listed at once.
const PAGE: usize = 1000;

/// The uploads and the ledger.
#[derive(Clone)]
pub struct Inside {
    /// The repository and the ledger.
    pub store: Arc<dyn Store>,
    /// What build systems dropped.
    pub uploads: Arc<dyn Uploads>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl Inside {
    /// For an operator, who may read everything: what may not be read is an error.
    pub fn for_operator(connection: &Connection) -> anyhow::Result<Self> {
        Self::of(connection, false)
    }

    /// For an uploader, who on AWS may read little of the ledger and list nothing of it: what may not be read counts as
    /// missing.
    pub fn for_uploader(connection: &Connection) -> anyhow::Result<Self> {
        Self::of(connection, true)
    }

    fn of(connection: &Connection, forbidden_is_missing: bool) -> anyhow::Result<Self> {
        match connection {
            Connection::Folder(endpoints) => {
                let clock = Arc::new(tufline_folder::SystemClock);
                let data = DataFolder::open(endpoints.data()?)?;
                let uploads = Arc::new(FolderUploads::open(&data, &endpoints.uploads, clock.clone())?);
                Ok(Self { store: Arc::new(FolderStore::new(&data)), uploads, clock })
            }
            Connection::Aws(aws) => {
                let store = aws.resources.store(&aws.clients)?;
                let store = if forbidden_is_missing { store.forbidden_is_missing() } else { store };
                let uploads = Arc::new(aws.resources.uploads(&aws.clients)?);
                Ok(Self { store: Arc::new(store), uploads, clock: Arc::new(tufline_aws::SystemClock) })
            }
        }
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

    /// The names of all targets in the generation of `manifest`, which is published.
    pub async fn names(&self, manifest: &Manifest) -> anyhow::Result<BTreeSet<String>> {
        let mut names = BTreeSet::new();
        for (role, entry) in &manifest.roles {
            let key = Key::Metadata { role: role.clone(), version: entry.version };
            let document: Option<Signed<Targets>> = ledger::read(&*self.store, &key).await?;
            names.extend(
                document
                    .into_iter()
                    .flat_map(|document| document.signed.targets)
                    .map(|(name, _)| name.raw().to_owned()),
            );
        }
        Ok(names)
    }
}

/// What functions of the pipeline need that an operator runs on AWS.
pub fn ports(aws: &AwsConnection, signer: Arc<dyn Signer>) -> anyhow::Result<Ports> {
    let AwsConnection { clients, resources, .. } = aws;
    // As the functions get it.
    let config = edge::variable("TUFLINE_CONFIG").map(|config| serde_json::from_str(&config)).transpose();
    let config: Config = config.context("TUFLINE_CONFIG is not a configuration in JSON")?.unwrap_or_default();
    Ok(Ports {
        store: Arc::new(resources.store(clients)?),
        uploads: Arc::new(resources.uploads(clients)?),
        blobs: Arc::new(resources.blobs(clients)?),
        queues: Arc::new(resources.queues(clients)?),
        signer,
        events: Arc::new(resources.events(clients)?),
        clock: Arc::new(tufline_aws::SystemClock),
        config: Arc::new(config),
    })
}
