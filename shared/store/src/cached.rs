//! A store that remembers objects that never change: manifests, drafts and index pages.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use tufline_tuf::root::PinnedRoot;

use crate::document::{Document, Pointer};
use crate::key::{Folder, Key};
use crate::port::{Result, Store, Stored, Tag, Written};

/// How many bytes an object is expected to have, at most. An index page has some 3,000.
const USUAL_BYTES: u64 = 4096;

/// A [`Store`] that keeps in memory what it has read or created, if that never changes
/// ([`Key::is_immutable_record`]). The least used objects go first. So a warm function reads only
/// what others have made meanwhile.
///
/// *Invariant*: a file that devices read, or a pointer, is never answered from memory.
pub struct CachedStore {
    store: Arc<dyn Store>,
    kept: Cache<Key, Bytes, ByBytes>,
}

#[derive(Debug, Clone)]
struct ByBytes;

impl Weighter<Key, Bytes> for ByBytes {
    fn weight(&self, _: &Key, bytes: &Bytes) -> u64 {
        bytes.len() as u64
    }
}

impl CachedStore {
    /// Wraps `store`, and keeps up to `bytes` bytes of its objects in memory.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, bytes: u64) -> Self {
        let items = usize::try_from(bytes / USUAL_BYTES).unwrap_or(usize::MAX);
        Self { store, kept: Cache::with_weighter(items, bytes, ByBytes) }
    }

    fn keep(&self, key: &Key, bytes: &Bytes) {
        if key.is_immutable_record() {
            self.kept.insert(key.clone(), bytes.clone());
        }
    }
}

#[async_trait]
impl Store for CachedStore {
    async fn get_within(&self, key: &Key, most: usize) -> Result<Option<Stored>> {
        self.store.get_within(key, most).await
    }

    fn pinned_root(&self) -> Option<PinnedRoot> {
        self.store.pinned_root()
    }

    async fn unverified(&self, key: &Key) -> Result<Option<Stored>> {
        self.store.unverified(key).await
    }

    async fn bytes_within(&self, key: &Key, most: usize) -> Result<Option<Bytes>> {
        if let Some(kept) = self.kept.get(key) {
            return Ok(Some(if kept.len() <= most { kept } else { Bytes::new() }));
        }
        let bytes = self.store.bytes_within(key, most).await?;
        // An object that was too long to read has no bytes.
        if let Some(bytes) = bytes.as_ref().filter(|bytes| !bytes.is_empty()) {
            self.keep(key, bytes);
        }
        Ok(bytes)
    }

    async fn exists(&self, key: &Key) -> Result<bool> {
        Ok(self.kept.get(key).is_some() || self.store.exists(key).await?)
    }

    async fn create(&self, document: &Document) -> Result<Written> {
        let written = self.store.create(document).await?;
        if written == Written::Done {
            self.keep(document.key(), document.bytes());
        }
        Ok(written)
    }

    async fn replace(&self, pointer: &Pointer, expected: &Tag) -> Result<Written> {
        self.store.replace(pointer, expected).await
    }

    async fn list(&self, folder: Folder, after: Option<&Key>, limit: usize) -> Result<Vec<Key>> {
        self.store.list(folder, after, limit).await
    }
}
