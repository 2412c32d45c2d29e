//! The keys of the bins. They stand in the roles that delegate to bins and not in the root, so that the repository replaces
//! them by itself.

use serde::{Deserialize, Serialize};
use tough::schema::key::Key;

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

    /// The same without the old key.
    #[must_use]
    pub fn alone(&self) -> Self {
        Self { signing: self.signing.clone(), old: None }
    }
}
