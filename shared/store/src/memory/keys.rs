//! The private keys of the in-memory signer.

use std::collections::BTreeMap;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};

use crate::error::{ErrorKind, StoreError};
use crate::port::{OnlineRole, Result};

/// A root key and the four online keys, all on P-256.
pub struct MemoryKeys {
    root: EcdsaKeyPair,
    online: BTreeMap<OnlineRole, EcdsaKeyPair>,
}

impl MemoryKeys {
    /// Generates new keys.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub fn generate() -> Result<Self> {
        let generate = || {
            EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map_err(|error| {
                StoreError::from_source(ErrorKind::Retry, "generate", "a key", error)
            })
        };
        let mut online = BTreeMap::new();
        for role in OnlineRole::ALL {
            online.insert(role, generate()?);
        }
        Ok(Self { root: generate()?, online })
    }

    /// The key with which `init` signs the first root.
    #[must_use]
    pub fn root(&self) -> &EcdsaKeyPair {
        &self.root
    }

    pub(super) fn online(&self, role: OnlineRole) -> Result<&EcdsaKeyPair> {
        let missing = || {
            StoreError::new(ErrorKind::Missing, "use", format!("{role:?}"), "there is no such key")
        };
        self.online.get(&role).ok_or_else(missing)
    }
}
