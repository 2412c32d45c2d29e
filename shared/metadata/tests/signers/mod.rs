//! Keys that sign as other tools do, with a library that the crate itself doesn't use.
#![allow(dead_code, reason = "each test has a part of it")]

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair, RSA_PSS_SHA256,
};
use base64ct::{Base64, Encoding};
use olpc_cjson::CanonicalFormatter;
use serde::Serialize;
use serde_json::{Serializer, Value, json};
use sha2::{Digest, Sha256};

/// A private key of one kind.
pub enum Signer {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

impl Signer {
    /// A key that is the same each time for the same number.
    pub fn ed25519(number: u8) -> Self {
        Self::Ed25519(Ed25519KeyPair::from_seed_unchecked(&[number; 32]).unwrap())
    }

    pub fn p256() -> Self {
        Self::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap())
    }

    pub fn p384() -> Self {
        Self::P384(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_ASN1_SIGNING).unwrap())
    }

    pub fn rsa(size: KeySize) -> Self {
        Self::Rsa(RsaKeyPair::generate(size).unwrap())
    }

    /// The key's entry as python-tuf writes it.
    pub fn entry(&self) -> Value {
        let (keytype, scheme) = match self {
            Self::Ed25519(_) => ("ed25519", "ed25519"),
            Self::P256(_) => ("ecdsa", "ecdsa-sha2-nistp256"),
            Self::P384(_) => ("ecdsa", "ecdsa-sha2-nistp384"),
            Self::Rsa(_) => ("rsa", "rsassa-pss-sha256"),
        };
        json!({"keytype": keytype, "scheme": scheme, "keyval": {"public": self.public()}})
    }

    fn public(&self) -> String {
        let der = match self {
            Self::Ed25519(key) => return hex::encode(key.public_key()),
            Self::P256(key) | Self::P384(key) => {
                key.public_key().as_der().unwrap().as_ref().to_vec()
            }
            Self::Rsa(key) => key.public_key().as_der().unwrap().as_ref().to_vec(),
        };
        pem("PUBLIC KEY", &der)
    }

    /// The bare point of an ECDSA key, or an RSA key in PKCS#1.
    pub fn bare(&self) -> Vec<u8> {
        match self {
            Self::Ed25519(key) => key.public_key().as_ref().to_vec(),
            Self::P256(key) | Self::P384(key) => key.public_key().as_ref().to_vec(),
            Self::Rsa(key) => key.public_key().as_ref().to_vec(),
        }
    }

    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Ed25519(key) => key.sign(message).as_ref().to_vec(),
            Self::P256(key) | Self::P384(key) => {
                key.sign(&random, message).unwrap().as_ref().to_vec()
            }
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PSS_SHA256, &random, message, &mut signature).unwrap();
                signature
            }
        }
    }
}

pub fn pem(label: &str, der: &[u8]) -> String {
    let digits = Base64::encode_string(der);
    let lines: Vec<&str> =
        digits.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// The canonical form that tough writes.
pub fn form(value: &Value) -> Vec<u8> {
    let mut form = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut form, CanonicalFormatter::new())).unwrap();
    form
}

/// The id of a key's entry: the SHA-256 of the whole entry.
pub fn id(entry: &Value) -> String {
    hex::encode(Sha256::digest(form(entry)))
}

/// A file with the signatures of these keys under these ids.
pub fn signed(document: &Value, signers: &[(&str, &Signer)]) -> Vec<u8> {
    let message = form(document);
    let signatures: Vec<Value> = signers
        .iter()
        .map(|(id, key)| json!({"keyid": id, "sig": hex::encode(key.sign(&message))}))
        .collect();
    json!({"signatures": signatures, "signed": document}).to_string().into_bytes()
}
