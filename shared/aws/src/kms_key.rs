//! A person's key in KMS, which signs roots. Its policy and the caller's credentials decide who may
//! use it.

use async_trait::async_trait;
use aws_lc_rs::rand::SecureRandom;
use aws_sdk_kms::Client;
use aws_sdk_kms::operation::get_public_key::GetPublicKeyOutput;
use aws_sdk_kms::types::{KeySpec, KeyUsageType, SigningAlgorithmSpec};
use tough::schema::key::Key as PublicKey;
use tough::sign::Sign;
use tufline_store::{BoxedError, Result};

use crate::{Clients, kms};

/// A KMS key of spec `ECC_NIST_P256`, `RSA_3072` or `RSA_4096`; or `RSA_2048`, for roots that other
/// tools made (tuftool's keys in KMS are RSA).
#[derive(Debug)]
pub struct KmsKey {
    client: Client,
    id: String,
    public: PublicKey,
    algorithm: SigningAlgorithmSpec,
}

impl KmsKey {
    /// Opens the key with this id, ARN or alias, and reads its public part.
    ///
    /// # Errors
    /// If the key doesn't exist, may not be used, or is of another spec.
    pub async fn open(clients: &Clients, id: &str) -> Result<Self> {
        let client = clients.kms();
        let (public, algorithm) = kms::public_key(&client, id, usable).await?;
        Ok(Self { client, id: id.into(), public, algorithm })
    }
}

fn usable(
    answer: &GetPublicKeyOutput,
) -> std::result::Result<(PublicKey, SigningAlgorithmSpec), BoxedError> {
    let spec = answer.key_spec().map_or("unknown", KeySpec::as_str);
    let algorithm = match answer.key_spec() {
        _ if answer.key_usage() != Some(&KeyUsageType::SignVerify) => None,
        Some(KeySpec::EccNistP256) => Some(SigningAlgorithmSpec::EcdsaSha256),
        // "The length of the salt is the length of the digest": the 32 bytes that all clients
        // verify
        // (https://docs.aws.amazon.com/kms/latest/developerguide/symm-asymm-choose-key-spec.html).
        Some(KeySpec::Rsa2048 | KeySpec::Rsa3072 | KeySpec::Rsa4096) => {
            Some(SigningAlgorithmSpec::RsassaPssSha256)
        }
        _ => None,
    };
    let algorithm = algorithm.ok_or_else(|| {
        format!(
            "its spec is {spec}: make a key of usage SIGN_VERIFY and spec ECC_NIST_P256, \
                 RSA_3072 or RSA_4096"
        )
    })?;
    Ok((kms::to_tuf(answer)?, algorithm))
}

#[async_trait]
impl Sign for KmsKey {
    fn tuf_key(&self) -> PublicKey {
        self.public.clone()
    }

    async fn sign(
        &self,
        message: &[u8],
        _random: &(dyn SecureRandom + Sync),
    ) -> std::result::Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync + 'static>> {
        Ok(kms::sign(&self.client, &self.id, self.algorithm.clone(), message).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::encoding::AsDer;
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair, RsaKeyPair};
    use aws_sdk_kms::primitives::Blob;

    fn answer(spec: KeySpec, usage: KeyUsageType, der: &[u8]) -> GetPublicKeyOutput {
        GetPublicKeyOutput::builder()
            .key_spec(spec)
            .key_usage(usage)
            .public_key(Blob::new(der))
            .build()
    }

    #[test]
    fn each_spec_has_its_algorithm_and_others_are_refused() {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let der = pair.public_key().as_der().unwrap().as_ref().to_vec();
        let (key, algorithm) =
            usable(&answer(KeySpec::EccNistP256, KeyUsageType::SignVerify, &der)).unwrap();
        assert_eq!((key, algorithm), (pair.tuf_key(), SigningAlgorithmSpec::EcdsaSha256));
        let mut der = Vec::new();
        for (size, spec) in
            [(KeySize::Rsa2048, KeySpec::Rsa2048), (KeySize::Rsa3072, KeySpec::Rsa3072)]
        {
            let rsa = RsaKeyPair::generate(size).unwrap();
            der = rsa.public_key().as_der().unwrap().as_ref().to_vec();
            let (key, algorithm) = usable(&answer(spec, KeyUsageType::SignVerify, &der)).unwrap();
            assert_eq!((key, algorithm), (rsa.tuf_key(), SigningAlgorithmSpec::RsassaPssSha256));
        }
        for (spec, usage) in [
            (KeySpec::Rsa3072, KeyUsageType::EncryptDecrypt),
            (KeySpec::EccNistP384, KeyUsageType::SignVerify),
        ] {
            let refused = usable(&answer(spec, usage, &der)).unwrap_err().to_string();
            assert!(refused.contains("make a key of usage SIGN_VERIFY"), "{refused}");
        }
    }
}
