//! The online keys, in KMS.

use std::collections::BTreeMap;

use async_trait::async_trait;
use aws_sdk_kms::Client;
use aws_sdk_kms::operation::get_public_key::GetPublicKeyOutput;
use aws_sdk_kms::types::{KeySpec, KeyUsageType, SigningAlgorithmSpec};
use futures::future::join_all;
use tokio::sync::OnceCell;
use tough::schema::key::Key as PublicKey;
use tufline_store::{BoxedError, ErrorKind, OnlineRole, Result, Signer, StoreError};
use tufline_tuf::root::same_key;

use crate::kms::{self, UnreadKey};

/// [`Signer`] on KMS. A process should share one, since it reads each public key only once.
#[derive(Debug)]
pub struct KmsSigner {
    client: Client,
    keys: BTreeMap<OnlineRole, Vec<OnlineKey>>,
}

#[derive(Debug)]
struct OnlineKey {
    id: String,
    public: OnceCell<PublicKey>,
}

impl KmsSigner {
    /// Signs with the KMS keys of these ids or ARNs, each role's oldest first. A request for a role
    /// without a key fails.
    #[must_use]
    pub fn new(client: Client, keys: BTreeMap<OnlineRole, Vec<String>>) -> Self {
        let key = |id| OnlineKey { id, public: OnceCell::new() };
        let keys = keys
            .into_iter()
            .map(|(role, ids)| (role, ids.into_iter().map(key).collect()))
            .collect();
        Self { client, keys }
    }

    fn keys(&self, role: OnlineRole) -> Result<&[OnlineKey]> {
        let keys = self.keys.get(&role).filter(|keys| !keys.is_empty());
        let missing = || {
            StoreError::new(
                ErrorKind::Invalid,
                "find",
                format!("{role:?}'s key"),
                "its KMS key isn't configured",
            )
        };
        keys.map(Vec::as_slice).ok_or_else(missing)
    }

    /// The keys of `role` with their public parts. It leaves out keys that can no longer sign if
    /// there are others: an old key may be deleted in KMS before it is removed from the
    /// configuration.
    async fn usable(&self, role: OnlineRole) -> Result<Vec<(&OnlineKey, PublicKey)>> {
        let keys = self.keys(role)?;
        let public = |key: &'_ OnlineKey| {
            let (client, id) = (self.client.clone(), key.id.clone());
            async move { kms::usable_public_key(&client, &id, to_public_key).await }
        };
        let reads =
            join_all(keys.iter().map(|key| key.public.get_or_try_init(|| public(key)))).await;
        let (mut usable, mut gone) = (Vec::new(), None);
        for (key, read) in keys.iter().zip(reads) {
            match read {
                Ok(public) => usable.push((key, public.clone())),
                Err(UnreadKey::Failed(error)) => return Err(error),
                Err(UnreadKey::Gone(error)) => {
                    tracing::warn!(key = key.id, %error, "an online key can't be used");
                    gone = Some(error);
                }
            }
        }
        match (usable.is_empty(), gone) {
            (true, Some(error)) => Err(error),
            _ => Ok(usable),
        }
    }

    async fn find(&self, role: OnlineRole, key: &PublicKey) -> Result<&OnlineKey> {
        let known =
            |found: &&OnlineKey| found.public.get().is_some_and(|public| same_key(public, key));
        if let Some(known) = self.keys(role)?.iter().find(known) {
            return Ok(known);
        }
        let found = self.usable(role).await?.into_iter().find(|(_, public)| same_key(public, key));
        let missing = || {
            StoreError::new(
                ErrorKind::Missing,
                "find",
                format!("{role:?}'s key"),
                "this key is not configured",
            )
        };
        found.map(|(found, _)| found).ok_or_else(missing)
    }

    /// Has KMS delete `key`, one of `role`'s keys, after `days` days (7 to 30); returns its id.
    /// Until then the deletion can be cancelled.
    ///
    /// # Errors
    /// If the key isn't configured, or KMS refuses.
    pub async fn schedule_deletion(
        &self,
        role: OnlineRole,
        key: &PublicKey,
        days: i32,
    ) -> Result<String> {
        let id = self.find(role, key).await?.id.clone();
        kms::schedule_deletion(&self.client, &id, days).await?;
        Ok(id)
    }
}

/// A KMS key as the root or a delegating role lists it: keytype `ecdsa`, scheme
/// `ecdsa-sha2-nistp256`, the public part as `SubjectPublicKeyInfo` in PEM (TUF specification 4.2).
fn to_public_key(answer: &GetPublicKeyOutput) -> std::result::Result<PublicKey, BoxedError> {
    let (spec, usage) = (answer.key_spec(), answer.key_usage());
    if spec != Some(&KeySpec::EccNistP256) || usage != Some(&KeyUsageType::SignVerify) {
        let spec = spec.map_or("unknown", KeySpec::as_str);
        let usage = usage.map_or("unknown", KeyUsageType::as_str);
        return Err(format!(
            "its spec is {spec} and its usage {usage}; make a key of spec ECC_NIST_P256 and usage \
             SIGN_VERIFY"
        )
        .into());
    }
    match kms::to_tuf(answer)? {
        key @ PublicKey::Ecdsa { .. } => Ok(key),
        _ => Err("its public key is not one of P-256".into()),
    }
}

#[async_trait]
impl Signer for KmsSigner {
    async fn public_keys(&self, role: OnlineRole) -> Result<Vec<PublicKey>> {
        Ok(self.usable(role).await?.into_iter().map(|(_, public)| public).collect())
    }

    async fn sign(&self, role: OnlineRole, key: &PublicKey, message: &[u8]) -> Result<Vec<u8>> {
        let id = &self.find(role, key).await?.id;
        kms::sign(&self.client, id, SigningAlgorithmSpec::EcdsaSha256, message).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canned::Canned;
    use crate::clients;
    use aws_lc_rs::encoding::AsDer;
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair, RsaKeyPair};
    use aws_sdk_kms::primitives::Blob;

    /// KMS's answer about a new key, and the key's public part.
    fn answer_of_new_key() -> (String, PublicKey) {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let pem = pem::encode(&pem::Pem::new("X", pair.public_key().as_der().unwrap().as_ref()));
        let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        let json = format!(
            r#"{{"KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY", "PublicKey": "{base64}"}}"#
        );
        (json, tough::sign::Sign::tuf_key(&pair))
    }

    #[tokio::test]
    async fn throttling_is_waited_out() {
        let throttled = r#"{"__type": "ThrottlingException", "message": "You have exceeded the rate at which you may call KMS."}"#;
        let (answer, key) = answer_of_new_key();
        let mut canned = Canned::default().answer(200, &[], answer);
        for _ in 0..4 {
            canned = canned.answer(400, &[], throttled);
        }
        let canned = canned.answer(200, &[], r#"{"Signature": "MEU="}"#);
        let signer = KmsSigner::new(
            clients::kms(&canned.config()),
            [(OnlineRole::Bins, vec!["id".into()])].into(),
        );
        assert_eq!(signer.sign(OnlineRole::Bins, &key, b"message").await.unwrap(), [0x30, 0x45]);
        assert_eq!(canned.requests().len(), 6);
    }

    #[tokio::test]
    async fn each_of_several_keys_signs_as_itself() {
        let ((first, old), (second, new)) = (answer_of_new_key(), answer_of_new_key());
        let canned = Canned::default().answer(200, &[], first).answer(200, &[], second);
        let canned = canned.answer(200, &[], r#"{"Signature": "MEU="}"#);
        let keys = [(OnlineRole::Bins, vec!["old".into(), "new".into()])].into();
        let signer = KmsSigner::new(clients::kms(&canned.config()), keys);
        assert_eq!(signer.public_keys(OnlineRole::Bins).await.unwrap(), [old, new.clone()]);
        signer.sign(OnlineRole::Bins, &new, b"message").await.unwrap();
        assert!(canned.requests().last().unwrap().body.contains(r#""KeyId":"new""#));
        let stranger = answer_of_new_key().1;
        let refused =
            signer.sign(OnlineRole::Bins, &stranger, b"message").await.unwrap_err().to_string();
        assert!(refused.contains("this key is not configured"), "{refused}");
    }

    #[tokio::test]
    async fn an_old_key_that_is_being_deleted_is_left_out() {
        let pending =
            r#"{"__type": "KMSInvalidStateException", "message": "arn is pending deletion."}"#;
        let (second, new) = answer_of_new_key();
        let ids = || vec!["old".to_owned(), "new".to_owned()];
        let canned = Canned::default().answer(400, &[], pending).answer(200, &[], second);
        let signer =
            KmsSigner::new(clients::kms(&canned.config()), [(OnlineRole::Bins, ids())].into());
        assert_eq!(signer.public_keys(OnlineRole::Bins).await.unwrap(), [new]);
        // Any other failure says nothing about the key.
        let denied = r#"{"__type": "AccessDeniedException", "message": "no"}"#;
        let canned =
            Canned::default().answer(400, &[], denied).answer(200, &[], answer_of_new_key().0);
        let signer =
            KmsSigner::new(clients::kms(&canned.config()), [(OnlineRole::Bins, ids())].into());
        let error = signer.public_keys(OnlineRole::Bins).await.unwrap_err().to_string();
        assert!(error.contains("AccessDenied"), "{error}");
        let canned = Canned::default().answer(400, &[], pending);
        let signer = KmsSigner::new(
            clients::kms(&canned.config()),
            [(OnlineRole::Bins, vec!["id".into()])].into(),
        );
        let error = signer.public_keys(OnlineRole::Bins).await.unwrap_err().to_string();
        assert!(error.contains("pending deletion"), "the only key: {error}");
    }

    #[test]
    fn a_p256_key_becomes_a_tuf_key_and_no_other_does() {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let der: Vec<u8> = pair.public_key().as_der().unwrap().as_ref().to_vec();
        let answer = |spec: KeySpec, usage: KeyUsageType, der: &[u8]| {
            GetPublicKeyOutput::builder()
                .key_spec(spec)
                .key_usage(usage)
                .public_key(Blob::new(der))
                .build()
        };
        let key =
            to_public_key(&answer(KeySpec::EccNistP256, KeyUsageType::SignVerify, &der)).unwrap();
        let json = serde_json::to_value(&key).unwrap();
        assert_eq!(
            (&json["keytype"], &json["scheme"]),
            (&"ecdsa".into(), &"ecdsa-sha2-nistp256".into())
        );
        let text = json["keyval"]["public"].as_str().unwrap();
        assert_eq!(pem::parse(text).unwrap().contents(), der);
        assert_eq!(text.parse::<PublicKey>().unwrap().key_id().unwrap(), key.key_id().unwrap());

        let refused = to_public_key(&answer(KeySpec::EccNistP384, KeyUsageType::SignVerify, &der))
            .unwrap_err()
            .to_string();
        assert!(refused.contains("ECC_NIST_P384") && refused.contains("make a key"), "{refused}");
        assert!(
            to_public_key(&answer(KeySpec::EccNistP256, KeyUsageType::KeyAgreement, &der)).is_err()
        );
        assert!(
            to_public_key(&answer(KeySpec::EccNistP256, KeyUsageType::SignVerify, &der[1..]))
                .is_err()
        );
        let rsa = RsaKeyPair::generate(KeySize::Rsa3072)
            .unwrap()
            .public_key()
            .as_der()
            .unwrap()
            .as_ref()
            .to_vec();
        assert!(
            to_public_key(&answer(KeySpec::EccNistP256, KeyUsageType::SignVerify, &rsa)).is_err()
        );
    }
}
