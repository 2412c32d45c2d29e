//! The keys of the bins. The roles that delegate to bins list them, not the root, so the repository
//! can replace them by itself.

use serde::{Deserialize, Serialize};
use tough::schema::key::Key;

/// The keys of the bins in a generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BinsKeys {
    /// The key that signs the bins that this generation drafts.
    pub signing: Key,
    /// The previous key, as long as some bins are signed by it.
    pub old: Option<OldKey>,
}

/// The previous key of the bins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OldKey {
    /// The previous public key.
    pub key: Key,
    /// The highest version that this key signed.
    pub up_to: u64,
}

impl BinsKeys {
    /// The keys that the delegating roles list.
    #[must_use]
    pub fn listed(&self) -> Vec<Key> {
        std::iter::once(&self.signing).chain(self.old.iter().map(|old| &old.key)).cloned().collect()
    }

    /// These keys without the old one.
    #[must_use]
    pub fn alone(&self) -> Self {
        Self { signing: self.signing.clone(), old: None }
    }
}
