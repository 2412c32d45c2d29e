//! The repository and the ledger as files.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use tufline_store::{
    Document, ErrorKind, Folder, Key, Pointer, Result, Store, StoreError, Stored, Tag, Written,
    expect_readable,
};
use tufline_tuf::root::PinnedRoot;
use tufline_tuf::{Hasher, Sha256, Time};

use crate::data::{DataFolder, failed};
use crate::given;
use crate::threads::{DATA, blocking, in_turn};

/// [`Store`] on a data folder: each object is a file at its key's path. A tag is the SHA-256 of the
/// file's bytes.
#[derive(Debug, Clone)]
pub struct FolderStore {
    data: DataFolder,
}

impl FolderStore {
    /// The store of the objects in the data folder `data`.
    #[must_use]
    pub fn new(data: &DataFolder) -> Self {
        Self { data: data.clone() }
    }
}

/// The buffer, in bytes, for hashing a file that is too long to be returned.
const PIECE: usize = 65_536;

fn tag(bytes: &[u8]) -> Tag {
    Tag(Sha256::of(bytes).to_string())
}

fn get(data: &DataFolder, path: &Path, most: u64) -> io::Result<Option<Stored>> {
    let mut file = match given::open(path) {
        Err(error) if is_absence(&error) => return Ok(None),
        result => result?,
    };
    let metadata = file.metadata()?;
    let modified = Time::try_from(metadata.modified()?).map_err(io::Error::other)?;
    let (mut bytes, mut digest) = (Vec::new(), None);
    if metadata.len() <= most {
        bytes.reserve_exact(usize::try_from(metadata.len()).unwrap_or_default());
        file.read_to_end(&mut bytes)?;
    } else {
        // Its bytes are not returned, but the caller may replace it, and needs its tag for that.
        let mut hasher = Hasher::new();
        let mut piece = vec![0; PIECE];
        loop {
            match file.read(&mut piece)? {
                0 => break,
                length => hasher.update(piece.get(..length).unwrap_or_default()),
            }
        }
        digest = Some(Tag(hasher.finish().to_string()));
    }
    data.disk().sync_entry(path)?;
    Ok(Some(Stored {
        tag: digest.unwrap_or_else(|| tag(&bytes)),
        bytes: Bytes::from(bytes),
        modified,
    }))
}

/// Whether a power cut may lose the object at `key`.
///
/// Hash's receipts only save hashing an upload again, and once used, their digest is in the
/// manifest. Without an fsync for each, a burst of small artifacts takes less than half the time.
fn is_light(key: &Key) -> bool {
    matches!(key, Key::Hashed(_))
}

/// Removes a record that a power cut has torn; returns whether it did. Records are JSON, so a mere
/// beginning or a stretch of zeros does not parse.
fn remove_torn(path: &Path) -> io::Result<bool> {
    let mut bytes = Vec::new();
    match given::open(path) {
        Err(error) if is_absence(&error) => return Ok(false),
        opened => opened?.read_to_end(&mut bytes)?,
    };
    if serde_json::from_slice::<serde::de::IgnoredAny>(&bytes).is_ok() {
        return Ok(false);
    }
    tracing::info!(record = %path.display(), "a power cut tore this record; it will be made again");
    match std::fs::remove_file(path) {
        Err(error) if !is_absence(&error) => Err(error),
        _ => Ok(true),
    }
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn replace(data: &DataFolder, path: &Path, bytes: &[u8], expected: &Tag) -> io::Result<Written> {
    // This is the operating system's lock. It keeps away other processes and other threads alike,
    // since each open file has its own lock. It ends when the file is closed, even by a crash.
    let lock = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(data.path().join("replace.lock"))?;
    lock.lock()?;
    data.disk().replace(path, bytes, |current| tag(current) == *expected)
}

/// Adds up to `limit` paths of objects below `folder` to `found`, in order, beginning after
/// `after`. All paths are relative to `root`; `folder` ends in `/`.
fn list(
    root: &Path,
    folder: &str,
    after: &str,
    limit: usize,
    found: &mut Vec<String>,
) -> io::Result<()> {
    let entries = match std::fs::read_dir(root.join(folder)) {
        Err(error) if is_absence(&error) => return Ok(()),
        result => result?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let entry = entry?;
        let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
        let slash = if entry.file_type()?.is_dir() { "/" } else { "" };
        let path = format!("{folder}{name}{slash}");
        if *path > *after || after.starts_with(&path) && path.ends_with('/') {
            paths.push(path);
        }
    }
    paths.sort_unstable();
    for path in paths {
        if found.len() >= limit {
            break;
        }
        if path.ends_with('/') {
            list(root, &path, after, limit, found)?;
        } else if Key::parse(&path).is_some() {
            found.push(path);
        }
    }
    Ok(())
}

impl FolderStore {
    /// Prepares an operation on the file of `key`, to be run on a thread.
    fn work<T>(
        &self,
        action: &'static str,
        key: &Key,
        work: impl FnOnce(&DataFolder, &Path) -> io::Result<T> + Send + 'static,
    ) -> Result<impl FnOnce() -> Result<T> + Send + 'static> {
        let path = self.data.object(key)?;
        let data = self.data.clone();
        Ok(move || work(&data, &path).map_err(|error| failed(action, &path, error)))
    }
}

#[async_trait]
impl Store for FolderStore {
    async fn get_within(&self, key: &Key, most: usize) -> Result<Option<Stored>> {
        let (is_light, most) = (is_light(key), most.min(key.most_bytes()) as u64);
        let work = self.work("read", key, move |data, path| {
            if is_light && remove_torn(path)? {
                return Ok(None);
            }
            get(data, path, most)
        })?;
        // Devices read too, so it must not wait for other work.
        blocking(work).await
    }

    fn pinned_root(&self) -> Option<PinnedRoot> {
        None
    }

    async fn exists(&self, key: &Key) -> Result<bool> {
        let is_light = is_light(key);
        let work = self.work("look for", key, move |data, path| {
            if is_light && remove_torn(path)? {
                return Ok(false);
            }
            let exists = path.try_exists()?;
            data.disk().sync_entry(path)?;
            Ok(exists)
        })?;
        in_turn(&DATA, work).await
    }

    async fn create(&self, document: &Document) -> Result<Written> {
        expect_readable("create", document)?;
        let (bytes, is_light) = (document.bytes().clone(), is_light(document.key()));
        let work = self.work("create", document.key(), move |data, path| {
            if !is_light {
                return data.disk().create(path, &bytes);
            }
            remove_torn(path)?;
            data.disk().create_lightly(path, &bytes)
        })?;
        in_turn(&DATA, work).await
    }

    async fn replace(&self, document: &Pointer, expected: &Tag) -> Result<Written> {
        expect_readable("replace", document)?;
        let (bytes, expected) = (document.bytes().clone(), expected.clone());
        let work = self.work("replace", document.key(), move |data, path| {
            replace(data, path, &bytes, &expected)
        })?;
        in_turn(&DATA, work).await
    }

    async fn list(&self, folder: Folder, after: Option<&Key>, limit: usize) -> Result<Vec<Key>> {
        let root: PathBuf = self.data.bucket(folder.bucket());
        let after = after.map(Key::path).unwrap_or_default();
        let data = self.data.clone();
        blocking(move || {
            let place = root.join(folder.prefix());
            let mut found = Vec::new();
            list(&root, folder.prefix(), &after, limit, &mut found)
                .and_then(|()| {
                    found.iter().try_for_each(|path| data.disk().sync_entry(&root.join(path)))
                })
                .map_err(|error: io::Error| failed("list", &place, error))?;
            let keys = found.iter().map(|path| {
                let not_key = || {
                    StoreError::new(
                        ErrorKind::Corrupt,
                        "list",
                        place.display(),
                        format!("{path} is not a key"),
                    )
                };
                Key::parse(path).ok_or_else(not_key)
            });
            keys.collect()
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tufline_store::{UploadKey, VersionId};

    #[tokio::test]
    async fn an_object_that_is_too_long_is_not_read_but_can_be_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataFolder::lock(folder.path()).unwrap();
        let store = FolderStore::new(&data);
        for key in [Key::root(2), Key::Announced] {
            let path = data.object(&key).unwrap();
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            for (length, read) in [(key.most_bytes(), key.most_bytes()), (key.most_bytes() + 1, 0)]
            {
                std::fs::write(&path, vec![b' '; length]).unwrap();
                assert_eq!(store.get(&key).await.unwrap().unwrap().bytes.len(), read);
            }
        }
        let tag = store.get(&Key::Announced).await.unwrap().unwrap().tag;
        let record = Pointer::record(Key::Announced, &7).unwrap();
        assert_eq!(store.replace(&record, &tag).await.unwrap(), Written::Done);
    }

    #[tokio::test]
    async fn a_torn_receipt_counts_as_missing() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataFolder::lock(folder.path()).unwrap();
        let store = FolderStore::new(&data);
        let key = Key::Hashed(UploadKey::new("a", &VersionId("1".into())));
        let receipt =
            Document::record(key.clone(), &serde_json::json!({"sha256": "…", "length": 1}))
                .unwrap();
        let path = data.object(&key).unwrap();
        let zeros = vec![0; receipt.bytes().len()];
        let cuts = (0..receipt.bytes().len()).map(|cut| receipt.bytes()[..cut].to_vec());
        for torn in cuts.chain([zeros]) {
            assert_eq!(store.create(&receipt).await.unwrap(), Written::Done);
            assert_eq!(store.create(&receipt).await.unwrap(), Written::Lost);
            assert!(store.exists(&key).await.unwrap());
            std::fs::write(&path, &torn).unwrap();
            assert_eq!(store.get(&key).await.unwrap(), None);
            std::fs::write(&path, &torn).unwrap();
            assert!(!store.exists(&key).await.unwrap());
            std::fs::write(&path, &torn).unwrap();
            assert_eq!(store.create(&receipt).await.unwrap(), Written::Done);
            assert_eq!(&store.get(&key).await.unwrap().unwrap().bytes, receipt.bytes());
            std::fs::remove_file(&path).unwrap();
        }
    }
}
