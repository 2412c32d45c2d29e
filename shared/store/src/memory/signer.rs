//! Keys in memory.

use std::collections::BTreeMap;

use async_trait::async_trait;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use tough::schema::key::Key as PublicKey;
use tough::sign::Sign;

use super::Memory;
use crate::port::{OnlineRole, Result, Signer, StoreError};

/// A root key and the four online keys: P-256, as everywhere.
pub struct MemoryKeys {
    root: EcdsaKeyPair,
    online: BTreeMap<OnlineRole, EcdsaKeyPair>,
}

impl MemoryKeys {
    /// New keys.
    ///
    /// # Errors
    /// Where the system gives no randomness.
    pub fn generate() -> Result<Self> {
        let generate = || {
            EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING)
                .map_err(|error| StoreError::new("generate", "a key", error))
        };
        let mut online = BTreeMap::new();
        for role in OnlineRole::ALL {
            online.insert(role, generate()?);
        }
        Ok(Self { root: generate()?, online })
    }

    /// The root key.
    #[must_use]
    pub fn root(&self) -> &EcdsaKeyPair {
        &self.root
    }

    fn online(&self, role: OnlineRole) -> Result<&EcdsaKeyPair> {
        self.online.get(&role).ok_or_else(|| StoreError::new("use", format!("{role:?}"), "there is no such key"))
    }
}

#[async_trait]
impl Signer for Memory {
    async fn public_keys(&self, role: OnlineRole) -> Result<Vec<PublicKey>> {
        Ok(vec![self.keys.online(role)?.tuf_key()])
    }

    async fn sign(&self, role: OnlineRole, _key: &PublicKey, message: &[u8]) -> Result<Vec<u8>> {
        let name = format!("{role:?}");
        let signature = self
            .request("sign with", &name, false, |_| {
                self.keys.online(role).and_then(|key| {
                    key.sign(&SystemRandom::new(), message).map_err(|error| StoreError::new("sign with", &name, error))
                })
            })
            .await??;
        Ok(signature.as_ref().to_vec())
    }
}
