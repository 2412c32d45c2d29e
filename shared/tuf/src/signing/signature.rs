//! Whether a signature is a key's; [`RoleKeys`](super::RoleKeys) counts them.
//!
//! `tough` has both, as one function: `verify_role` of a root and of delegations (<https://docs.rs/tough/0.24.0/tough/schema/struct.Root.html>). It isn't
//! used where documents are signed and verified, for two reasons.
//!
//! - It writes each document in canonical form for itself, with `olpc-cjson`. Of 400 targets (53 kB) that takes 1.6 ms, where the form that is
//!   every client's takes 0.12 ms, which must be written in any case to know that they agree; of 1,000 (132 kB) 4.1 ms and 0.30 ms. Verified with reading,
//!   such a document takes 1.9 ms and 4.7 ms here, and 3.3 ms and 8.7 ms there. (The least of 300 rounds, in the profile of the tests, on an x86-64 with two
//!   cores.)
//! - It counts key ids. One public key under two ids counts twice there, and once here: a threshold is of keys.
//!
//! It is one of the models in the property test `signatures_count_as_they_do_for_tough` (`shared/tuf/tests/signed.rs`).

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, RSA_PSS_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm,
};
use tough::schema::key::{EcdsaScheme, Ed25519Scheme, Key, RsaScheme};

/// Whether `key` made `signature` over `message`: for the schemes that `tough` knows, with the library that it does it with
/// (TUF specification 4.2, KEY).
pub fn is_good(key: &Key, message: &[u8], signature: &[u8]) -> bool {
    let (algorithm, public): (&'static dyn VerificationAlgorithm, &[u8]) = match key {
        Key::Ecdsa { scheme: EcdsaScheme::EcdsaSha2Nistp256, keyval, .. }
        | Key::EcdsaOld { scheme: EcdsaScheme::EcdsaSha2Nistp256, keyval, .. } => {
            (&ECDSA_P256_SHA256_ASN1, &keyval.public)
        }
        Key::Ed25519 { scheme: Ed25519Scheme::Ed25519, keyval, .. } => (&ED25519, &keyval.public),
        Key::Rsa { scheme: RsaScheme::RsassaPssSha256, keyval, .. } => (&RSA_PSS_2048_8192_SHA256, &keyval.public),
    };
    UnparsedPublicKey::new(algorithm, public).verify(message, signature).is_ok()
}
