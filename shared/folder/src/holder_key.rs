//! A person's private key in a file, encrypted with a passphrase.

use std::path::Path;

use async_trait::async_trait;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair,
};
use pkcs8::pkcs5::{pbes2, scrypt};
use pkcs8::{EncryptedPrivateKeyInfoRef, PrivateKeyInfoRef, SecretDocument};
use tough::schema::key::Key as PublicKey;
use tough::sign::{Sign, SignKeyPair};
use tufline_store::{BoxedError, ErrorKind, Result, StoreError};
use tufline_tuf::key_file::{self, Block, Wanted, public_of_ssh};
use tufline_tuf::root::{from_spki, same_key};
use zeroize::Zeroizing;

use crate::data::failed;
use crate::keys::{PEM_TAG, create_secret, read_secret};

/// The PEM label of an encrypted private key in PKCS#8 (RFC 7468, section 11).
const ENCRYPTED: &str = "ENCRYPTED PRIVATE KEY";

/// The PEM label of openssl's own form of an ECDSA private key (RFC 5915, section 4).
const SEC1: &str = "EC PRIVATE KEY";

/// The PEM label of openssl's own form of an RSA private key (RFC 8017, appendix A.1.2).
const PKCS1: &str = "RSA PRIVATE KEY";

/// How to convert a key with an old encryption. Only openssl 3's legacy provider has DES, RC2 and
/// MD5 (<https://docs.openssl.org/3.0/man7/OSSL_PROVIDER-legacy/>).
const CONVERT: &str = "convert it with `openssl pkcs8 -topk8 -in KEY -out NEW`, adding `-provider \
                       default -provider legacy` if openssl cannot read it";

/// The cost of scrypt (log N, r, p): as much as N = 2^17, p = 1, but within OpenSSL's memory limit,
/// so that it can read the file
/// (<https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html#scrypt>).
const SCRYPT: (u8, u32, u32) = (14, 8, 5);

/// A passphrase. Its memory is wiped on drop, and `Debug` never shows it.
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// Takes `text` over as a passphrase, without a copy.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text, for unlocking a key or a token.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether it is empty, and so protects nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl PartialEq for Passphrase {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl std::fmt::Debug for Passphrase {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Passphrase(…)")
    }
}

/// The kinds of keys that Tufline makes. It also reads existing RSA keys of 2048 bits or more,
/// since holders of a root that other tools made may have such keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// Ed25519 (RFC 8032).
    Ed25519,
    /// ECDSA on P-256, with SHA-256.
    P256,
}

/// A person's private key, which signs roots.
#[derive(Debug)]
pub struct HolderKey(SignKeyPair);

impl HolderKey {
    /// Makes a new key in a new file that only its owner can read, encrypted with `passphrase`
    /// (PKCS#8; PBES2 with scrypt and AES-256-CBC).
    ///
    /// # Errors
    /// If the file exists or can't be written, or the system has no randomness.
    pub fn generate(path: &Path, kind: KeyKind, passphrase: &Passphrase) -> Result<Self> {
        let cannot = |error: BoxedError| {
            StoreError::from_source(ErrorKind::Retry, "make a key in", path.display(), error)
        };
        let unspecified = |_| cannot("the system has no randomness".into());
        let (document, pair) = match kind {
            KeyKind::Ed25519 => {
                let pair = Ed25519KeyPair::generate().map_err(unspecified)?;
                (pair.to_pkcs8v1().map_err(unspecified)?, SignKeyPair::ED25519(pair))
            }
            KeyKind::P256 => {
                let pair =
                    EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map_err(unspecified)?;
                (pair.to_pkcs8v1().map_err(unspecified)?, SignKeyPair::ECDSA(pair))
            }
        };
        let encrypted = encrypt(document.as_ref(), passphrase).map_err(cannot)?;
        let written = create_secret(path, ENCRYPTED, encrypted.as_bytes());
        written.map_err(|error| failed("make a key in", path, error))?;
        Ok(Self(pair))
    }

    /// Reads a key in PEM: PKCS#8, encrypted or not; or SEC1 or PKCS#1 as openssl writes them, not
    /// encrypted. It calls `ask` only for an encrypted key. The file may also contain the public
    /// key, but nothing else, since it must be clear which key is meant.
    ///
    /// # Errors
    /// If the file can't be read or contains no such key, if the passphrase is wrong, or if `ask`
    /// fails.
    pub fn open(path: &Path, ask: impl FnOnce() -> Result<Passphrase>) -> Result<Self> {
        let not_key = |why: &str| {
            let why = format!("it holds no private key: {why}");
            StoreError::new(ErrorKind::Invalid, "read", path.display(), why)
        };
        let blocks = read_secret(path, not_key)?;
        let (key, public) = only_key(&blocks).map_err(|why| not_key(&why))?;
        let refused =
            |why: String| StoreError::new(ErrorKind::Invalid, "read", path.display(), why);
        if !key.is_encrypted && key.label != ENCRYPTED {
            key.expect_usable(Wanted::Private).map_err(refused)?;
        }
        let pair = match &*key.label {
            _ if key.is_encrypted => {
                return Err(not_key(&format!(
                    "its encryption is openssl's old one (Proc-Type); {CONVERT}"
                )));
            }
            ENCRYPTED => {
                let encrypted =
                    EncryptedPrivateKeyInfoRef::try_from(&key.contents[..]).map_err(|error| {
                        not_key(&format!("its encryption is not known here ({error}); {CONVERT}"))
                    })?;
                // A wrong passphrase mostly shows in the padding, otherwise in the decrypted text.
                let wrong = || {
                    StoreError::new(ErrorKind::Denied, "read", path.display(), "wrong passphrase")
                };
                let document =
                    encrypted.decrypt(ask()?.0.as_bytes()).map_err(|error| match error {
                        pkcs8::Error::EncryptedPrivateKey(
                            pkcs8::pkcs5::Error::UnsupportedAlgorithm { .. }
                            | pkcs8::pkcs5::Error::NoPbes1CryptSupport,
                        ) => not_key(&format!("its encryption is too old, or rare; {CONVERT}")),
                        _ => wrong(),
                    })?;
                Wanted::Private.expect_usable(document.as_bytes()).map_err(refused)?;
                from_pkcs8(document.as_bytes())
            }
            SEC1 => {
                EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_ASN1_SIGNING, &key.contents)
                    .map(SignKeyPair::ECDSA)
                    .map_err(|_| "it is on another curve than P-256")
            }
            PKCS1 => RsaKeyPair::from_der(&key.contents)
                .map(SignKeyPair::RSA)
                .map_err(|_| "it is not an RSA key of 2048 bits or more"),
            _ => from_pkcs8(&key.contents),
        };
        let key = Self(pair.map_err(not_key)?);
        let is_other = |public: &Block| {
            !from_spki(&public.contents).is_ok_and(|public| same_key(&public, &key.public_key()))
        };
        if public.is_some_and(is_other) {
            return Err(not_key(
                "the PUBLIC KEY beside it belongs to another key: put the key that you mean in a \
                 file of its own",
            ));
        }
        Ok(key)
    }

    /// The public key as TUF metadata lists it.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        self.0.tuf_key()
    }
}

fn encrypt(
    document: &[u8],
    passphrase: &Passphrase,
) -> std::result::Result<SecretDocument, BoxedError> {
    let (mut salt, mut iv) = ([0; 16], [0; 16]);
    for bytes in [&mut salt, &mut iv] {
        SystemRandom::new().fill(bytes).map_err(|_| "the system has no randomness")?;
    }
    let (log_n, r, p) = SCRYPT;
    let scrypt = scrypt::Params::new(log_n, r, p)?;
    let parameters = pbes2::Parameters::generate_scrypt_aes256cbc(scrypt, &salt, iv)?;
    let key = PrivateKeyInfoRef::try_from(document)?;
    Ok(key.encrypt_with_params(parameters, passphrase.0.as_bytes())?)
}

/// The only private key among the blocks of a file, and the public key beside it if there is one.
fn only_key(blocks: &[Block]) -> std::result::Result<(&Block, Option<&Block>), String> {
    let is = |label: &'static str| move |block: &&Block| block.label == label;
    let (mut keys, mut others): (Vec<&Block>, Vec<&Block>) =
        blocks.iter().partition(|block| [PEM_TAG, ENCRYPTED, SEC1, PKCS1].contains(&&*block.label));
    if keys.iter().any(is(SEC1)) {
        // `openssl ecparam -genkey` writes the curve before the key, which names it as well.
        others.retain(|block| block.label != "EC PARAMETERS");
    }
    match (keys.pop(), keys.is_empty(), &others[..]) {
        (Some(key), true, []) => Ok((key, None)),
        (Some(key), true, [public]) if public.label == "PUBLIC KEY" => Ok((key, Some(public))),
        (None, _, [ssh]) if ssh.label == "OPENSSH PRIVATE KEY" => Err(convert_ssh(ssh)),
        (None, _, [public])
            if public.label.ends_with("PUBLIC KEY") || public.label.ends_with("CERTIFICATE") =>
        {
            public.expect_usable(Wanted::Private)?;
            Err(format!("it holds a {}; give the private key", public.label))
        }
        (None, _, [other]) => Err(format!(
            "it holds a {}, which is none of Ed25519, ECDSA P-256 and RSA in PEM",
            other.label
        )),
        _ => Err(format!(
            "it holds {}: put the key that you mean in a file of its own",
            key_file::labels(blocks)
        )),
    }
}

/// What the owner can do with an ssh key.
fn convert_ssh(key: &Block) -> String {
    let public = public_of_ssh(&key.contents).unwrap_or_default();
    let how = match Wanted::Private.expect_usable_ssh(public) {
        Ok(ssh) if ssh.is_ed25519 => {
            "most versions of ssh-keygen cannot convert an Ed25519 key: make a new key with \
             `tufline root keygen`"
                .into()
        }
        Ok(_) => "convert a copy of it with `ssh-keygen -p -m PKCS8 -f COPY`".into(),
        Err(why) => why,
    };
    format!("it holds an ssh key (OPENSSH PRIVATE KEY); {how}")
}

fn from_pkcs8(document: &[u8]) -> std::result::Result<SignKeyPair, &'static str> {
    if let Ok(pair) = Ed25519KeyPair::from_pkcs8(document) {
        return Ok(SignKeyPair::ED25519(pair));
    }
    if let Ok(pair) = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, document) {
        return Ok(SignKeyPair::ECDSA(pair));
    }
    let pair = RsaKeyPair::from_pkcs8(document).map(SignKeyPair::RSA);
    pair.map_err(|_| "it is none of Ed25519, ECDSA P-256 and RSA of 2048 bits or more")
}

/// RSA keys sign with PSS, SHA-256 and a salt of 32 bytes: not all clients verify another salt
/// length.
#[async_trait]
impl Sign for HolderKey {
    fn tuf_key(&self) -> PublicKey {
        self.public_key()
    }

    async fn sign(
        &self,
        message: &[u8],
        random: &(dyn SecureRandom + Sync),
    ) -> std::result::Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync + 'static>> {
        Sign::sign(&self.0, message, random).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use tufline_tuf::root;

    fn passphrase(text: &str) -> Passphrase {
        Passphrase::new(text.into())
    }

    #[test]
    fn a_key_is_read_with_its_passphrase_only() {
        let folder = tempfile::tempdir().unwrap();
        for kind in [KeyKind::Ed25519, KeyKind::P256] {
            let path = folder.path().join(format!("{kind:?}.pem"));
            let made = HolderKey::generate(&path, kind, &passphrase("a b")).unwrap();
            let read = HolderKey::open(&path, || Ok(passphrase("a b"))).unwrap();
            assert_eq!(read.public_key(), made.public_key());
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(text.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"), "{text}");
            for wrong in ["", "a b ", "A b"] {
                let error =
                    HolderKey::open(&path, || Ok(passphrase(wrong))).unwrap_err().to_string();
                assert_eq!(error, format!("read {}: wrong passphrase", path.display()));
            }
            let error = HolderKey::generate(&path, kind, &passphrase("x")).unwrap_err().to_string();
            assert!(error.contains("exists"), "{error}");
            assert_eq!(
                std::fs::read_to_string(&path).unwrap(),
                text,
                "a key is never written over"
            );
            let public =
                root::read_public_key(root::to_pem(&made.public_key()).as_bytes(), "a").unwrap();
            assert_eq!(public, made.public_key());
        }
        assert_eq!(format!("{:?}", passphrase("hidden")), "Passphrase(…)");
    }

    #[test]
    fn a_file_without_a_key_is_refused_in_one_line_without_asking_for_a_passphrase() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.pem");
        let block = |tag: &str| format!("-----BEGIN {tag}-----\nAAAA\n-----END {tag}-----\n");
        for text in [
            "x".into(),
            block("PUBLIC KEY"),
            block("RSA PRIVATE KEY"),
            block(PEM_TAG),
            block(ENCRYPTED),
        ] {
            std::fs::write(&path, &text).unwrap();
            let error = HolderKey::open(&path, || panic!("asked")).unwrap_err().to_string();
            assert!(
                error.contains("it holds no private key: ") && !error.contains('\n'),
                "{error}"
            );
        }
    }
}
