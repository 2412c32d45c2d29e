//! Public keys as a root or a delegating role lists them (TUF specification 4.2, KEY), and the
//! verification of their signatures.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use base64ct::{Base64, Encoding};
use p256::ecdsa::signature::Verifier;
use p256::pkcs8::DecodePublicKey;
use rsa::PublicKey as RsaKey;
use rsa::pkcs1::DecodeRsaPublicKey;
use rsa::traits::PublicKeyParts;
use sha2::{Sha256, Sha384, Sha512};

use crate::error::Result;
use crate::fields::Field;

/// A public key, with the scheme of its signatures.
///
/// A key that cannot be used here is kept as well: a root may list it beside others, and its
/// signatures never verify.
#[derive(Debug, Clone, PartialEq)]
pub struct PublicKey {
    keytype: String,
    scheme: String,
    public: String,
    material: Option<Material>,
}

/// The key in the form that verifies signatures.
#[derive(Debug, Clone, PartialEq)]
enum Material {
    Ed25519(ed25519_dalek::VerifyingKey),
    P256(p256::ecdsa::VerifyingKey),
    P384(p384::ecdsa::VerifyingKey),
    Rsa(Box<RsaKey>, RsaScheme),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RsaScheme {
    Pss(Digest),
    Pkcs1v15(Digest),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Digest {
    Sha256,
    Sha384,
    Sha512,
}

impl PublicKey {
    pub(crate) fn read(field: &Field<'_>) -> Result<Self> {
        let keytype = field.get("keytype").text()?.to_owned();
        let scheme = field.get("scheme").text()?.to_owned();
        // An unknown kind of key may have any fields.
        let public = field.get("keyval").get("public").text().unwrap_or_default().to_owned();
        let material = material(&keytype, &scheme, &public);
        Ok(Self { keytype, scheme, public, material })
    }

    /// The kind of key, as its field `keytype` states it.
    #[must_use]
    pub fn keytype(&self) -> &str {
        &self.keytype
    }

    /// The scheme of its signatures, as its field `scheme` states it.
    #[must_use]
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// The key's `keyval.public`, unchanged.
    #[must_use]
    pub fn public(&self) -> &str {
        &self.public
    }

    /// The kind of key, for people: `"ECDSA P-256"`. `None` if it can't be used here, so that its
    /// signatures never verify.
    #[must_use]
    pub fn kind(&self) -> Option<&'static str> {
        Some(match self.material.as_ref()? {
            Material::Ed25519(_) => "Ed25519",
            Material::P256(_) => "ECDSA P-256",
            Material::P384(_) => "ECDSA P-384",
            Material::Rsa(..) => "RSA",
        })
    }

    /// Whether both entries have the same public key, whatever their other fields and schemes. A
    /// threshold requires different keys.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        match (&self.material, &other.material) {
            (Some(Material::Rsa(one, _)), Some(Material::Rsa(other, _))) => one == other,
            (Some(one), Some(other)) => one == other,
            _ => self == other,
        }
    }

    /// Whether this key made `signature` over `message`.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.material {
            None => false,
            Some(Material::Ed25519(key)) => ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(message, &signature).is_ok()),
            Some(Material::P256(key)) => p256::ecdsa::Signature::from_der(signature)
                .is_ok_and(|signature| key.verify(message, &signature).is_ok()),
            Some(Material::P384(key)) => p384::ecdsa::Signature::from_der(signature)
                .is_ok_and(|signature| key.verify(message, &signature).is_ok()),
            Some(Material::Rsa(key, scheme)) => verifies_rsa(key, *scheme, message, signature),
        }
    }
}

/// Accepts salts of any length: old securesystemslib made the longest possible salt, and clients
/// detect the length.
fn verifies_rsa(key: &RsaKey, scheme: RsaScheme, message: &[u8], signature: &[u8]) -> bool {
    macro_rules! with {
        ($scheme:ident, $new:ident, $digest:ty) => {
            rsa::$scheme::Signature::try_from(signature).is_ok_and(|signature| {
                rsa::$scheme::VerifyingKey::<$digest>::$new(key.clone())
                    .verify(message, &signature)
                    .is_ok()
            })
        };
    }
    match scheme {
        RsaScheme::Pss(Digest::Sha256) => with!(pss, new_with_auto_salt_len, Sha256),
        RsaScheme::Pss(Digest::Sha384) => with!(pss, new_with_auto_salt_len, Sha384),
        RsaScheme::Pss(Digest::Sha512) => with!(pss, new_with_auto_salt_len, Sha512),
        RsaScheme::Pkcs1v15(Digest::Sha256) => with!(pkcs1v15, new, Sha256),
        RsaScheme::Pkcs1v15(Digest::Sha384) => with!(pkcs1v15, new, Sha384),
        RsaScheme::Pkcs1v15(Digest::Sha512) => with!(pkcs1v15, new, Sha512),
    }
}

/// The key types and schemes of the specification (4.2), and those that python-tuf's
/// `securesystemslib` reads in addition, since existing repositories have them.
fn material(keytype: &str, scheme: &str, public: &str) -> Option<Material> {
    let ecdsa = matches!(keytype, "ecdsa" | "ecdsa-sha2-nistp256" | "ecdsa-sha2-nistp384");
    Some(match (keytype, scheme) {
        ("ed25519", "ed25519") => {
            let bytes: [u8; 32] = hex::decode(public).ok()?.try_into().ok()?;
            Material::Ed25519(ed25519_dalek::VerifyingKey::from_bytes(&bytes).ok()?)
        }
        (_, "ecdsa-sha2-nistp256") if ecdsa => Material::P256(match point(public)? {
            Point::Der(der) => p256::PublicKey::from_public_key_der(&der).ok()?.into(),
            Point::Bare(point) => p256::ecdsa::VerifyingKey::from_sec1_bytes(&point).ok()?,
        }),
        (_, "ecdsa-sha2-nistp384") if ecdsa => Material::P384(match point(public)? {
            Point::Der(der) => p384::PublicKey::from_public_key_der(&der).ok()?.into(),
            Point::Bare(point) => p384::ecdsa::VerifyingKey::from_sec1_bytes(&point).ok()?,
        }),
        ("rsa", scheme) => {
            let (label, der) = pem(public)?;
            let key = match label {
                "RSA PUBLIC KEY" => RsaKey::from_pkcs1_der(&der).ok()?,
                _ => RsaKey::from_public_key_der(&der).ok()?,
            };
            // Shorter keys prove nothing any more (NIST SP 800-131A revision 2, table 2).
            let enough = key.n().bit_width() >= 2048;
            Material::Rsa(enough.then(|| Box::new(key))?, rsa_scheme(scheme)?)
        }
        _ => return None,
    })
}

fn rsa_scheme(scheme: &str) -> Option<RsaScheme> {
    let digest = |name: &str| {
        Some(match name {
            "sha256" => Digest::Sha256,
            "sha384" => Digest::Sha384,
            "sha512" => Digest::Sha512,
            _ => return None,
        })
    };
    match (scheme.strip_prefix("rsassa-pss-"), scheme.strip_prefix("rsa-pkcs1v15-")) {
        (Some(name), _) => digest(name).map(RsaScheme::Pss),
        (_, Some(name)) => digest(name).map(RsaScheme::Pkcs1v15),
        _ => None,
    }
}

/// The point of an ECDSA key: in PEM, or bare in hexadecimal, as old go-tuf wrote it.
enum Point {
    Der(Vec<u8>),
    Bare(Vec<u8>),
}

fn point(public: &str) -> Option<Point> {
    match pem(public) {
        Some((_, der)) => Some(Point::Der(der)),
        None => hex::decode(public).ok().map(Point::Bare),
    }
}

/// The label and contents of PEM, with lines of any length and ending (RFC 7468, section 3: parsers
/// may be lax).
fn pem(text: &str) -> Option<(&str, Vec<u8>)> {
    let (label, rest) = text.split_once("-----BEGIN ")?.1.split_once("-----")?;
    let (body, _) = rest.split_once("-----END ")?;
    let digits: String = body.split_ascii_whitespace().collect();
    Some((label, Base64::decode_vec(&digits).ok()?))
}
