//! A repository on AWS.

use std::sync::Arc;

use anyhow::Context;
use tufline_aws::{Clients, KmsSigner, Resources};
use tufline_pipeline::{Deadline, Ports, ReadingMemory};
use tufline_store::{Signer, Store, VerifiedRoots};
use tufline_tuf::Config;
use url::Url;

use super::endpoints::PublicEndpoints;

/// A repository on AWS.
#[derive(Debug, Clone)]
pub struct AwsRepository {
    /// A client for each service.
    pub clients: Clients,
    /// The names of its buckets, queues, keys and event bus, as far as they are known.
    pub resources: Resources,
    /// The URLs for devices; `None` if neither the file nor the environment has them.
    pub public: Option<PublicEndpoints>,
    /// What the API asks of devices (`TUFLINE_ACCESS`).
    pub access: Option<String>,
    /// The functions' configuration, in JSON, if it is known.
    pub config: Option<String>,
    /// The prefix of its functions' names, if it is known.
    pub name: Option<String>,
    /// The deployed version of Tufline, if the parameter states it.
    pub version: Option<String>,
}

impl AwsRepository {
    /// The repository on AWS that the variables describe.
    pub fn described_by(
        variable: impl Fn(&str) -> Option<String>,
        clients: Clients,
    ) -> anyhow::Result<Self> {
        let (resources, public) = (Resources::from_variables(&variable), public_in(&variable)?);
        Ok(Self::with(variable, clients, resources, public))
    }

    /// A repository whose resources and URLs are known from elsewhere; the variables have the rest.
    pub fn with(
        variable: impl Fn(&str) -> Option<String>,
        clients: Clients,
        resources: Resources,
        public: Option<PublicEndpoints>,
    ) -> Self {
        Self {
            clients,
            resources,
            public,
            access: variable("TUFLINE_ACCESS"),
            config: variable("TUFLINE_CONFIG"),
            name: variable("TUFLINE_REPOSITORY"),
            version: variable("TUFLINE_VERSION"),
        }
    }

    /// The store of its repository and ledger buckets. Its roots are verified.
    pub fn store(&self) -> anyhow::Result<Arc<dyn Store>> {
        let stored = Arc::new(self.resources.store(&self.clients)?);
        Ok(Arc::new(VerifiedRoots::new(stored, self.config()?.trusted_root)))
    }

    /// The repository's policy, as its functions get it; the default if it isn't known.
    pub fn config(&self) -> anyhow::Result<Config> {
        let config = self.config.as_deref().map(serde_json::from_str).transpose();
        Ok(config.context("TUFLINE_CONFIG is not a configuration in JSON")?.unwrap_or_default())
    }

    /// The online keys. Before it signs, it asks KMS only for their public parts.
    pub fn kms_signer(&self) -> anyhow::Result<KmsSigner> {
        Ok(self.resources.signer(&self.clients)?)
    }

    /// The ports for the pipeline's code that an operator runs.
    pub fn ports(&self, signer: Arc<dyn Signer>) -> anyhow::Result<Ports> {
        let Self { clients, resources, .. } = self;
        let config = self.config()?;
        Ok(Ports {
            store: self.store()?,
            uploads: Arc::new(resources.uploads(clients)?),
            deliveries: Arc::new(resources.deliveries(clients)?),
            blobs: Arc::new(resources.blobs(clients, config.large_uploads.into())?),
            queues: Arc::new(resources.queues(clients)?),
            signer,
            events: Arc::new(resources.events(clients)?),
            clock: Arc::new(tufline_store::SystemClock),
            config: Arc::new(config),
            reading: ReadingMemory::default(),
            deadline: Deadline::never(),
        })
    }
}

fn public_in(variable: impl Fn(&str) -> Option<String>) -> anyhow::Result<Option<PublicEndpoints>> {
    let url = |name: &str| {
        let url = variable(name)
            .map(|url| url.parse::<Url>().with_context(|| format!("{name} is not a URL")));
        url.transpose()
    };
    let (metadata, targets) = (url("TUFLINE_METADATA_URL")?, url("TUFLINE_TARGETS_URL")?);
    let (pack_url, root) = (url("TUFLINE_PACK_URL")?, variable("TUFLINE_TRUSTED_ROOT"));
    Ok(metadata.zip(targets).zip(root).map(|((metadata_url, targets_url), root)| PublicEndpoints {
        metadata_url,
        targets_url,
        pack_url,
        trusted_root: root.into(),
    }))
}
