//! A store in which a root that doesn't verify isn't there.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::join_all;
use tufline_tuf::root::{Chain, PinnedRoot};

use crate::document::{Document, Pointer};
use crate::key::{Folder, Key};
use crate::port::{Result, Store, Stored, Tag, Written};

/// So many roots are read at once by a process that knows none yet; more, as long as all of them are there.
const FIRST_STRIDE: usize = 4;
const LONGEST_STRIDE: usize = 32;

/// A [`Store`] in which a root is there only if it verifies: the first by itself, any other under the one before and under
/// itself, as clients walk them (TUF specification 5.3.3 to 5.3.5). So whoever may write `metadata/2.root.json`, and holds no keys
/// of the root, stops nobody: what he stores there is missing, for every stage and for every device.
///
/// The first is version 1, or the one that is [pinned](Store::pinned_root): it may have any version, since a client needs nothing before the root that it
/// trusts (5.3.2). Those before it are not there. What lies in their places only devices are answered that are older than the first, as
/// [`Store::unverified`]: nobody who trusts the first or a later one ever asks for it, and so it can hurt nobody else.
///
/// *Invariants*: a root that was found to verify stays, whatever is stored in its place later. Nothing else is remembered: what is missing or doesn't
/// verify is asked for each time. And a stored root is replaced only by one that verifies where it doesn't, by compare-and-swap; the
/// first never.
pub struct VerifiedRoots {
    store: Arc<dyn Store>,
    pinned: Option<PinnedRoot>,
    known: Mutex<KnownRoots>,
}

/// The roots that verified, from the first on.
#[derive(Default)]
struct KnownRoots {
    /// Of all in `stored`.
    chain: Option<Chain>,
    stored: Vec<Stored>,
}

impl KnownRoots {
    /// Version `version`, in a chain that begins with `first`.
    fn get(&self, version: u64, first: u64) -> Option<Stored> {
        let index = usize::try_from(version.checked_sub(first)?).ok()?;
        self.stored.get(index).cloned()
    }

    /// The chain with `next` behind it; `None` where that doesn't verify.
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
    /// What `store` has. `pinned` says with which root it begins; else version 1 is believed that lies there.
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

    /// Goes on after the first `count` with what was found behind them; answers whether more is known now.
    fn extend(&self, count: usize, found: Vec<Stored>) -> bool {
        let mut known = self.known();
        // Else another was faster.
        if known.stored.len() == count {
            for stored in found {
                let Some(chain) = known.with(&stored.bytes, self.pinned) else { break };
                known.chain = Some(chain);
                known.stored.push(stored);
            }
        }
        known.stored.len() > count
    }

    /// Something lies where `document` belongs: if that is no root, and `document` is the one that follows, it makes room.
    async fn take_place(&self, document: &Document, version: u64) -> Result<Written> {
        // Whoever can't judge replaces nothing.
        if self.root(version).await?.is_some() {
            return Ok(Written::Lost);
        }
        let verifies = |bytes: &Bytes| {
            let known = self.known();
            let first = self.first_root();
            first + known.stored.len() as u64 == version && version > first && known.with(bytes, self.pinned).is_some()
        };
        if !verifies(document.bytes()) {
            return Ok(Written::Lost);
        }
        match self.store.get(document.key()).await? {
            Some(stored) if verifies(&stored.bytes) => Ok(Written::Lost),
            Some(stored) => self.store.replace(&Pointer::in_place_of_no_root(document), &stored.tag).await,
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
