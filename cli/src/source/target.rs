//! Targets as a verified repository lists them, and their bytes.

use std::collections::BTreeMap;
use std::io::{Seek, Write};

use anyhow::{Context, bail};
use aws_lc_rs::digest::{self, SHA512};
use futures::StreamExt;
use serde_json::Value;
use tempfile::NamedTempFile;
use tufline_metadata::{Target, escaped, find};
use tufline_tuf::{Hasher, Sha256};

use super::base::Base;
use super::client_source::ClientSource;
use super::transport::{Fetched, TRIES};
use super::verified::VerifiedRepository;

/// A target as its role lists it.
#[derive(Debug, Clone, PartialEq)]
pub struct ListedTarget {
    /// Its digests in hex, as they appear in file names (TUF specification 6.2).
    pub digests: Vec<String>,
    /// The SHA-256 of its bytes, if it is listed.
    pub sha256: Option<Sha256>,
    sha512: Option<Vec<u8>>,
    /// The length in bytes.
    pub length: u64,
    /// The custom metadata, as it is listed.
    pub custom: Option<Value>,
}

impl ListedTarget {
    fn of(name: &str, target: &Target) -> anyhow::Result<Self> {
        let sha256 = match target.hashes.get("sha256") {
            Some(digest) => {
                let digest: [u8; 32] = digest.as_slice().try_into().ok().with_context(|| {
                    format!("the sha256 of the target {name:?} is not a SHA-256")
                })?;
                Some(Sha256::from_bytes(digest))
            }
            None => None,
        };
        let sha512 = target.hashes.get("sha512").cloned();
        if sha256.is_none() && sha512.is_none() {
            let names: Vec<&str> = target.hashes.keys().map(String::as_str).collect();
            bail!(
                "the target {name:?} has neither sha256 nor sha512 ({}): publish it there again \
                 with one of them",
                names.join(", ")
            );
        }
        let digests = target.hashes.values().map(hex::encode).collect();
        let custom = target.custom.as_deref().map(serde_json::from_str).transpose()?;
        Ok(Self { digests, sha256, sha512, length: target.length, custom })
    }
}

/// All targets that a client finds. If several roles list a name, the first role that is trusted
/// for it counts (TUF specification 5.6.7).
pub fn list_targets(seen: &VerifiedRepository) -> anyhow::Result<BTreeMap<String, ListedTarget>> {
    let mut found = BTreeMap::new();
    for name in seen.roles.values().flat_map(|targets| targets.targets().keys()) {
        if found.contains_key(name) {
            continue;
        }
        if let Some((_, target)) = find(&seen.roles, name) {
            found.insert(name.clone(), ListedTarget::of(name, target)?);
        }
    }
    Ok(found)
}

/// The paths of a target with consistent snapshots. python-tuf, tuf-js and go-tuf put the digest
/// before the last part of the name, tough before the whole name (TUF specification 6.2).
pub fn consistent_paths(name: &str, target: &ListedTarget) -> Vec<String> {
    let paths = |digest: &String| match name.rsplit_once('/') {
        Some((folder, file)) => {
            vec![format!("{folder}/{digest}.{file}"), format!("{digest}.{name}")]
        }
        None => vec![format!("{digest}.{name}")],
    };
    target.digests.iter().flat_map(paths).collect()
}

impl ClientSource {
    /// Downloads and verifies a target into `file`; returns its SHA-256.
    pub async fn download(
        &self,
        seen: &VerifiedRepository,
        name: &str,
        target: &ListedTarget,
        file: &mut NamedTempFile,
    ) -> anyhow::Result<Sha256> {
        let paths = if seen.root.root().consistent_snapshot {
            consistent_paths(name, target)
        } else {
            vec![name.to_owned()]
        };
        let mut absent = None;
        for path in paths {
            let path = path.split('/').map(escaped).collect::<Vec<_>>().join("/");
            let mut tries = 1..TRIES;
            let fetched = loop {
                match self.fetch(&path, target, file).await {
                    Err(_) if tries.next().is_some() => {}
                    fetched => break fetched,
                }
            };
            match fetched.with_context(|| format!("the target {name} cannot be copied"))? {
                Ok(sha256) => return Ok(sha256),
                Err(why) => absent = Some(why),
            }
        }
        let why = absent.map(|why| why.to_string()).unwrap_or_default();
        bail!("the listed target {name} {why}")
    }

    /// Downloads the chunks of a target into `file`, unverified; returns whether there are any.
    pub async fn download_chunks(
        &self,
        name: &str,
        target: &ListedTarget,
        file: &mut NamedTempFile,
    ) -> anyhow::Result<bool> {
        let base = self.targets.beside("chunks");
        for path in consistent_paths(name, target) {
            let path = path.split('/').map(escaped).collect::<Vec<_>>().join("/");
            let mut tries = 1..TRIES;
            let fetched = loop {
                match self.fetch_chunks(&base, &path, target, file).await {
                    Err(_) if tries.next().is_some() => {}
                    fetched => break fetched,
                }
            };
            match fetched.with_context(|| format!("the chunks of {name} cannot be copied"))? {
                Ok(()) => return Ok(true),
                Err(absent) => absent.expect_missing(&path)?,
            }
        }
        Ok(false)
    }

    async fn fetch_chunks(
        &self,
        base: &Base,
        path: &str,
        target: &ListedTarget,
        file: &mut NamedTempFile,
    ) -> anyhow::Result<Fetched<()>> {
        file.as_file().set_len(0)?;
        file.rewind()?;
        let mut pieces = match self.reader.open(base, path, target.length).await? {
            Ok(pieces) => pieces,
            Err(absent) => return Ok(Err(absent)),
        };
        // Chunks that don't compress take a little more than the target, and their list precedes
        // them.
        let mut left = 2 * target.length;
        while let Some(piece) = pieces.next().await {
            let piece = piece?;
            left = left
                .checked_sub(piece.len() as u64)
                .context("they have more bytes than any chunks of it")?;
            file.write_all(&piece)?;
        }
        Ok(Ok(()))
    }

    async fn fetch(
        &self,
        path: &str,
        target: &ListedTarget,
        file: &mut NamedTempFile,
    ) -> anyhow::Result<Fetched<Sha256>> {
        file.as_file().set_len(0)?;
        file.rewind()?;
        let mut pieces = match self.reader.open(&self.targets, path, target.length).await? {
            Ok(pieces) => pieces,
            Err(absent) => return Ok(Err(absent)),
        };
        let (mut sha256, mut sha512, mut left) =
            (Hasher::new(), digest::Context::new(&SHA512), target.length);
        while let Some(piece) = pieces.next().await {
            let piece = piece?;
            left = left.checked_sub(piece.len() as u64).context("it has more bytes than listed")?;
            sha256.update(&piece);
            if target.sha512.is_some() {
                sha512.update(&piece);
            }
            file.write_all(&piece)?;
        }
        if left > 0 {
            bail!("it ends {left} bytes before its length");
        }
        let sha256 = sha256.finish();
        if target.sha256.is_some_and(|listed| listed != sha256) {
            bail!("its bytes are not the listed ones: their sha256 differs");
        }
        if target.sha512.as_ref().is_some_and(|listed| sha512.finish().as_ref() != listed) {
            bail!("its bytes are not the listed ones: their sha512 differs");
        }
        Ok(Ok(sha256))
    }
}
