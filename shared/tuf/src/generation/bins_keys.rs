//! The keys of the bins. They stand in the roles that delegate to bins and not in the root, so that the repository replaces
//! them by itself.
//!
//! Within one generation all is signed by what it lists itself: in the first one the delegating roles list both keys, and what is
//! drafted from then on is signed by the new one; when nothing is left that the old one signed, the last one drops it.
//!
//! Where people sign `targets`, both of its documents are made and signed beforehand ([`BinsKeys::with`], [`BinsKeys::alone`]), and each is
//! taken in by the generation that is due for it.

use serde::{Deserialize, Serialize};
use tough::schema::key::Key;

use crate::index::Index;
use crate::manifest::Manifest;
use crate::name::RoleName;
use crate::root::same_key;
use crate::trie;

/// The keys of the bins in a generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BinsKeys {
    /// The one that signs what this generation makes.
    pub signing: Key,
    /// The one before, while there are bins that it signed.
    pub old: Option<OldKey>,
}

/// The key that signed the bins before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OldKey {
    /// The key.
    pub key: Key,
    /// The highest version that it signed.
    pub up_to: u64,
}

impl BinsKeys {
    /// The keys that delegating roles list.
    #[must_use]
    pub fn listed(&self) -> Vec<Key> {
        std::iter::once(&self.signing).chain(self.old.iter().map(|old| &old.key)).cloned().collect()
    }

    /// The keys of the generation after `base`, where they differ: `newest` is the key that shall sign bins, `index` the whole
    /// index. All delegating roles must be drafted anew then.
    #[must_use]
    pub fn next(base: &Manifest, index: &Index, newest: &Key) -> Option<Self> {
        let keys = base.bins_keys();
        if keys.old.is_some() {
            let all_signed = outdated(base, index).next().is_none();
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

    /// The same without the old key.
    #[must_use]
    pub fn alone(&self) -> Self {
        Self { signing: self.signing.clone(), old: None }
    }
}

/// The bins that the old key signed, and their versions, as far as `index` was read.
pub fn outdated<'a>(manifest: &'a Manifest, index: &'a Index) -> impl Iterator<Item = (RoleName, u64)> + 'a {
    let up_to = manifest.old_bins_key.as_ref().map_or(0, |old| old.up_to);
    let entries = index.entries().map(|(role, entry)| (role, entry.document.version));
    entries.filter(move |(role, version)| trie::parent(role).is_some() && *version <= up_to)
}
