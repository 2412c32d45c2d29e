//! Uploads and blobs in memory.

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use tufline_tuf::time::whole_seconds;
use tufline_tuf::{Sha256, Time};

use super::world::{Memory, StoredUpload, StoredVersion, WorldState};
use crate::error::{ErrorKind, StoreError};
use crate::key::VersionId;
use crate::port::{
    Blob, Blobs, Head, Kept, LONGEST_HISTORY, PastVersion, Result, Source, Upload, Uploads,
};

impl StoredVersion {
    fn upload(&self, name: &str) -> Option<Upload> {
        let object = self.object.as_ref()?;
        Some(Upload {
            name: name.to_owned(),
            version: Some(self.id.clone()),
            length: object.bytes.len() as u64,
            custom: object.custom.clone(),
            sha256: object.with_checksum.then(|| Sha256::of(&object.bytes)),
            uploaded: Some(self.modified),
            unusable: None,
        })
    }
}

impl Memory {
    /// Uploads an artifact as a build system does, and returns its version.
    pub fn put_upload(
        &self,
        name: &str,
        bytes: Bytes,
        custom: Option<&str>,
        with_checksum: bool,
    ) -> VersionId {
        let object = StoredUpload {
            bytes,
            custom: custom.map(str::to_owned),
            with_checksum,
            in_parts: false,
        };
        self.state().add_version(name, Some(object))
    }

    /// Completes a multipart upload that began at `begun`. No page of S3's documentation says where
    /// it then stands among the entries made meanwhile. So a test can have either: `above` all of
    /// them, or in the order of the times.
    pub fn put_in_parts(
        &self,
        name: &str,
        bytes: Bytes,
        custom: Option<&str>,
        begun: Time,
        above: bool,
    ) -> VersionId {
        let object = StoredUpload {
            bytes,
            custom: custom.map(str::to_owned),
            with_checksum: false,
            in_parts: true,
        };
        let mut state = self.state();
        let id = state.add_version(name, Some(object));
        if let Some((last, others)) =
            state.uploads.get_mut(name).and_then(|versions| versions.split_last_mut())
        {
            last.modified = whole_seconds(begun);
            let newer = others
                .iter()
                .rev()
                .take_while(|other| !above && other.modified > last.modified)
                .count();
            if let Some(versions) = state.uploads.get_mut(name) {
                let place = versions.len() - 1 - newer;
                versions.get_mut(place..).unwrap_or_default().rotate_right(1);
            }
        }
        id
    }

    /// Removes an artifact as a build system does, with a delete marker; `None` if nothing is
    /// current.
    pub fn remove_upload(&self, name: &str) -> Option<VersionId> {
        self.state().current(name)?;
        Some(self.put_marker(name))
    }

    /// Adds a delete marker whatever is current, as somebody who deletes again, or a lifecycle,
    /// would.
    pub fn put_marker(&self, name: &str) -> VersionId {
        self.state().add_version(name, None)
    }

    /// Deletes a version itself, or a delete marker.
    pub fn delete_version(&self, name: &str, version: &VersionId) {
        if let Some(versions) = self.state().uploads.get_mut(name) {
            versions.retain(|stored| stored.id != *version);
        }
    }

    /// Deletes the newest version itself, so that the one before is current again.
    pub fn delete_newest_version(&self, name: &str) -> Option<VersionId> {
        let mut state = self.state();
        state.uploads.get_mut(name)?.pop().map(|version| version.id)
    }

    /// All names that have a version, and what is current under each.
    #[must_use]
    pub fn current_uploads(&self) -> Vec<(String, Option<Upload>)> {
        let state = self.state();
        let names = state.uploads.iter().filter(|(_, versions)| !versions.is_empty());
        names.map(|(name, _)| (name.clone(), state.current(name))).collect()
    }

    /// Sets whether server-side copies return a full-object SHA-256.
    pub fn compute_checksums(&self, computes: bool) {
        self.state().computes_checksums = computes;
    }

    /// Sets how many bytes of a blob one call copies. With 0, another run is always about to finish
    /// it.
    pub fn copy_at_once(&self, bytes: usize) {
        self.state().copied_at_once = bytes;
    }

    /// How many bytes of an unfinished blob are copied.
    #[must_use]
    pub fn copied(&self, sha256: &Sha256) -> usize {
        self.state().partly.get(sha256).copied().unwrap_or(0)
    }

    /// Loses a blob, as no store should.
    pub fn lose_blob(&self, sha256: &Sha256) {
        self.state().blobs.remove(sha256);
    }

    /// The bytes of a blob, without any fault.
    #[must_use]
    pub fn blob(&self, sha256: &Sha256) -> Option<Bytes> {
        self.state().blobs.get(sha256).cloned()
    }
}

impl WorldState {
    fn add_version(&mut self, name: &str, object: Option<StoredUpload>) -> VersionId {
        let id = VersionId(format!("v{}", self.next()));
        let version = StoredVersion { id: id.clone(), modified: whole_seconds(self.now), object };
        self.uploads.entry(name.to_owned()).or_default().push(version);
        id
    }

    fn current(&self, name: &str) -> Option<Upload> {
        self.uploads.get(name)?.last()?.upload(name)
    }

    fn bytes(&self, upload: &Upload) -> Option<Bytes> {
        let versions = self.uploads.get(&upload.name)?;
        let version =
            versions.iter().find(|version| Some(&version.id) == upload.version.as_ref())?;
        version.object.as_ref().map(|object| object.bytes.clone())
    }
}

fn gone(action: &'static str, upload: &Upload) -> StoreError {
    StoreError::new(ErrorKind::Missing, action, &upload.name, "this version is gone")
}

#[async_trait]
impl Uploads for Memory {
    async fn head(&self, name: &str) -> Result<Head> {
        self.request("look at", name, false, |state| {
            let newest = state.uploads.get(name).and_then(|versions| versions.last());
            match state.current(name) {
                Some(upload) => Head::Object(upload),
                None => Head::Gone { marker: newest.map(|version| version.id.clone()) },
            }
        })
        .await
    }

    async fn head_version(&self, name: &str, version: &VersionId) -> Result<Option<Upload>> {
        self.request("look at", name, false, |state| {
            let versions = state.uploads.get(name)?;
            versions.iter().find(|stored| stored.id == *version)?.upload(name)
        })
        .await
    }

    async fn versions(&self, name: &str) -> Result<Vec<PastVersion>> {
        self.request("list versions of", name, false, |state| {
            let versions = state.uploads.get(name).map(Vec::as_slice).unwrap_or_default();
            let past = |stored: &StoredVersion| {
                let (version, modified) = (stored.id.clone(), stored.modified);
                match &stored.object {
                    Some(object) => {
                        PastVersion::Object { version, modified, in_parts: object.in_parts }
                    }
                    None => PastVersion::Marker { version, modified },
                }
            };
            let more =
                versions.len().checked_sub(LONGEST_HISTORY + 1).map(|_| PastVersion::Unknown);
            versions.iter().rev().take(LONGEST_HISTORY).map(past).chain(more).collect()
        })
        .await
    }

    async fn list(&self, after: Option<&str>) -> Result<Vec<String>> {
        self.request("list", "uploads", false, |state| {
            let names = state
                .uploads
                .iter()
                .filter(|(name, _)| after.is_none_or(|after| name.as_str() > after));
            names
                .filter(|(_, versions)| !versions.is_empty())
                .map(|(name, _)| name.clone())
                .take(1000)
                .collect()
        })
        .await
    }

    async fn read_into(
        &self,
        mut buffer: BytesMut,
        upload: &Upload,
        offset: u64,
        length: u64,
    ) -> Result<BytesMut> {
        let bytes = self.request("read", &upload.name, false, |state| state.bytes(upload)).await?;
        buffer.clear();
        buffer.extend_from_slice(&slice(
            &bytes.ok_or_else(|| gone("read", upload))?,
            offset,
            length,
        ));
        Ok(buffer)
    }

    fn place(&self, name: &str) -> String {
        format!("memory://{name}")
    }
}

pub(super) fn slice(bytes: &Bytes, offset: u64, length: u64) -> Bytes {
    let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
    let end = start.saturating_add(usize::try_from(length).unwrap_or(usize::MAX)).min(bytes.len());
    bytes.slice(start..end)
}

#[async_trait]
impl Blobs for Memory {
    async fn copy_in(&self, upload: &Upload) -> Result<Option<Sha256>> {
        let copied = self
            .request("copy", &upload.name, true, |state| {
                let bytes = state.bytes(upload)?;
                let version = upload.version.clone()?;
                let sha256 = state.computes_checksums.then(|| Sha256::of(&bytes));
                state.incoming.insert((upload.name.clone(), version), bytes);
                Some(sha256)
            })
            .await?;
        copied.ok_or_else(|| gone("copy", upload))
    }

    async fn check(&self, upload: &Upload) -> Result<Option<Sha256>> {
        let checked = self
            .request("check", &upload.name, true, |state| {
                let bytes = state.bytes(upload)?;
                Some(state.computes_checksums.then(|| Sha256::of(&bytes)))
            })
            .await?;
        checked.ok_or_else(|| gone("check", upload))
    }

    async fn keep(&self, upload: &Upload, source: Source, sha256: &Sha256) -> Result<Kept> {
        let kept = self
            .request("copy", &upload.name, true, |state| {
                let bytes = match source {
                    Source::Upload => state.bytes(upload),
                    Source::Incoming => {
                        let version = upload.version.clone()?;
                        state.incoming.get(&(upload.name.clone(), version)).cloned()
                    }
                };
                let bytes = bytes.filter(|bytes| Sha256::of(bytes) == *sha256)?;
                let before = state.partly.get(sha256).copied().unwrap_or(0);
                let copied = before.saturating_add(state.copied_at_once);
                if copied < bytes.len() {
                    state.partly.insert(*sha256, copied);
                    return Some(if copied > before { Kept::Partly } else { Kept::Contended });
                }
                state.partly.remove(sha256);
                state.blobs.insert(*sha256, bytes);
                Some(Kept::Whole)
            })
            .await?;
        let why = "the bytes are gone, or have another digest";
        kept.ok_or_else(|| StoreError::new(ErrorKind::Missing, "copy", &upload.name, why))
    }

    async fn head(&self, sha256: &Sha256) -> Result<Option<Blob>> {
        self.request("look at", &sha256.to_string(), false, |state| {
            let bytes = state.blobs.get(sha256)?;
            Some(Blob {
                length: bytes.len() as u64,
                sha256: state.computes_checksums.then(|| Sha256::of(bytes)),
            })
        })
        .await
    }

    async fn read(&self, sha256: &Sha256, offset: u64, length: u64) -> Result<Option<Bytes>> {
        let bytes = self
            .request("read", &sha256.to_string(), false, |state| state.blobs.get(sha256).cloned())
            .await?;
        Ok(bytes.map(|bytes| slice(&bytes, offset, length)))
    }
}
