//! A repository as a client reads it, with the very bytes that it verified: what is copied elsewhere is what a device trusts.

mod recorder;
mod target;
mod transport;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use tough::schema::{Root, Signed};
use tough::{Limits, Repository, RepositoryLoader, Transport};
use tufline_tuf::root::Chain;
use url::Url;

use crate::access::{DeviceAccess, DeviceTransport};
use crate::connection::Connection;
use crate::show::complain;
use recorder::Recorder;
use transport::AnyTransport;

pub use target::{Listed, consistent_paths, listed};

/// What is read of a root at most, in bytes, as python-tuf and go-tuf do it.
const LARGEST_ROOT: u64 = 512_000;

/// What is read of a targets document at most, in bytes: others keep all targets in one.
const LARGEST_TARGETS: u64 = 256 * 1024 * 1024;

/// A repository by its URLs.
#[derive(Debug, Args)]
pub struct UrlArguments {
    /// Where the targets are, if not in `targets/` beside the metadata
    #[arg(long, value_name = "URL")]
    pub targets: Option<Url>,
    /// The root that is trusted, as a device ships with it: of any version
    #[arg(long, value_name = "FILE")]
    pub root: Option<PathBuf>,
}

impl UrlArguments {
    /// Where the targets are, if the metadata is at this URL.
    pub fn targets_of(&self, metadata: &Url) -> Result<Url, url::ParseError> {
        self.targets.clone().map_or_else(|| folder(metadata.clone()).join("../targets/"), Ok)
    }
}

/// Where a client finds a repository, and what it trusts.
pub struct Source {
    metadata: Url,
    targets: Url,
    root: Vec<u8>,
    transport: AnyTransport,
}

/// A repository that a client verified.
pub struct Seen {
    /// As the client has it.
    pub repository: Repository,
    /// All metadata files by their names, with every root from the first on.
    pub files: BTreeMap<String, Vec<u8>>,
    /// The roots by their versions.
    pub roots: BTreeMap<u64, Vec<u8>>,
}

impl Source {
    /// A repository of Tufline.
    pub fn of(connection: &Connection) -> anyhow::Result<Self> {
        let public = connection.public()?;
        let root = read(&public.trusted_root)?;
        let transport = connection.device_access()?.transport()?;
        Ok(Self::new(public.metadata_url.clone(), public.targets_url.clone(), root, transport))
    }

    /// Any other that is open to all.
    pub fn at(metadata: Url, targets: Url, root: Vec<u8>) -> anyhow::Result<Self> {
        Ok(Self::new(metadata, targets, root, DeviceAccess::Open.transport()?))
    }

    fn new(metadata: Url, targets: Url, root: Vec<u8>, transport: DeviceTransport) -> Self {
        Self { metadata: folder(metadata), targets: folder(targets), root, transport: AnyTransport(transport) }
    }

    /// Updates a client that trusts nothing but the root, and verifies all there is: every role and, unlike a device, every root
    /// (TUF specification 5.3 to 5.6). What the folder `kept` has of files that never change is not asked for again, unless that
    /// is damaged.
    pub async fn observe(&self, kept: Option<&Path>) -> anyhow::Result<Seen> {
        match (self.look(kept).await, kept) {
            (Err(_), Some(_)) => self.look(None).await,
            (seen, _) => seen,
        }
    }

    async fn look(&self, kept: Option<&Path>) -> anyhow::Result<Seen> {
        let recorder = Recorder::new(self.transport.clone(), &self.metadata, kept, &self.root);
        let limits = Limits { max_targets_size: LARGEST_TARGETS, max_root_size: LARGEST_ROOT, ..Limits::default() };
        let loader = RepositoryLoader::new(&self.root, self.metadata.clone(), self.targets.clone());
        let repository = loader.transport(recorder.clone()).limits(limits).load().await;
        let repository = match repository {
            Ok(repository) => repository,
            Err(error) => return Err(self.explain(error, &recorder.files())),
        };
        if let Some(ignored) = recorder.ignored() {
            complain!("tufline: {ignored}");
        }
        let roots = self.roots(&recorder, &repository.root().signed).await?;
        Ok(Seen { repository, files: recorder.files(), roots })
    }

    /// All roots, with those that a device with this trusted root doesn't need: the first must lead to it.
    async fn roots(&self, recorder: &Recorder, newest: &Root) -> anyhow::Result<BTreeMap<u64, Vec<u8>>> {
        let trusted: Signed<Root> = serde_json::from_slice(&self.root).context("the trusted root cannot be read")?;
        let (mut chain, mut roots) = (None::<Chain>, BTreeMap::new());
        for version in 1..=newest.version.get() {
            let name = format!("{version}.root.json");
            let bytes = match recorder.file(&name) {
                Some(bytes) => bytes,
                None => transport::read(recorder, self.metadata.join(&name)?, LARGEST_ROOT)
                    .await
                    .with_context(|| format!("{name} cannot be had, without which no older device can follow"))?,
            };
            roots.insert(version, bytes.clone());
            let bytes = bytes.into();
            match &mut chain {
                None => chain = Some(Chain::begin(&bytes).with_context(|| format!("{name} is not valid"))?),
                Some(chain) => {
                    chain.extend(&bytes).with_context(|| format!("{name} does not follow the one before"))?;
                }
            }
            if version == trusted.signed.version.get()
                && chain.as_ref().is_none_or(|chain| chain.newest() != &trusted.signed)
            {
                bail!("{name} is another root than the trusted one");
            }
        }
        Ok(roots)
    }

    /// Why a client can't read the repository.
    fn explain(&self, error: tough::error::Error, files: &BTreeMap<String, Vec<u8>>) -> anyhow::Error {
        let unlisted = files.iter().find_map(|(name, bytes)| Some((name, target::without_sha256(bytes)?)));
        match unlisted {
            Some((file, target)) => anyhow::anyhow!(
                "{file} has no sha256 for the target {target}, which is what clients and this repository find targets by: sign it again \
                 there with sha256 first"
            ),
            None => anyhow::Error::new(error).context(format!("a client cannot update from {}", self.metadata)),
        }
    }

    /// Where the targets are.
    fn target(&self, path: &str) -> anyhow::Result<Url> {
        Ok(self.targets.join(path)?)
    }

    fn transport(&self) -> &dyn Transport {
        &self.transport
    }
}

/// Reads a file that somebody named.
pub fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read the trusted root {}", path.display()))
}

/// Without the slash at its end the last part of a URL would be a file.
pub fn folder(mut url: Url) -> Url {
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    url
}
