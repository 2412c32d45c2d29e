//! Errors planted between a stage and its ports: the naive forms of rules that the pipeline keeps.
//! The simulation must find each of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::BytesMut;
use tufline_store::memory::Memory;
use tufline_store::{
    Document, ErrorKind, Folder, Head, Key, PastVersion, Pointer, Result, Store, StoreError,
    Stored, Tag, Upload, Uploads, VersionId, Written,
};
use tufline_tuf::Manifest;
use tufline_tuf::root::PinnedRoot;

/// A planted error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plant {
    /// No error.
    Nothing,
    /// A batch that changes no document is acknowledged without a manifest.
    NoFence,
    /// Rebuild looks at the uploads before it reads the base, and never again.
    HeadBeforeBase,
    /// The timestamp is overwritten, whatever was stored meanwhile.
    PlainPut,
    /// Publish fails on a refusal instead of recording it.
    RefusalAsError,
}

/// The store as a stage with the planted error uses it.
pub struct PlantedStore {
    pub world: Arc<Memory>,
    pub plant: Plant,
}

#[async_trait]
impl Store for PlantedStore {
    async fn get_within(&self, key: &Key, most: usize) -> Result<Option<Stored>> {
        self.world.get_within(key, most).await
    }

    fn pinned_root(&self) -> Option<PinnedRoot> {
        self.world.pinned_root()
    }

    async fn exists(&self, key: &Key) -> Result<bool> {
        self.world.exists(key).await
    }

    async fn create(&self, document: &Document) -> Result<Written> {
        match (self.plant, document.key()) {
            (Plant::NoFence, Key::Manifest(_)) => {
                let manifest: Manifest = serde_json::from_slice(document.bytes()).unwrap();
                if manifest.is_fence() {
                    Ok(Written::Done)
                } else {
                    self.world.create(document).await
                }
            }
            (Plant::RefusalAsError, Key::Refused(_)) => {
                Err(StoreError::new(ErrorKind::Retry, "show", document.key(), "refused"))
            }
            _ => self.world.create(document).await,
        }
    }

    async fn replace(&self, document: &Pointer, expected: &Tag) -> Result<Written> {
        if self.plant == Plant::PlainPut && *document.key() == Key::Timestamp {
            let stored = self.world.get(&Key::Timestamp).await?.map(|stored| stored.tag);
            return self.world.replace(document, stored.as_ref().unwrap_or(expected)).await;
        }
        self.world.replace(document, expected).await
    }

    async fn list(&self, folder: Folder, after: Option<&Key>, limit: usize) -> Result<Vec<Key>> {
        Store::list(&*self.world, folder, after, limit).await
    }
}

/// The uploads as one run of a stage with the planted error sees them: its first look decides for
/// ever.
pub struct EarlyLook {
    pub world: Arc<Memory>,
    pub seen: Mutex<BTreeMap<String, Head>>,
}

impl EarlyLook {
    pub fn new(world: Arc<Memory>) -> Self {
        let mut seen = BTreeMap::new();
        for (name, current) in world.current_uploads() {
            if let Some(upload) = current {
                seen.insert(name, Head::Object(upload));
            }
        }
        Self { world, seen: Mutex::new(seen) }
    }
}

#[async_trait]
impl Uploads for EarlyLook {
    async fn head(&self, name: &str) -> Result<Head> {
        let seen = self.seen.lock().unwrap().get(name).cloned();
        match seen {
            Some(head) => Ok(head),
            None => self.world.head(name).await,
        }
    }

    async fn head_version(&self, name: &str, version: &VersionId) -> Result<Option<Upload>> {
        self.world.head_version(name, version).await
    }

    async fn versions(&self, name: &str) -> Result<Vec<PastVersion>> {
        self.world.versions(name).await
    }

    async fn list(&self, after: Option<&str>) -> Result<Vec<String>> {
        Uploads::list(&*self.world, after).await
    }

    async fn read_into(
        &self,
        buffer: BytesMut,
        upload: &Upload,
        offset: u64,
        length: u64,
    ) -> Result<BytesMut> {
        self.world.read_into(buffer, upload, offset, length).await
    }

    fn place(&self, name: &str) -> String {
        self.world.place(name)
    }
}
