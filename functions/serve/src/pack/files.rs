//! Reads the files that packs are made of.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use tufline_metadata::{File, Snapshot, Target, Targets, Timestamp, target_path};
use tufline_pack::{MOST_BYTES, MOST_TARGET, Question};
use tufline_store::{ErrorKind, Key, StoreError};
use tufline_tuf::{Sha256, TargetName};

use super::memory::Packs;
use super::plan::{Plan, listing};
use crate::repository::ServedRepository;

/// The name of a metadata file, relative to the metadata URL.
pub fn name(key: &Key) -> String {
    let path = key.path();
    path.strip_prefix("metadata/").unwrap_or(&path).to_owned()
}

/// Parses the timestamp without verifying it: devices verify it.
pub fn timestamp(bytes: &[u8]) -> Result<Timestamp, StoreError> {
    let file =
        File::<Timestamp>::read(bytes).map_err(|error| unreadable(&Key::Timestamp, error))?;
    Ok(file.unverified().clone())
}

/// The error for a file that another file lists and that is not stored.
pub fn lost(key: &Key) -> StoreError {
    StoreError::new(ErrorKind::Corrupt, "pack", key, "the snapshot lists it, but it is not stored")
}

fn unreadable(key: &Key, error: tufline_metadata::Error) -> StoreError {
    StoreError::from_source(ErrorKind::Corrupt, "read", key, error)
}

impl ServedRepository {
    /// Reads a file that never changes, from memory if it is there.
    pub(super) async fn file(&self, packs: &Packs, key: &Key) -> Result<Option<Bytes>, StoreError> {
        if let Some(bytes) = packs.file(key) {
            return Ok(Some(bytes));
        }
        let Some(stored) = self.persist(|| self.store.get(key)).await? else { return Ok(None) };
        packs.remember(key, &stored.bytes);
        Ok(Some(stored.bytes).filter(|bytes| !bytes.is_empty()))
    }

    pub(super) async fn snapshot(
        &self,
        packs: &Packs,
        version: u64,
    ) -> Result<Arc<Snapshot>, StoreError> {
        if let Some(snapshot) = packs.snapshot(version) {
            return Ok(snapshot);
        }
        let key = Key::snapshot(version);
        let bytes = self.file(packs, &key).await?.ok_or_else(|| lost(&key))?;
        let file = File::<Snapshot>::read(&bytes).map_err(|error| unreadable(&key, error))?;
        let snapshot = Arc::new(file.unverified().clone());
        packs.remember_snapshot(&snapshot);
        Ok(snapshot)
    }

    /// The small targets whose bytes the device asks for, with their paths. A target counts only if
    /// a document in the plan has a new entry for it.
    pub(super) async fn small_targets(
        &self,
        packs: &Packs,
        question: &Question,
        snapshot: &Snapshot,
        plan: &Plan,
    ) -> Result<Vec<(String, Bytes)>, StoreError> {
        let mut targets = Vec::new();
        let mut readable = MOST_BYTES;
        let names: BTreeSet<&String> = question.files.iter().collect();
        for text in names {
            let Ok(name) = text.parse::<TargetName>() else { continue };
            for role in listing(&name, question, snapshot) {
                let new = |key: &&Key| matches!(key, Key::Metadata { role: planned, .. } if *planned == role);
                let Some(key) = plan.documents.iter().find(new) else { continue };
                let Some(target) = self.listed(packs, key, &name, &mut readable).await? else {
                    continue;
                };
                let old =
                    question.version(role.as_str()).map(|version| Key::Metadata { role, version });
                let old = match old {
                    Some(old) => self.listed(packs, &old, &name, &mut readable).await?,
                    None => None,
                };
                if old.as_ref() != Some(&target)
                    && let Some(bytes) = self.small_target(&target).await?
                {
                    targets.push((target_path(name.as_str(), &target, true), bytes));
                }
                break;
            }
        }
        Ok(targets)
    }

    /// The entry of a target in a document. `readable` bounds how many bytes of documents a
    /// question can make this server parse.
    async fn listed(
        &self,
        packs: &Packs,
        key: &Key,
        name: &TargetName,
        readable: &mut usize,
    ) -> Result<Option<Target>, StoreError> {
        let Some(bytes) = self.file(packs, key).await? else { return Ok(None) };
        let Some(left) = readable.checked_sub(bytes.len()) else { return Ok(None) };
        *readable = left;
        let file = File::<Targets>::read(&bytes).ok();
        Ok(file.and_then(|file| file.unverified().targets().get(name.as_str()).cloned()))
    }

    async fn small_target(&self, target: &Target) -> Result<Option<Bytes>, StoreError> {
        let sha256 = target.digest().and_then(|digest| digest.parse::<Sha256>().ok());
        let Some(sha256) = sha256.filter(|_| target.length <= MOST_TARGET) else { return Ok(None) };
        let bytes = match target.length {
            0 => Some(Bytes::new()),
            length => self.persist(|| self.blobs.read(&sha256, 0, length)).await?,
        };
        Ok(bytes.filter(|bytes| bytes.len() as u64 == target.length))
    }
}
