//! How another key comes to sign the bins.
//! Within one generation all is signed by what it lists itself: in the first one the delegating roles list both keys, and what is
//! drafted from then on is signed by the new one; when nothing is left that the old one signed, the last one drops it.
//!
//! Where people sign `targets`, both of its documents are made and signed beforehand ([`BinsKeys::with`], [`BinsKeys::alone`]), and each is
//! taken in by the generation that is due for it.

use tough::schema::key::Key;

use super::bins_keys::{BinsKeys, OldKey};
use super::manifest::Manifest;
use crate::layout::{Index, trie};
use crate::primitives::RoleName;
use crate::signing::same_key;

impl BinsKeys {
    /// The keys of the generation after `base`, where they differ: `newest` is the key that shall sign bins, `index` the whole
    /// index. All delegating roles must be drafted anew then.
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

    /// The keys while `newest` takes the place of the base's key: those of the base where that is so already, or one replacement
    /// isn't over yet.
    #[must_use]
    pub fn with(base: &Manifest, newest: &Key) -> Self {
        let keys = base.bins_keys();
        if keys.old.is_some() || same_key(&keys.signing, newest) {
            return keys;
        }
        Self { signing: newest.clone(), old: Some(OldKey { key: keys.signing, up_to: base.serial }) }
    }
}

/// The bins that the old key signed, and their versions, as far as `index` was read.
pub fn outdated_bins<'a>(manifest: &'a Manifest, index: &'a Index) -> impl Iterator<Item = (RoleName, u64)> + 'a {
    let entries = index.entries().map(|(role, entry)| (role, entry.document.version));
    let old = manifest.old_bins_key.as_ref();
    entries.filter(move |(role, version)| trie::parent(role).is_some() && old.is_some_and(|old| *version <= old.up_to))
}
