//! The signer in memory.

use async_trait::async_trait;
use aws_lc_rs::rand::SystemRandom;
use tough::schema::key::Key as PublicKey;
use tough::sign::Sign;

use super::world::Memory;
use crate::error::{ErrorKind, StoreError};
use crate::port::{OnlineRole, Result, Signer};

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
                    let signature = key.sign(&SystemRandom::new(), message);
                    signature.map_err(|error| {
                        StoreError::from_source(ErrorKind::Retry, "sign with", &name, error)
                    })
                })
            })
            .await??;
        Ok(signature.as_ref().to_vec())
    }
}
