//! The chunks of blobs as files.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use tufline_store::{Chunks, Key, Result, Written};
use tufline_tuf::Sha256;

use crate::blobs::{length, open};
use crate::data::{DataFolder, failed};
use crate::threads::{COPIES, blocking, in_turn};
use crate::uploads::read_range;

/// [`Chunks`] on a data folder, `repository/chunks/<sha256>`.
///
/// The files to store must be in [`FolderChunks::scratch`]: they get their names by a rename, which
/// works only within one file system.
#[derive(Debug, Clone)]
pub struct FolderChunks {
    data: DataFolder,
}

impl FolderChunks {
    /// The chunks in the data folder `data`.
    #[must_use]
    pub fn new(data: &DataFolder) -> Self {
        Self { data: data.clone() }
    }

    /// The folder in which to make files. The next start removes what a killed process left there.
    #[must_use]
    pub fn scratch(&self) -> PathBuf {
        self.data.path().join("tmp")
    }
}

#[async_trait]
impl Chunks for FolderChunks {
    async fn length(&self, sha256: &Sha256) -> Result<Option<u64>> {
        let path = self.data.object(&Key::Chunks(*sha256))?;
        blocking(move || length(&path).map_err(|error| failed("look at", &path, error))).await
    }

    async fn read(&self, sha256: &Sha256, offset: u64, length: u64) -> Result<Option<Bytes>> {
        let path = self.data.object(&Key::Chunks(*sha256))?;
        blocking(move || {
            let bytes = open(&path).and_then(|found| {
                found.map(|(file, whole)| read_range(&file, whole, offset, length)).transpose()
            });
            bytes.map_err(|error| failed("read", &path, error))
        })
        .await
    }

    async fn create(&self, sha256: &Sha256, path: &Path) -> Result<Written> {
        let (data, from, to) =
            (self.data.clone(), path.to_owned(), self.data.object(&Key::Chunks(*sha256))?);
        in_turn(&COPIES, move || {
            data.disk().place(&from, &to).map_err(|error| failed("create", &to, error))
        })
        .await
    }
}
