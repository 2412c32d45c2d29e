//! The chunks of blobs in memory.

use std::path::Path;

use async_trait::async_trait;
use bytes::Bytes;
use tufline_tuf::Sha256;

use super::uploads::slice;
use super::world::Memory;
use crate::error::{ErrorKind, StoreError};
use crate::port::{Chunks, Result, Written};

impl Memory {
    /// The chunks of a blob, without any fault.
    #[must_use]
    pub fn chunks(&self, sha256: &Sha256) -> Option<Bytes> {
        self.state().chunks.get(sha256).cloned()
    }
}

#[async_trait]
impl Chunks for Memory {
    async fn length(&self, sha256: &Sha256) -> Result<Option<u64>> {
        let place = format!("chunks of {sha256}");
        self.request("look at", &place, false, |state| Some(state.chunks.get(sha256)?.len() as u64))
            .await
    }

    async fn read(&self, sha256: &Sha256, offset: u64, length: u64) -> Result<Option<Bytes>> {
        let place = format!("chunks of {sha256}");
        let bytes =
            self.request("read", &place, false, |state| state.chunks.get(sha256).cloned()).await?;
        Ok(bytes.map(|bytes| slice(&bytes, offset, length)))
    }

    async fn create(&self, sha256: &Sha256, path: &Path) -> Result<Written> {
        let read = |error| StoreError::from_source(ErrorKind::Retry, "read", path.display(), error);
        let bytes = Bytes::from(std::fs::read(path).map_err(read)?);
        self.request("create", &format!("chunks of {sha256}"), true, |state| {
            if state.chunks.contains_key(sha256) {
                return Written::Lost;
            }
            state.chunks.insert(*sha256, bytes.clone());
            Written::Done
        })
        .await
    }
}
