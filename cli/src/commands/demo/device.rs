//! A device: a TUF client (`tough`) that knows nothing but the trusted root and two URLs.

use anyhow::Context;
use tempfile::TempDir;
use tough::{Repository, RepositoryLoader, Transport};
use tufline_folder::given;
use tufline_tuf::{Sha256, TargetName};

use crate::repository::PublicEndpoints;
use crate::text::Quoted;
use crate::waiting::VisibleTarget;

/// A device with its own state, which is deleted on drop.
pub struct Device<T> {
    endpoints: PublicEndpoints,
    root: Vec<u8>,
    transport: T,
    state: TempDir,
}

impl<T: Transport + Clone + 'static> Device<T> {
    /// A new device that ships with the trusted root of `endpoints`.
    pub fn new(endpoints: &PublicEndpoints, transport: T) -> anyhow::Result<Self> {
        let file = &endpoints.trusted_root;
        let root = given::read(file)
            .with_context(|| format!("cannot read the trusted root {}", file.quoted()))?;
        let state = tempfile::tempdir().context("cannot make a folder for the client's state")?;
        Ok(Self { endpoints: endpoints.clone(), root, transport, state })
    }

    /// Updates the metadata and verifies it (TUF specification 5.3 to 5.6), also against what this
    /// device saw before.
    pub async fn update(&self) -> anyhow::Result<Repository> {
        let PublicEndpoints { metadata_url, targets_url, .. } = self.endpoints.clone();
        let loader = RepositoryLoader::new(&self.root, metadata_url, targets_url);
        let loader = loader.transport(self.transport.clone()).datastore(self.state.path());
        loader.load().await.context("a device cannot update")
    }
}

/// The target `name`, if the verified metadata has it.
pub fn find_target(repository: &Repository, name: &TargetName) -> Option<VisibleTarget> {
    // A device's search: several delegated roles may list the name, but only the first one trusted
    // for it counts.
    let target = tough::TargetName::new(name.as_str()).ok()?;
    let target = repository.targets().signed.find_target(&target, false).ok()?;
    let sha256: [u8; 32] = target.hashes.sha256.as_ref().try_into().ok()?;
    Some(VisibleTarget { sha256: Sha256::from_bytes(sha256), length: target.length })
}
