//! Replaces the key that signs the bins, over several generations.
//!
//! Every generation is verified by the keys that it lists itself. In the first one the delegating
//! roles list both keys, and the new key signs every bin that is drafted from then on. Once no bin
//! is left that the old key signed, the last generation drops it.
//!
//! If people sign `targets`, both of its documents are made and signed beforehand
//! ([`BinsKeys::with`], [`BinsKeys::alone`]), and the first and the last generation of the
//! replacement take them in.

use tough::schema::key::Key;

use super::bins_keys::{BinsKeys, OldKey};
use super::manifest::Manifest;
use crate::layout::{Index, trie};
use crate::primitives::RoleName;
use crate::signing::same_key;

impl BinsKeys {
    /// The keys of the generation after `base`; `None` if they stay the same. `newest` is the key
    /// that is to sign bins, and `index` is the whole index. If the keys change, all delegating
    /// roles must be drafted again.
    #[must_use]
    pub fn next(base: &Manifest, index: &Index, newest: &Key) -> Option<Self> {
        let keys = base.bins_keys();
        if keys.old.is_some() {
            let all_signed = outdated_bins(base, index).next().is_none();
            return all_signed.then(|| keys.alone());
        }
        if same_key(&keys.signing, newest) {
            return None;
        }
        let is_split = base.top.bins.is_some();
        let with_newest = Self::with(base, newest);
        Some(if is_split { with_newest } else { with_newest.alone() })
    }

    /// The keys during the replacement of the base's key by `newest`. The base's keys stay if
    /// `newest` already signs, or if an earlier replacement isn't finished.
    #[must_use]
    pub fn with(base: &Manifest, newest: &Key) -> Self {
        let keys = base.bins_keys();
        if keys.old.is_some() || same_key(&keys.signing, newest) {
            return keys;
        }
        Self {
            signing: newest.clone(),
            old: Some(OldKey { key: keys.signing, up_to: base.serial }),
        }
    }
}

/// The bins that the old key signed, with their versions, in the part of `index` that was read.
pub fn outdated_bins<'a>(
    manifest: &'a Manifest,
    index: &'a Index,
) -> impl Iterator<Item = (RoleName, u64)> + 'a {
    let entries = index.entries().map(|(role, entry)| (role, entry.document.version));
    let old = manifest.old_bins_key.as_ref();
    entries.filter(move |(role, version)| {
        trie::parent(role).is_some() && old.is_some_and(|old| *version <= old.up_to)
    })
}
