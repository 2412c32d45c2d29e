//! Targets as a verified repository lists them, and their bytes.

use std::collections::BTreeMap;
use std::io::{Seek, Write};

use anyhow::{Context, anyhow, bail};
use futures::StreamExt;
use serde_json::Value;
use tempfile::NamedTempFile;
use tough::{Repository, TransportErrorKind};
use tufline_tuf::{Custom, Hasher, Sha256, TargetName};

use super::Source;

/// What is listed under a name.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    /// The digest of its bytes.
    pub sha256: Sha256,
    /// In bytes.
    pub length: u64,
    /// Custom metadata, as it is listed.
    pub custom: Custom,
}

/// All targets that a client finds, each as the first role lists it that is trusted for it (TUF specification 5.6.7).
pub fn listed(repository: &Repository) -> anyhow::Result<BTreeMap<TargetName, Listed>> {
    let mut found = BTreeMap::new();
    for (name, _) in repository.all_targets() {
        let Ok(target) = repository.targets().signed.find_target(name, false) else { continue };
        let name: TargetName =
            name.raw().parse().map_err(|refusal| anyhow!("a target cannot be kept under its name: {refusal}"))?;
        let digest: [u8; 32] = target
            .hashes
            .sha256
            .as_ref()
            .try_into()
            .with_context(|| format!("what {name} has as sha256 is not one"))?;
        let custom = target.custom.clone().into_iter().collect();
        found.insert(name, Listed { sha256: Sha256::from_bytes(digest), length: target.length, custom });
    }
    Ok(found)
}

/// The first target in a metadata file that has hashes, and no SHA-256 among them.
pub fn without_sha256(bytes: &[u8]) -> Option<String> {
    let document: Value = serde_json::from_slice(bytes).ok()?;
    let targets = document.get("signed")?.get("targets")?.as_object()?;
    let lacks = |target: &Value| target.get("hashes").is_some_and(|hashes| hashes.get("sha256").is_none());
    targets.iter().find_map(|(name, target)| lacks(target).then(|| name.clone()))
}

/// With consistent snapshots the digest stands before the last part of a target's name for python-tuf, tuf-js and go-tuf, and
/// before the whole name for tough (TUF specification 6.2).
pub fn consistent_paths(name: &TargetName, sha256: &Sha256) -> Vec<String> {
    match name.as_str().rsplit_once('/') {
        Some((folder, file)) => vec![format!("{folder}/{sha256}.{file}"), format!("{sha256}.{name}")],
        None => vec![format!("{sha256}.{name}")],
    }
}

impl Source {
    /// Writes a target's bytes to `file`, verified.
    pub async fn download(
        &self,
        repository: &Repository,
        name: &TargetName,
        target: &Listed,
        file: &mut NamedTempFile,
    ) -> anyhow::Result<()> {
        let paths = if repository.root().signed.consistent_snapshot {
            consistent_paths(name, &target.sha256)
        } else {
            vec![name.as_str().to_owned()]
        };
        for path in paths {
            if self.fetch(&path, target, file).await.with_context(|| format!("the target {name} cannot be copied"))? {
                return Ok(());
            }
        }
        bail!("the target {name} is missing there: it is listed, and its file can't be had")
    }

    /// Answers whether it was there.
    async fn fetch(&self, path: &str, target: &Listed, file: &mut NamedTempFile) -> anyhow::Result<bool> {
        file.as_file().set_len(0)?;
        file.rewind()?;
        let mut stream = match self.transport().fetch(self.target(path)?).await {
            Err(error) if error.kind() == TransportErrorKind::FileNotFound => return Ok(false),
            stream => stream?,
        };
        let (mut hasher, mut left) = (Hasher::new(), target.length);
        while let Some(piece) = stream.next().await {
            let piece = match piece {
                Err(error) if error.kind() == TransportErrorKind::FileNotFound => return Ok(false),
                piece => piece?,
            };
            left = left.checked_sub(piece.len() as u64).context("it has more bytes than are listed")?;
            hasher.update(&piece);
            file.write_all(&piece)?;
        }
        if left > 0 {
            bail!("it ends {left} bytes before its length");
        }
        if hasher.finish() != target.sha256 {
            bail!("its bytes are not those that are listed: their sha256 differs");
        }
        Ok(true)
    }
}
