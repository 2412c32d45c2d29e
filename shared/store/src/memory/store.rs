//! The repository and the ledger in memory.

use std::ops::Bound;

use async_trait::async_trait;
use bytes::Bytes;
use tufline_tuf::root::PinnedRoot;

use super::world::{Memory, WorldState};
use crate::document::{Document, Pointer};
use crate::key::{Folder, Key};
use crate::port::{Result, Store, Stored, Tag, Written, expect_readable};

impl WorldState {
    pub(super) fn stored(&mut self, bytes: Bytes) -> Stored {
        let tag = Tag(self.next().to_string());
        Stored { bytes, tag, modified: tufline_tuf::time::whole_seconds(self.now) }
    }

    fn put(&mut self, document: &Document) {
        let (path, bytes) = (document.key().path(), document.bytes().clone());
        self.history.entry(path.clone()).or_default().push(bytes.clone());
        let stored = self.stored(bytes);
        self.objects.insert(path, stored);
    }
}

#[async_trait]
impl Store for Memory {
    async fn get_within(&self, key: &Key, most: usize) -> Result<Option<Stored>> {
        let path = key.path();
        self.request("read", &path, false, |state| {
            let mut stored = state.objects.get(&path).cloned()?;
            if stored.bytes.len() > most.min(key.most_bytes()) {
                stored.bytes = Bytes::new();
            }
            Some(stored)
        })
        .await
    }

    fn pinned_root(&self) -> Option<PinnedRoot> {
        None
    }

    async fn exists(&self, key: &Key) -> Result<bool> {
        let path = key.path();
        self.request("look for", &path, false, |state| state.objects.contains_key(&path)).await
    }

    async fn create(&self, document: &Document) -> Result<Written> {
        expect_readable("create", document)?;
        let path = document.key().path();
        self.request("create", &path, true, |state| {
            if state.objects.contains_key(&path) {
                return Written::Lost;
            }
            state.put(document);
            Written::Done
        })
        .await
    }

    async fn replace(&self, document: &Pointer, expected: &Tag) -> Result<Written> {
        expect_readable("replace", document)?;
        let path = document.key().path();
        self.request("replace", &path, true, |state| {
            if state.objects.get(&path).is_none_or(|stored| stored.tag != *expected) {
                return Written::Lost;
            }
            state.put(document);
            Written::Done
        })
        .await
    }

    async fn list(&self, folder: Folder, after: Option<&Key>, limit: usize) -> Result<Vec<Key>> {
        let prefix = folder.prefix();
        let start =
            after.map_or(Bound::Included(prefix.to_owned()), |key| Bound::Excluded(key.path()));
        self.request("list", prefix, false, |state| {
            let paths =
                state.objects.range((start.clone(), Bound::Unbounded)).map(|(path, _)| path);
            let within = paths.take_while(|path| path.starts_with(prefix));
            within.filter_map(|path| Key::parse(path)).take(limit).collect()
        })
        .await
    }
}
