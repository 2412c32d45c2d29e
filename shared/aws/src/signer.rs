//! The online keys, in KMS.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use aws_sdk_kms::Client;
use aws_sdk_kms::operation::get_public_key::GetPublicKeyOutput;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{KeySpec, KeyUsageType, MessageType, SigningAlgorithmSpec};
use tokio::sync::OnceCell;
use tough::schema::decoded::{Decoded, EcdsaFlex};
use tough::schema::key::{EcdsaKey, EcdsaScheme, Key as PublicKey};
use tufline_store::{OnlineRole, Result, Signer, StoreError};
use tufline_tuf::Sha256;

use crate::failure::failed;

/// [`Signer`] on KMS. Share one in a process: it asks for each public key once.
#[derive(Debug)]
pub struct KmsSigner {
    client: Client,
    keys: BTreeMap<OnlineRole, OnlineKey>,
}

#[derive(Debug)]
struct OnlineKey {
    id: String,
    public: OnceCell<PublicKey>,
}

impl KmsSigner {
    /// Signs with the KMS keys of these ids or ARNs. Using a role that isn't among them fails.
    #[must_use]
    pub fn new(client: Client, keys: BTreeMap<OnlineRole, String>) -> Self {
        let keys = keys.into_iter().map(|(role, id)| (role, OnlineKey { id, public: OnceCell::new() })).collect();
        Self { client, keys }
    }

    fn key(&self, role: OnlineRole) -> Result<&OnlineKey> {
        self.keys
            .get(&role)
            .ok_or_else(|| StoreError::new("find", format!("{role:?}'s key"), "its KMS key isn't configured"))
    }

    /// <https://docs.aws.amazon.com/kms/latest/APIReference/API_GetPublicKey.html>
    async fn fetch(&self, id: &str) -> Result<PublicKey> {
        let answer = self.client.get_public_key().key_id(id).send().await;
        let answer = answer.map_err(|error| failed("read the public key of", id, &error))?;
        to_public_key(&answer).map_err(|why| StoreError::new("read the public key of", id, why))
    }
}

/// A KMS key as root or a delegating role lists it: keytype `ecdsa`, scheme `ecdsa-sha2-nistp256`, the public part as
/// `SubjectPublicKeyInfo` in PEM (TUF specification 4.2).
fn to_public_key(answer: &GetPublicKeyOutput) -> std::result::Result<PublicKey, String> {
    let (spec, usage) = (answer.key_spec(), answer.key_usage());
    if spec != Some(&KeySpec::EccNistP256) || usage != Some(&KeyUsageType::SignVerify) {
        let spec = spec.map_or("unknown", KeySpec::as_str);
        let usage = usage.map_or("unknown", KeyUsageType::as_str);
        return Err(format!(
            "its spec is {spec} and its usage {usage}; make a key of spec ECC_NIST_P256 and usage SIGN_VERIFY"
        ));
    }
    let der = answer.public_key().ok_or("the answer has no public key")?.as_ref();
    let pem = pem::encode(&pem::Pem::new("PUBLIC KEY", der));
    let point: Decoded<EcdsaFlex> = pem.parse().map_err(|_| "its public key is not one of P-256")?;
    // From the bare point tough writes the PEM that it writes for any other key: one key, one text, one key id.
    let public = Decoded::from(point.into_vec());
    Ok(PublicKey::Ecdsa {
        keyval: EcdsaKey { public, _extra: HashMap::new() },
        scheme: EcdsaScheme::EcdsaSha2Nistp256,
        _extra: HashMap::new(),
    })
}

#[async_trait]
impl Signer for KmsSigner {
    async fn public_key(&self, role: OnlineRole) -> Result<PublicKey> {
        let key = self.key(role)?;
        key.public.get_or_try_init(|| self.fetch(&key.id)).await.cloned()
    }

    /// <https://docs.aws.amazon.com/kms/latest/APIReference/API_Sign.html>: over a digest, since KMS takes messages of up to
    /// 4,096 bytes only; "ECDSA signatures are DER-encoded".
    async fn sign(&self, role: OnlineRole, message: &[u8]) -> Result<Vec<u8>> {
        let id = &self.key(role)?.id;
        let request = self.client.sign().key_id(id).message(Blob::new(Sha256::of(message).as_bytes().as_slice()));
        let request = request.message_type(MessageType::Digest).signing_algorithm(SigningAlgorithmSpec::EcdsaSha256);
        let answer = request.send().await.map_err(|error| failed("sign with", id, &error))?;
        let signature =
            answer.signature.ok_or_else(|| StoreError::new("sign with", id, "the answer has no signature"))?;
        Ok(signature.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canned::Canned;
    use crate::clients;
    use aws_lc_rs::encoding::AsDer;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};

    #[tokio::test]
    async fn throttling_is_waited_out() {
        let throttled =
            r#"{"__type": "ThrottlingException", "message": "You have exceeded the rate at which you may call KMS."}"#;
        let mut canned = Canned::default();
        for _ in 0..4 {
            canned = canned.answer(400, &[], throttled);
        }
        let canned = canned.answer(200, &[], r#"{"Signature": "MEU="}"#);
        let signer = KmsSigner::new(clients::kms(&canned.config()), [(OnlineRole::Bins, "id".into())].into());
        assert_eq!(signer.sign(OnlineRole::Bins, b"message").await.unwrap(), [0x30, 0x45]);
        assert_eq!(canned.requests().len(), 5);
    }

    #[test]
    fn a_p256_key_becomes_a_tuf_key_and_no_other_does() {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let der: Vec<u8> = pair.public_key().as_der().unwrap().as_ref().to_vec();
        let answer = |spec: KeySpec, usage: KeyUsageType, der: &[u8]| {
            GetPublicKeyOutput::builder().key_spec(spec).key_usage(usage).public_key(Blob::new(der)).build()
        };
        let key = to_public_key(&answer(KeySpec::EccNistP256, KeyUsageType::SignVerify, &der)).unwrap();
        let json = serde_json::to_value(&key).unwrap();
        assert_eq!((&json["keytype"], &json["scheme"]), (&"ecdsa".into(), &"ecdsa-sha2-nistp256".into()));
        let text = json["keyval"]["public"].as_str().unwrap();
        assert_eq!(pem::parse(text).unwrap().contents(), der);
        assert_eq!(text.parse::<PublicKey>().unwrap().key_id().unwrap(), key.key_id().unwrap());

        let refused = to_public_key(&answer(KeySpec::EccNistP384, KeyUsageType::SignVerify, &der)).unwrap_err();
        assert!(refused.contains("ECC_NIST_P384") && refused.contains("make a key"), "{refused}");
        assert!(to_public_key(&answer(KeySpec::EccNistP256, KeyUsageType::KeyAgreement, &der)).is_err());
        assert!(to_public_key(&answer(KeySpec::EccNistP256, KeyUsageType::SignVerify, &der[1..])).is_err());
    }
}
