//! Public keys as a root lists them.

use std::collections::HashMap;

use aws_lc_rs::rsa::PublicEncryptingKey;
use aws_lc_rs::signature::ED25519_PUBLIC_KEY_LEN;
use pem::{EncodeConfig, LineEnding, Pem};
use serde_json::Value;
use tough::schema::key::{
    EcdsaKey, EcdsaScheme, Ed25519Key, Ed25519Scheme, Key, RsaKey, RsaScheme,
};

use super::error::RootError;
use crate::signing::key_file::Wanted;
use crate::signing::{KeyId, key_file, public_part};

/// The bytes before the 32 bytes of an Ed25519 key in a `SubjectPublicKeyInfo` (RFC 8410, section
/// 4).
const ED25519_SPKI: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// The fewest bits of a new RSA key (NIST SP 800-57, part 1, table 2: 128 bits of security).
pub const LEAST_RSA_BITS: usize = 3072;

/// The fewest bits of an RSA key that a root already lists (NIST SP 800-131A revision 2, table 2).
const LEAST_KNOWN_RSA_BITS: usize = 2048;

/// The first byte of an uncompressed point (SEC 1, section 2.3.3), and the length of such a point
/// on P-256.
const UNCOMPRESSED: (u8, usize) = (4, 65);

/// The key's id.
///
/// # Errors
/// [`RootError::BadKey`] for a key that has no canonical form, never in practice.
pub fn key_id(key: &Key) -> Result<KeyId, RootError> {
    key.key_id().map_err(|error| RootError::BadKey { what: "given".into(), why: error.to_string() })
}

/// The kind of key, for people: `"ECDSA P-256"`.
#[must_use]
pub fn kind(key: &Key) -> &'static str {
    match key {
        Key::Rsa { .. } => "RSA",
        Key::Ed25519 { .. } => "Ed25519",
        Key::Ecdsa { .. } | Key::EcdsaOld { .. } => "ECDSA P-256",
    }
}

/// Reads a new public key from a file: PEM (`SubjectPublicKeyInfo`), or a root's key entry in JSON.
/// The same public key gets the same text and the same id, whatever tool wrote the file.
///
/// # Errors
/// [`RootError::BadKey`], whose message calls the key `what`.
pub fn read_public_key(file: &[u8], what: &str) -> Result<Key, RootError> {
    let key = read(file, what, LEAST_RSA_BITS)?;
    expect_new_key(&key, what)?;
    Ok(key)
}

/// Refuses a key that may not be added now, even if a root already lists it.
///
/// # Errors
/// [`RootError::BadKey`].
pub fn expect_new_key(key: &Key, what: &str) -> Result<(), RootError> {
    check_new(key).map_err(|why| RootError::BadKey { what: what.into(), why })
}

/// As [`read_public_key`], for a key that a root may already list. Such a key may be RSA with 2048
/// bits, and a new one may not.
///
/// # Errors
/// [`RootError::BadKey`].
pub fn read_known_key(file: &[u8], what: &str) -> Result<Key, RootError> {
    read(file, what, LEAST_KNOWN_RSA_BITS)
}

fn read(file: &[u8], what: &str, least_rsa: usize) -> Result<Key, RootError> {
    let bad = |why: String| RootError::BadKey { what: what.into(), why };
    let wanted = Wanted::Public { least_rsa };
    let text = key_file::text(file, wanted).map_err(bad)?;
    let key =
        if text.trim_start().starts_with('{') { from_json(text) } else { from_pem(text, wanted) };
    let key = plain(&key.map_err(bad)?);
    check(&key).map_err(bad)?;
    Ok(key)
}

/// Why a private key is refused.
const PRIVATE: &str = "it is a private key, which must stay with its holder; give the public key";

fn from_json(text: &str) -> Result<Key, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    // securesystemslib wrote private keys in this form.
    if value["keyval"]["private"].as_str().is_some_and(|private| !private.is_empty()) {
        return Err(PRIVATE.into());
    }
    serde_json::from_value(value).map_err(|error| error.to_string())
}

fn from_pem(text: &str, wanted: Wanted) -> Result<Key, String> {
    let blocks = key_file::blocks(text, wanted)?;
    if let Some(private) = blocks.iter().find(|block| block.label.contains("PRIVATE")) {
        // Check the kind first: nobody should fetch the public half of a key whose kind is refused.
        private.expect_usable(wanted)?;
        return Err(PRIVATE.into());
    }
    let [block] = &blocks[..] else {
        return Err(format!(
            "it holds {}: put the one that you mean in a file of its own",
            key_file::labels(&blocks)
        ));
    };
    match &*block.label {
        "PUBLIC KEY" => {
            block.expect_usable(wanted)?;
            from_spki(&block.contents)
        }
        "RSA PUBLIC KEY" => {
            block.expect_usable(wanted)?;
            Err("it is an RSA PUBLIC KEY (PKCS#1): convert it with `openssl rsa -RSAPublicKey_in \
                 -in KEY -pubout -out NEW`"
                .into())
        }
        label if label.ends_with("CERTIFICATE") => {
            block.expect_usable(wanted)?;
            Err(format!(
                "it is a {label}: `openssl x509 -in KEY -pubkey -noout > NEW` takes the public \
                 key out of it"
            ))
        }
        label => Err(format!("it is a {label}; give a PUBLIC KEY")),
    }
}

/// The key in a `SubjectPublicKeyInfo` (RFC 5280, section 4.1.2.7), in DER.
///
/// # Errors
/// One line that says that it is no supported key.
pub fn from_spki(der: &[u8]) -> Result<Key, String> {
    if let Some(bytes) = der.strip_prefix(&ED25519_SPKI) {
        return Ok(Key::Ed25519 {
            keyval: Ed25519Key { public: bytes.to_vec().into(), _extra: HashMap::new() },
            scheme: Ed25519Scheme::Ed25519,
            _extra: HashMap::new(),
        });
    }
    let pem = pem::encode_config(
        &Pem::new("PUBLIC KEY", der),
        EncodeConfig::new().set_line_ending(LineEnding::LF),
    );
    pem.trim().parse().map_err(|_| "it is neither Ed25519, ECDSA P-256 nor RSA".into())
}

/// The key in the form that this code writes: `tough` writes the same text for the same bytes.
fn plain(key: &Key) -> Key {
    let public = public_part(key);
    match key {
        Key::Rsa { .. } => Key::Rsa {
            keyval: RsaKey { public: public.into(), _extra: HashMap::new() },
            scheme: RsaScheme::RsassaPssSha256,
            _extra: HashMap::new(),
        },
        Key::Ed25519 { .. } => Key::Ed25519 {
            keyval: Ed25519Key { public: public.into(), _extra: HashMap::new() },
            scheme: Ed25519Scheme::Ed25519,
            _extra: HashMap::new(),
        },
        Key::Ecdsa { .. } | Key::EcdsaOld { .. } => Key::Ecdsa {
            keyval: EcdsaKey { public: public.into(), _extra: HashMap::new() },
            scheme: EcdsaScheme::EcdsaSha2Nistp256,
            _extra: HashMap::new(),
        },
    }
}

/// Checks that all clients can verify with the key, and that it is strong enough.
pub(super) fn check(key: &Key) -> Result<(), String> {
    match key {
        Key::Ed25519 { keyval, .. } if keyval.public.len() != ED25519_PUBLIC_KEY_LEN => {
            Err("an Ed25519 key has 32 bytes".into())
        }
        Key::Ed25519 { .. } => Ok(()),
        Key::Ecdsa { keyval, .. } | Key::EcdsaOld { keyval, .. } => {
            if (keyval.public.first().copied(), keyval.public.len())
                != (Some(UNCOMPRESSED.0), UNCOMPRESSED.1)
            {
                return Err(
                    "it is not an uncompressed point of P-256: convert it with `openssl ec \
                            -pubin -in KEY -pubout -conv_form uncompressed -out NEW`"
                        .into(),
                );
            }
            pem_text(key).map(drop)
        }
        Key::Rsa { .. } => {
            let text = pem_text(key)?;
            let der = pem::parse(text).map_err(|error| error.to_string())?;
            PublicEncryptingKey::from_der(der.contents())
                .map_err(|_| "it is not an RSA key of 2048 bits or more")?;
            Ok(())
        }
    }
}

/// Checks that a key is strong enough to be added. An imported repository's shorter keys may stay.
pub(super) fn check_new(key: &Key) -> Result<(), String> {
    let Key::Rsa { .. } = key else { return Ok(()) };
    let der = pem::parse(pem_text(key)?).map_err(|error| error.to_string())?;
    match PublicEncryptingKey::from_der(der.contents()).map(|key| key.key_size_bits()) {
        Ok(LEAST_RSA_BITS..) => Ok(()),
        Ok(bits) => Err(format!("it is an RSA key of {bits} bits; {LEAST_RSA_BITS} are the least")),
        Err(_) => Err("it is not an RSA key of 2048 bits or more".into()),
    }
}

/// The public key in PEM (`SubjectPublicKeyInfo`), which [`read_public_key`] reads.
#[must_use]
pub fn to_pem(key: &Key) -> String {
    let text = match plain(key) {
        Key::Ed25519 { keyval, .. } => {
            let pem = Pem::new("PUBLIC KEY", [&ED25519_SPKI, &keyval.public[..]].concat());
            pem::encode_config(&pem, EncodeConfig::new().set_line_ending(LineEnding::LF))
        }
        // The PEM in the key's entry.
        key => pem_text(&key).unwrap_or_default(),
    };
    format!("{}\n", text.trim_end())
}

/// The PEM in the key's entry. Some clients can't read a bare hexadecimal point.
fn pem_text(key: &Key) -> Result<String, String> {
    let entry = serde_json::to_value(key).map_err(|error| error.to_string())?;
    match entry["keyval"]["public"].as_str() {
        Some(text) if text.starts_with("-----BEGIN PUBLIC KEY-----") => Ok(text.to_owned()),
        _ => Err("its public part is not PEM, which not all clients read".into()),
    }
}

/// The digits of an id, or of its beginning, as a person writes them: in groups or without, and in
/// any case.
#[must_use]
pub fn written_id(written: &str) -> String {
    let is_digit = |character: &char| !character.is_whitespace() && *character != '…';
    written.chars().filter(is_digit).flat_map(char::to_lowercase).collect()
}

/// The first 24 digits of a key's id, in groups of four, and `…`: what holders compare by voice.
///
/// It takes some 2^96 keys to find another one that begins so. With half as many digits, somebody
/// who makes the root's file could find one within days.
#[must_use]
pub fn short_id(id: &[u8]) -> String {
    let groups: Vec<String> = id.chunks(2).take(6).map(hex::encode).collect();
    groups.join(" ") + "…"
}
