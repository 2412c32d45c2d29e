//! Converts a token's public keys and signatures into the forms that TUF metadata uses.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, ParsedPublicKey, VerificationAlgorithm,
};
use cryptoki::object::{Attribute, KeyType};
use pkcs8::der::asn1::{OctetStringRef, UintRef};
use pkcs8::der::{Decode, Encode};
use tough::schema::key::Key;
use tufline_tuf::root::read_known_key;

/// The object identifier of P-256 in DER (RFC 5480, section 2.1.1.1).
const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];

/// The key with these attributes; the error says why it can't be used.
pub(crate) fn to_tuf(attributes: &[Attribute]) -> Result<Key, String> {
    let kind = attributes.iter().find_map(|attribute| match attribute {
        Attribute::KeyType(kind) => Some(*kind),
        _ => None,
    });
    let bytes = |pick: fn(&Attribute) -> Option<&Vec<u8>>| {
        attributes
            .iter()
            .find_map(pick)
            .ok_or_else(|| "the token does not return the public key".to_owned())
    };
    let point = || {
        bytes(
            |attribute| if let Attribute::EcPoint(point) = attribute { Some(point) } else { None },
        )
    };
    let der =
        match kind {
            Some(KeyType::EC) => {
                let curve = bytes(|attribute| {
                    if let Attribute::EcParams(curve) = attribute { Some(curve) } else { None }
                })?;
                if curve.as_slice() != P256 {
                    return Err("it is on another curve than P-256".into());
                }
                from_point(&ECDSA_P256_SHA256_ASN1, point()?)
            }
            Some(KeyType::EC_EDWARDS) => from_point(&ED25519, point()?),
            Some(KeyType::RSA) => {
                let n = bytes(
                    |attribute| if let Attribute::Modulus(n) = attribute { Some(n) } else { None },
                )?;
                let e = bytes(|attribute| {
                    if let Attribute::PublicExponent(e) = attribute { Some(e) } else { None }
                })?;
                PublicKeyComponents { n, e }.as_der()
            }
            _ => return Err("it is neither EC, Ed25519 nor RSA".into()),
        };
    let der = der.map_err(|_| "it is neither Ed25519, ECDSA P-256 nor RSA of a usual size")?;
    let pem = pem::encode(&pem::Pem::new("PUBLIC KEY", der.as_ref()));
    read_known_key(pem.as_bytes(), "in the token").map_err(|error| error.to_string())
}

/// Reads `CKA_EC_POINT`: a DER OCTET STRING that contains the point (PKCS#11 v3.1, section 6.3.3).
/// Some tokens return the bare point.
fn from_point(
    algorithm: &'static dyn VerificationAlgorithm,
    given: &[u8],
) -> Result<PublicKeyX509Der<'static>, Unspecified> {
    let point = <&OctetStringRef>::from_der(given).map_or(given, OctetStringRef::as_bytes);
    ParsedPublicKey::new(algorithm, point).map_err(|_| Unspecified)?.as_der()
}

/// Converts an ECDSA signature from r and s side by side, as tokens return it (PKCS#11 v3.1,
/// section 6.3.1), to `Ecdsa-Sig-Value`, as TUF uses it (RFC 3279, section 2.2.3).
pub(crate) fn to_der(signature: &[u8]) -> Result<Vec<u8>, String> {
    let bad = |error: pkcs8::der::Error| format!("its signature is not r and s: {error}");
    let (r, s) = signature.split_at(signature.len() / 2);
    [UintRef::new(r).map_err(bad)?, UintRef::new(s).map_err(bad)?].to_der().map_err(bad)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
    };

    #[test]
    fn signatures_become_what_clients_verify() {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, pair.public_key().as_ref());
        // Enough runs for numbers with leading zeros and with the highest bit set.
        for number in 0..600_u32 {
            let message = number.to_be_bytes();
            let signature =
                to_der(pair.sign(&SystemRandom::new(), &message).unwrap().as_ref()).unwrap();
            public.verify(&message, &signature).unwrap();
        }
    }

    #[test]
    fn a_point_is_read_bare_and_wrapped() {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let bare = pair.public_key().as_ref().to_vec();
        let wrapped = [&[0x04, 0x41], &bare[..]].concat();
        let key = |point: Vec<u8>, curve: &[u8]| {
            to_tuf(&[
                Attribute::KeyType(KeyType::EC),
                Attribute::EcParams(curve.to_vec()),
                Attribute::EcPoint(point),
            ])
        };
        let read = key(wrapped, P256).unwrap();
        assert_eq!(key(bare.clone(), P256).unwrap(), read);
        assert!(matches!(&read, Key::Ecdsa { keyval, .. } if keyval.public[..] == bare));
        assert!(
            key(bare.clone(), &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22])
                .unwrap_err()
                .contains("another curve")
        );
        assert!(key(bare[1..].to_vec(), P256).is_err());
    }
}
