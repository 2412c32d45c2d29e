//! A repository as a client reads it, with the very bytes that it verified: what is copied elsewhere is what a device trusts. Others may have made
//! it: `tufline-metadata` reads all that clients read.

mod base;
mod client;
mod target;
mod transport;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::Args;
use serde_json::Value;
use tufline_metadata::{Snapshot, Targets, Timestamp, TrustedRoot};

use crate::access::DeviceAccess;
use crate::connection::Connection;
use crate::show::{Quoted, complain};
use transport::Reader;

use client::Look;
use tufline_folder::given;

pub use base::Base;
pub use client::{LONGEST_WALK, file_name};
pub use target::{Listed, consistent_paths, listed};

/// A repository by its URLs.
#[derive(Debug, Args)]
pub struct UrlArguments {
    /// Where the targets are, if not in `targets/` beside the metadata
    #[arg(long, value_name = "URL|DIR", value_parser = Base::parser())]
    pub targets: Option<Base>,
    /// The root that is trusted, as a device ships with it: of any version
    #[arg(long, value_name = "FILE")]
    pub root: Option<PathBuf>,
}

impl UrlArguments {
    /// Where the targets are, if the metadata is there.
    pub fn targets_of(&self, metadata: &Base) -> Base {
        self.targets.clone().unwrap_or_else(|| metadata.beside("targets"))
    }
}

/// Where a client finds a repository, and what it trusts.
pub struct Source {
    metadata: Base,
    targets: Base,
    /// Where the metadata is, for people.
    place: String,
    root: Vec<u8>,
    reader: Reader,
}

/// A repository that a client verified.
pub struct Seen {
    /// The newest root.
    pub root: TrustedRoot,
    /// The timestamp.
    pub timestamp: Timestamp,
    /// The snapshot.
    pub snapshot: Snapshot,
    /// The targets roles by their names.
    pub roles: BTreeMap<String, Targets>,
    /// All metadata files by their names, but for roots.
    pub files: BTreeMap<String, Vec<u8>>,
    /// The roots by their versions, without a gap: from the oldest that leads to the trusted one to the newest.
    pub roots: BTreeMap<u64, Vec<u8>>,
    /// What to tell of a next root that counts as absent.
    pub passed_over: Option<String>,
}

impl Seen {
    /// Tells of what counts as absent, once nothing else is to be told of it.
    pub fn tell(&self) {
        if let Some(passed_over) = &self.passed_over {
            complain!("tufline: {passed_over}");
        }
    }
}

impl Source {
    /// A repository of Tufline.
    pub fn of(connection: &Connection) -> anyhow::Result<Self> {
        let public = connection.public()?;
        let root = read(&public.trusted_root)?;
        let (metadata, targets) = (Base::of(public.metadata_url.clone())?, Base::of(public.targets_url.clone())?);
        Self::new(metadata, targets, root, &connection.device_access()?)
    }

    /// Any other that is open to all.
    pub fn at(metadata: Base, targets: Base, root: Vec<u8>) -> anyhow::Result<Self> {
        Self::new(metadata, targets, root, &DeviceAccess::Open)
    }

    fn new(metadata: Base, targets: Base, root: Vec<u8>, access: &DeviceAccess) -> anyhow::Result<Self> {
        let place = metadata.to_string();
        Ok(Self { metadata, targets, place, root, reader: Reader::new(access)? })
    }

    /// Updates a client that trusts nothing but the root, and verifies all there is: every role and, unlike a device, every root
    /// (TUF specification 5.3 to 5.6). What the folder `kept` has of files that never change is not asked for again, unless that
    /// is damaged.
    pub async fn observe(&self, kept: Option<&Path>) -> anyhow::Result<Seen> {
        let look = async |kept| client::look(self, Look::All(kept)).await;
        let seen = match (look(kept).await, kept) {
            (Err(_), Some(_)) => look(None).await,
            (seen, _) => seen,
        };
        seen.with_context(|| format!("a client cannot update from {}", self.place))
    }

    /// The same as a device that asks for `names`: what these don't need is not read.
    pub async fn update(&self, names: &BTreeSet<String>) -> anyhow::Result<Seen> {
        let seen = client::look(self, Look::Names(names)).await;
        let seen = seen.with_context(|| format!("a device cannot update from {}", self.place))?;
        seen.tell();
        Ok(seen)
    }

    /// The version of the root that is trusted.
    pub fn trusted_version(&self) -> anyhow::Result<u64> {
        Ok(TrustedRoot::begin(&self.root).context("the trusted root")?.version())
    }

    /// The bytes of version `version` of the root, unverified; `None` where there are none.
    pub async fn root_there(&self, version: u64) -> anyhow::Result<Option<Vec<u8>>> {
        let bytes = self.reader.read(&self.metadata, &format!("{version}.root.json"), client::LARGEST_ROOT).await?;
        Ok(bytes.ok().filter(|bytes| says_root(bytes, version)))
    }

    /// The bytes of `timestamp.json`, unverified: only to see whether anything changed.
    pub async fn peek(&self) -> anyhow::Result<Vec<u8>> {
        let bytes = self.reader.read(&self.metadata, "timestamp.json", client::LARGEST_TIMESTAMP).await?;
        bytes.map_err(|absent| anyhow!("timestamp.json {absent}")).with_context(|| format!("at {}", self.place))
    }
}

/// Whether a file says that it is this root. A link in its place may lead to anything, which is nobody's to publish.
fn says_root(bytes: &[u8], version: u64) -> bool {
    let file: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let signed = &file["signed"];
    signed["_type"].as_str().is_some_and(|kind| kind.eq_ignore_ascii_case("root")) && signed["version"] == version
}

/// Reads a file that somebody named.
pub fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    given::read(path).with_context(|| format!("cannot read the trusted root {}", path.quoted()))
}
