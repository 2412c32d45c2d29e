//! A repository as a source for a client: where it is, and which root is trusted.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context;
use serde_json::Value;
use tufline_folder::given;
use tufline_metadata::TrustedRoot;

use super::base::Base;
use super::client::{self, Scope};
use super::transport::Reader;
use super::verified::VerifiedRepository;
use crate::access::DeviceAccess;
use crate::failure::is_denied;
use crate::repository::Repository;
use crate::text::Quoted;

/// Where a client finds a repository, and what it trusts.
pub struct ClientSource {
    metadata: Base,
    pub(super) targets: Base,
    /// The place of the metadata, for people.
    place: String,
    root: Vec<u8>,
    pub(super) reader: Reader,
}

impl ClientSource {
    /// The source for a Tufline repository.
    pub fn of(repository: &Repository) -> anyhow::Result<Self> {
        let public = repository.public()?;
        let root = read_root(&public.trusted_root)?;
        let (metadata, targets) =
            (Base::of(public.metadata_url.clone())?, Base::of(public.targets_url.clone())?);
        Self::new(metadata, targets, root, &repository.device_access()?)
    }

    /// The source for any TUF repository with open access.
    pub fn at(metadata: Base, targets: Base, root: Vec<u8>) -> anyhow::Result<Self> {
        Self::new(metadata, targets, root, &DeviceAccess::Open)
    }

    fn new(
        metadata: Base,
        targets: Base,
        root: Vec<u8>,
        access: &DeviceAccess,
    ) -> anyhow::Result<Self> {
        let place = metadata.to_string();
        Ok(Self { metadata, targets, place, root, reader: Reader::new(access)? })
    }

    /// Updates a client that trusts nothing but the root, and verifies everything: every role and,
    /// unlike a device, every root (TUF specification 5.3 to 5.6). It doesn't fetch unchanging
    /// files again that the folder `kept` has, unless they are damaged.
    pub async fn observe(&self, kept: Option<&Path>) -> anyhow::Result<VerifiedRepository> {
        let look = async |kept| self.look(Scope::All(kept)).await;
        let seen = match (look(kept).await, kept) {
            (Err(error), Some(_)) if !is_denied(&error) => look(None).await,
            (seen, _) => seen,
        };
        seen.with_context(|| format!("a client cannot update from {}", self.place))
    }

    async fn look(&self, scope: Scope<'_>) -> anyhow::Result<VerifiedRepository> {
        client::look(&self.reader, &self.metadata, &self.root, scope).await
    }

    /// Updates as a device does that asks for `names`: it reads only what these need.
    pub async fn update(&self, names: &BTreeSet<String>) -> anyhow::Result<VerifiedRepository> {
        let seen = self.look(Scope::Names(names)).await;
        let seen = seen.with_context(|| format!("a device cannot update from {}", self.place))?;
        seen.tell();
        Ok(seen)
    }

    /// The version of the trusted root.
    pub fn trusted_version(&self) -> anyhow::Result<u64> {
        Ok(TrustedRoot::begin(&self.root).context("the trusted root")?.version())
    }

    /// The bytes of version `version` of the root, unverified; `None` if there is no such file.
    pub async fn root_there(&self, version: u64) -> anyhow::Result<Option<Vec<u8>>> {
        let bytes = self
            .reader
            .read(&self.metadata, &format!("{version}.root.json"), client::LARGEST_ROOT)
            .await?;
        Ok(bytes.ok().filter(|bytes| says_root(bytes, version)))
    }

    /// The bytes of `timestamp.json`, unverified: only to see whether anything changed.
    pub async fn peek(&self) -> anyhow::Result<Vec<u8>> {
        let bytes =
            self.reader.read(&self.metadata, "timestamp.json", client::LARGEST_TIMESTAMP).await?;
        bytes
            .map_err(|absent| absent.of("timestamp.json"))
            .with_context(|| format!("at {}", self.place))
    }
}

/// Whether a file claims to be this root. A link in its place may lead to any file, which must not
/// be published.
fn says_root(bytes: &[u8], version: u64) -> bool {
    let file: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let signed = &file["signed"];
    signed["_type"].as_str().is_some_and(|kind| kind.eq_ignore_ascii_case("root"))
        && signed["version"] == version
}

/// Reads the file of a trusted root that the user named.
pub fn read_root(path: &Path) -> anyhow::Result<Vec<u8>> {
    given::read(path).with_context(|| format!("cannot read the trusted root {}", path.quoted()))
}
