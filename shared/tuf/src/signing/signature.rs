//! Whether a signature is a key's.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, RSA_PSS_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm,
};
use tough::schema::key::{EcdsaScheme, Ed25519Scheme, Key, RsaScheme};

/// Whether `key` made `signature` over `message`: for the schemes that `tough` knows, with the library that it does it with
/// (TUF specification 4.2, KEY).
///
/// `tough`'s own is not public but as a part of `Root::verify_role`, which writes the document in canonical form once more with
/// `olpc-cjson`: for a bin of 400 targets that takes ten times as long as all else that it takes to verify it.
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
