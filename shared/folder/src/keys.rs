//! Private keys in files.

use std::collections::HashMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use async_trait::async_trait;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use pkcs8::{LineEnding, SecretDocument};
use tough::schema::key::{EcdsaKey, EcdsaScheme, Key as PublicKey};
use tufline_store::{ErrorKind, Result, StoreError};
use tufline_tuf::key_file::{self, Block, Wanted, labels};
use zeroize::Zeroizing;

use crate::data::failed;
use crate::given;

/// The PEM label of a private key in PKCS#8 (RFC 7468, section 10).
pub(crate) const PEM_TAG: &str = "PRIVATE KEY";

/// A P-256 key in a file: PKCS#8 in PEM, which only its owner can read.
#[derive(Debug)]
pub struct KeyFile {
    pair: EcdsaKeyPair,
}

impl KeyFile {
    /// Reads the key at `path`.
    ///
    /// # Errors
    /// If the file is missing, can't be read, or contains no P-256 key.
    pub fn open(path: &Path) -> Result<Self> {
        let not_key = |why: &str| {
            let why = format!("it holds no P-256 private key in PEM (PKCS#8): {why}");
            StoreError::new(ErrorKind::Corrupt, "read", path.display(), why)
        };
        let blocks = read_secret(path, not_key)?;
        if let Ok(metadata) = std::fs::metadata(path)
            && metadata.permissions().mode() & 0o077 != 0
        {
            tracing::warn!(key = %path.display(), "other users may read this private key; run \
                                                   `chmod 600` on it");
        }
        let key = match &blocks[..] {
            [key] if key.label == PEM_TAG => key,
            blocks => return Err(not_key(&format!("it holds {}", labels(blocks)))),
        };
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &key.contents)
            .map_err(|error| not_key(&error.to_string()))?;
        Ok(Self { pair })
    }

    /// Reads the key at `path`. If there is none, it makes a new one there, durably.
    ///
    /// # Errors
    /// As [`KeyFile::open`]; also if a new key cannot be written.
    pub fn generate(path: &Path) -> Result<Self> {
        if !path.exists() {
            make(path).map_err(|error| failed("create", path, error))?;
        }
        Self::open(path)
    }

    /// The public key as TUF metadata lists it: keytype `ecdsa`, scheme `ecdsa-sha2-nistp256`, a
    /// PEM `SubjectPublicKeyInfo` (TUF specification 4.2).
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        PublicKey::Ecdsa {
            keyval: EcdsaKey {
                public: self.pair.public_key().as_ref().to_vec().into(),
                _extra: HashMap::new(),
            },
            scheme: EcdsaScheme::EcdsaSha2Nistp256,
            _extra: HashMap::new(),
        }
    }

    /// Signs `message`: ECDSA over its SHA-256, in DER.
    ///
    /// # Errors
    /// If the operating system has no randomness.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        self.sign_with(message, &SystemRandom::new())
    }

    fn sign_with(&self, message: &[u8], random: &dyn SecureRandom) -> Result<Vec<u8>> {
        let signature = self.pair.sign(random, message);
        signature.map(|signature| signature.as_ref().to_vec()).map_err(|error| {
            StoreError::from_source(ErrorKind::Retry, "sign with", "a key file", error)
        })
    }
}

#[async_trait]
impl tough::sign::Sign for KeyFile {
    fn tuf_key(&self) -> PublicKey {
        self.public_key()
    }

    async fn sign(
        &self,
        message: &[u8],
        random: &(dyn SecureRandom + Sync),
    ) -> std::result::Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync + 'static>> {
        Ok(self.sign_with(message, random)?)
    }
}

/// Writes a new key to `path`. If another process makes one at the same time, one of the two stays.
fn make(path: &Path) -> io::Result<()> {
    let folder = path.parent().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let failed = |_| io::Error::other("the system has no randomness");
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map_err(failed)?;
    let key = key.to_pkcs8v1().map_err(failed)?;

    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    // A crash may have left a half-written file of the same name.
    let _ = std::fs::remove_file(&temporary);
    let written = create_secret(&temporary, PEM_TAG, key.as_ref()).and_then(|()| {
        match std::fs::hard_link(&temporary, path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            result => result,
        }
    });
    let _ = std::fs::remove_file(&temporary);
    written?;
    File::open(folder)?.sync_all()?;
    if let Some(above) = folder.parent() {
        File::open(above)?.sync_all()?;
    }
    Ok(())
}

/// Reads the PEM blocks of a file with private keys. No copy of them stays in memory.
pub(crate) fn read_secret(path: &Path, not_key: impl Fn(&str) -> StoreError) -> Result<Vec<Block>> {
    let file = Zeroizing::new(given::read(path).map_err(|error| failed("read", path, error))?);
    let text = key_file::text(&file, Wanted::Private);
    text.and_then(|text| key_file::blocks(text, Wanted::Private)).map_err(|why| not_key(&why))
}

/// Writes a private key in PEM to a new file, durably and readable only for its owner. No copy of
/// it stays in memory.
pub(crate) fn create_secret(path: &Path, tag: &'static str, key: &[u8]) -> io::Result<()> {
    let text = SecretDocument::try_from(key)
        .and_then(|key| key.to_pem(tag, LineEnding::LF))
        .map_err(io::Error::other)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys/root.pem");
        let made = KeyFile::generate(&path).unwrap().public_key();
        assert_eq!(KeyFile::generate(&path).unwrap().public_key(), made);
        assert_eq!(KeyFile::open(&path).unwrap().public_key(), made);
        let permissions =
            |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((permissions(&path), permissions(&folder.path().join("keys"))), (0o600, 0o700));
        assert_eq!(
            std::fs::read_dir(folder.path().join("keys")).unwrap().count(),
            1,
            "nothing is left over"
        );
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("-----BEGIN PRIVATE KEY-----\n") && !text.contains('\r'));
    }

    #[test]
    fn a_file_without_a_key_is_refused_in_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("root.pem");
        assert!(KeyFile::open(&path).is_err());
        let public = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";
        let empty = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        for text in ["", "x", public, empty] {
            std::fs::write(&path, text).unwrap();
            let error = KeyFile::generate(&path).unwrap_err().to_string();
            assert!(error.contains("no P-256 private key") && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn the_public_key_is_as_every_client_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let key = KeyFile::generate(&folder.path().join("root.pem")).unwrap().public_key();
        let json = serde_json::to_value(key).unwrap();
        assert_eq!(json["keytype"], "ecdsa");
        assert_eq!(json["scheme"], "ecdsa-sha2-nistp256");
        let public = json["keyval"]["public"].as_str().unwrap();
        assert!(
            public.starts_with("-----BEGIN PUBLIC KEY-----\n") && !public.contains('\r'),
            "{public}"
        );
        let spki = pem::parse(public).unwrap();
        // The DER of a P-256 SubjectPublicKeyInfo with an uncompressed point (RFC 5480, section 2).
        let head = hex::decode("3059301306072a8648ce3d020106082a8648ce3d030107034200").unwrap();
        assert_eq!(&spki.contents()[..26], head);
        assert_eq!((spki.contents()[26], spki.contents().len()), (4, 91));
    }
}
