//! Verifies one signature under one key. [`RoleKeys`](super::RoleKeys) counts the valid ones.
//!
//! `tough` does both in one function, `verify_role` of a root and of delegations
//! (<https://docs.rs/tough/0.24.0/tough/schema/struct.Root.html>). The code that signs and verifies
//! documents doesn't use it, for two reasons:
//!
//! - `verify_role` writes each document's canonical form itself, with `olpc-cjson`. For 400 targets
//!   (53 kB) that takes 1.6 ms. Here the canonical form that all clients share takes 0.12 ms, and
//!   must be written anyway, to know that clients agree. For 1,000 targets (132 kB) it takes 4.1 ms
//!   and 0.30 ms. Reading and verifying such a document takes 1.9 ms and 4.7 ms here, and 3.3 ms
//!   and 8.7 ms with `tough`. (The least of 300 rounds, in the profile of the tests, on an x86-64
//!   with two cores.)
//! - `verify_role` counts key ids, so one public key under two ids counts twice. Here it counts
//!   once: a threshold is a number of keys.
//!
//! `tough` is one of the models in the property test `signatures_count_as_they_do_for_tough`
//! (`shared/tuf/tests/signed.rs`).

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, RSA_PSS_2048_8192_SHA256, UnparsedPublicKey,
    VerificationAlgorithm,
};
use tough::schema::key::{EcdsaScheme, Ed25519Scheme, Key, RsaScheme};

/// Whether `key` made `signature` over `message` (TUF specification 4.2, KEY). It knows the schemes
/// that `tough` knows, and uses the same library.
pub fn is_good(key: &Key, message: &[u8], signature: &[u8]) -> bool {
    let (algorithm, public): (&'static dyn VerificationAlgorithm, &[u8]) = match key {
        Key::Ecdsa { scheme: EcdsaScheme::EcdsaSha2Nistp256, keyval, .. }
        | Key::EcdsaOld { scheme: EcdsaScheme::EcdsaSha2Nistp256, keyval, .. } => {
            (&ECDSA_P256_SHA256_ASN1, &keyval.public)
        }
        Key::Ed25519 { scheme: Ed25519Scheme::Ed25519, keyval, .. } => (&ED25519, &keyval.public),
        Key::Rsa { scheme: RsaScheme::RsassaPssSha256, keyval, .. } => {
            (&RSA_PSS_2048_8192_SHA256, &keyval.public)
        }
    };
    UnparsedPublicKey::new(algorithm, public).verify(message, signature).is_ok()
}
