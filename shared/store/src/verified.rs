//! A store in which a root that does not verify counts as absent.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::join_all;
use tufline_tuf::root::{Chain, PinnedRoot};

use crate::document::{Document, Pointer};
use crate::key::{Folder, Key};
use crate::port::{Result, Store, Stored, Tag, Written};

/// How many roots a process reads at once while it knows none. The number doubles as long as all of
/// them exist.
const FIRST_STRIDE: usize = 4;

/// The most roots that are read at once.
const LONGEST_STRIDE: usize = 32;

/// A [`Store`] in which a root exists only if it verifies: the first one by itself, each other one
/// under the root before and under itself, as clients verify them (TUF specification 5.3.3 to
/// 5.3.5). So somebody who may write `metadata/2.root.json`, but holds no root keys, stops nobody:
/// every stage and every device sees that file as missing.
///
/// The first root is version 1, or the [pinned](Store::pinned_root) one. That may have any version,
/// since a client needs no root before the one that it trusts (5.3.2). Roots before the first count
/// as absent. Only devices that are older get the files in their places, through
/// [`Store::unverified`]. A device that trusts the first root or a later one never asks for them,
/// so they cannot harm it.
///
/// *Invariants*: a root that has verified stays, whatever is stored in its place later. Nothing
/// else is remembered: a root that is missing or does not verify is read again each time. A stored
/// file is replaced only if it is no root, only by a root that verifies, and only by
/// compare-and-swap. The first root is never replaced.
pub struct VerifiedRoots {
    store: Arc<dyn Store>,
    pinned: Option<PinnedRoot>,
    known: Mutex<KnownRoots>,
}

/// The roots that have verified, from the first one on.
#[derive(Default)]
struct KnownRoots {
    /// The chain of all roots in `stored`.
    chain: Option<Chain>,
    stored: Vec<Stored>,
}

impl KnownRoots {
    /// The root of this version, in a chain that begins with version `first`.
    fn get(&self, version: u64, first: u64) -> Option<Stored> {
        let index = usize::try_from(version.checked_sub(first)?).ok()?;
        self.stored.get(index).cloned()
    }

    /// The chain extended by `next`; `None` if `next` does not verify.
    fn with(&self, next: &Bytes, pinned: Option<PinnedRoot>) -> Option<Chain> {
        let Some(chain) = &self.chain else {
            return match pinned {
                Some(pinned) => Chain::trusting(next).ok().filter(|chain| chain.pinned() == pinned),
                None => Chain::begin(next).ok(),
            };
        };
        let mut chain = chain.clone();
        chain.extend(next).ok().map(|()| chain)
    }
}

impl VerifiedRoots {
    /// Wraps `store`. `pinned` names the root with which the chain begins; without it, the stored
    /// version 1 is trusted.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, pinned: Option<PinnedRoot>) -> Self {
        Self { store, pinned, known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, KnownRoots> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn root(&self, version: u64) -> Result<Option<Stored>> {
        let first = self.first_root();
        if version < first {
            return Ok(None);
        }
        let mut stride = if self.known().stored.is_empty() { FIRST_STRIDE } else { 1 };
        loop {
            let count = {
                let known = self.known();
                if let Some(stored) = known.get(version, first) {
                    return Ok(Some(stored));
                }
                known.stored.len()
            };
            let next = first + count as u64;
            let keys: Vec<Key> = (next..).take(stride).map(Key::root).collect();
            let read = join_all(keys.iter().map(|key| self.store.get(key))).await;
            let mut found = Vec::with_capacity(stride);
            for stored in read {
                let Some(stored) = stored? else { break };
                found.push(stored);
            }
            stride = if found.len() == stride { (2 * stride).min(LONGEST_STRIDE) } else { 1 };
            if !self.extend(count, found) {
                return Ok(None);
            }
        }
    }

    /// Extends the chain by the roots in `found`, which were read after the first `count` ones.
    /// Returns whether more roots are known now.
    fn extend(&self, count: usize, found: Vec<Stored>) -> bool {
        let mut known = self.known();
        // Otherwise another call was faster.
        if known.stored.len() == count {
            for stored in found {
                let Some(chain) = known.with(&stored.bytes, self.pinned) else { break };
                known.chain = Some(chain);
                known.stored.push(stored);
            }
        }
        known.stored.len() > count
    }

    /// Replaces the file in the place of `document`, if that file is no root and `document` is the
    /// root that follows.
    async fn take_place(&self, document: &Document, version: u64) -> Result<Written> {
        // If the roots cannot be read, nothing is replaced. A root that verifies never is.
        if self.root(version).await?.is_some() {
            return Ok(Written::Lost);
        }
        let verifies = |bytes: &Bytes| {
            let known = self.known();
            let first = self.first_root();
            first + known.stored.len() as u64 == version
                && version > first
                && known.with(bytes, self.pinned).is_some()
        };
        if !verifies(document.bytes()) {
            return Ok(Written::Lost);
        }
        match self.store.get(document.key()).await? {
            Some(stored) if verifies(&stored.bytes) => Ok(Written::Lost),
            Some(stored) => {
                self.store.replace(&Pointer::in_place_of_no_root(document), &stored.tag).await
            }
            None => self.store.create(document).await,
        }
    }
}

#[async_trait]
impl Store for VerifiedRoots {
    async fn get_within(&self, key: &Key, most: usize) -> Result<Option<Stored>> {
        match key.root_version() {
            Some(version) => self.root(version).await,
            None => self.store.get_within(key, most).await,
        }
    }

    fn pinned_root(&self) -> Option<PinnedRoot> {
        self.pinned
    }

    async fn unverified(&self, key: &Key) -> Result<Option<Stored>> {
        self.store.unverified(key).await
    }

    async fn bytes_within(&self, key: &Key, most: usize) -> Result<Option<Bytes>> {
        match key.root_version() {
            Some(version) => Ok(self.root(version).await?.map(|stored| stored.bytes)),
            None => self.store.bytes_within(key, most).await,
        }
    }

    async fn exists(&self, key: &Key) -> Result<bool> {
        match key.root_version() {
            Some(version) => Ok(self.root(version).await?.is_some()),
            None => self.store.exists(key).await,
        }
    }

    async fn create(&self, document: &Document) -> Result<Written> {
        let written = self.store.create(document).await?;
        match document.key().root_version() {
            Some(version) if written == Written::Lost => self.take_place(document, version).await,
            _ => Ok(written),
        }
    }

    async fn replace(&self, pointer: &Pointer, expected: &Tag) -> Result<Written> {
        self.store.replace(pointer, expected).await
    }

    async fn list(&self, folder: Folder, after: Option<&Key>, limit: usize) -> Result<Vec<Key>> {
        self.store.list(folder, after, limit).await
    }
}
