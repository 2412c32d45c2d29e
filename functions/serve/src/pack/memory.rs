//! What the server remembers from one pack to the next.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use tufline_metadata::Snapshot;
use tufline_store::Key;

/// How many bytes of files stay in memory: enough for the newest snapshot of 100,000 roles and its
/// predecessors, or for a thousand bins.
const MOST_KEPT: u64 = 32 << 20;

/// How long a cache may keep a pack at most, in seconds. For that long it may hide a newer
/// timestamp, or a newer root. A 404 for the next root may hide it for as long
/// ([`LONGEST_HIDDEN_SECONDS`](tufline_tuf::root::LONGEST_HIDDEN_SECONDS)).
pub const MOST_PACK_AGE: u32 = 5;

/// How many bytes a file is expected to have.
const USUAL_BYTES: u64 = 16 << 10;

/// What the server remembers from one pack to the next.
///
/// *Invariant*: it remembers no timestamp and no root.
pub struct Packs {
    files: Cache<Key, Bytes, ByBytes>,
    /// The last snapshot that was read.
    snapshot: Mutex<Option<Arc<Snapshot>>>,
    max_age: u32,
}

#[derive(Debug, Clone)]
struct ByBytes;

impl Weighter<Key, Bytes> for ByBytes {
    fn weight(&self, _: &Key, bytes: &Bytes) -> u64 {
        bytes.len() as u64
    }
}

impl Packs {
    /// Makes an empty memory. Caches between devices and this server may keep a pack for `max_age`
    /// seconds, at most [`MOST_PACK_AGE`]. It must be 0 unless everybody may read the repository.
    #[must_use]
    pub fn new(max_age: u32) -> Self {
        let items = usize::try_from(MOST_KEPT / USUAL_BYTES).unwrap_or(usize::MAX);
        Self {
            files: Cache::with_weighter(items, MOST_KEPT, ByBytes),
            snapshot: Mutex::default(),
            max_age: max_age.min(MOST_PACK_AGE),
        }
    }

    pub(crate) fn age(&self) -> String {
        if self.max_age == 0 {
            "no-store".to_owned()
        } else {
            format!("public, max-age={}", self.max_age)
        }
    }

    pub(crate) fn file(&self, key: &Key) -> Option<Bytes> {
        self.files.get(key)
    }

    /// Remembers a file that never changes. Roots and the timestamp are left out.
    pub(crate) fn remember(&self, key: &Key, bytes: &Bytes) {
        if key.root_version().is_none() && *key != Key::Timestamp && !bytes.is_empty() {
            self.files.insert(key.clone(), bytes.clone());
        }
    }

    pub(crate) fn snapshot(&self, version: u64) -> Option<Arc<Snapshot>> {
        let newest = self.newest();
        newest.as_ref().filter(|snapshot| snapshot.version == version).map(Arc::clone)
    }

    pub(crate) fn remember_snapshot(&self, snapshot: &Arc<Snapshot>) {
        *self.newest() = Some(Arc::clone(snapshot));
    }

    fn newest(&self) -> MutexGuard<'_, Option<Arc<Snapshot>>> {
        self.snapshot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
