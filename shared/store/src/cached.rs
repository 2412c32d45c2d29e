//! A store with a memory for what never changes: manifests, drafts and pages of the index.

use std::sync::Arc;

use async_trait::async_trait;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::document::Document;
use crate::key::{Folder, Key};
use crate::port::{Result, Store, Stored, Tag, Written};

/// Objects smaller than this are expected, in bytes: a page of the index has some 3,000.
const USUAL_BYTES: u64 = 4096;

/// A [`Store`] that keeps what it read in memory, if it never changes ([`Key::is_immutable_record`]); the least
/// used goes first. A function that stays warm so reads only what others have made meanwhile.
///
/// *Invariant*: nothing that devices read, and no pointer, is ever answered from memory.
pub struct CachedStore {
    store: Arc<dyn Store>,
    kept: Cache<Key, Arc<Stored>, ByBytes>,
}

#[derive(Debug, Clone)]
struct ByBytes;

impl Weighter<Key, Arc<Stored>> for ByBytes {
    fn weight(&self, _: &Key, stored: &Arc<Stored>) -> u64 {
        stored.bytes.len() as u64
    }
}

impl CachedStore {
    /// Keeps up to `bytes` of what `store` has.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, bytes: u64) -> Self {
        let items = usize::try_from(bytes / USUAL_BYTES).unwrap_or(usize::MAX);
        Self { store, kept: Cache::with_weighter(items, bytes, ByBytes) }
    }
}

#[async_trait]
impl Store for CachedStore {
    async fn get(&self, key: &Key) -> Result<Option<Stored>> {
        if !key.is_immutable_record() {
            return self.store.get(key).await;
        }
        if let Some(kept) = self.kept.get(key) {
            return Ok(Some((*kept).clone()));
        }
        let stored = self.store.get(key).await?;
        if let Some(stored) = &stored {
            self.kept.insert(key.clone(), Arc::new(stored.clone()));
        }
        Ok(stored)
    }

    async fn exists(&self, key: &Key) -> Result<bool> {
        if key.is_immutable_record() && self.kept.get(key).is_some() {
            return Ok(true);
        }
        self.store.exists(key).await
    }

    async fn create(&self, document: &Document) -> Result<Written> {
        self.store.create(document).await
    }

    async fn replace(&self, document: &Document, expected: &Tag) -> Result<Written> {
        self.store.replace(document, expected).await
    }

    async fn list(&self, folder: Folder, after: Option<&Key>, limit: usize) -> Result<Vec<Key>> {
        self.store.list(folder, after, limit).await
    }
}
