//! Public keys as arguments: files, keys in KMS, and keys in tokens.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context, bail};
use clap::Args;
use tufline_aws::{Access, Clients, KmsKey};
use tufline_folder::given;
use tufline_token::Token;
use tufline_tuf::root::{RootKey, expect_new_key, read_known_key, read_public_key};

use crate::text;

/// Public keys, each with its holder's name if one is given.
#[derive(Debug, Args)]
#[group(id = "keys", required = true, multiple = true)]
pub struct KeyArguments {
    /// A public key, with its holder's name if you like: PEM, as `tufline root keygen` and openssl
    /// write it, or a key from a TUF root in JSON
    #[arg(long = "key", value_name = "[NAME=]FILE", group = "keys")]
    files: Vec<OsString>,
    /// A key in KMS (`ECC_NIST_P256`, `RSA_3072`, `RSA_4096`): an ARN, or an id in `AWS_REGION`
    #[arg(long = "kms-key", value_name = "[NAME=]ARN", group = "keys")]
    kms: Vec<String>,
    /// A key in a PKCS#11 token: `pkcs11:token=LABEL;object=LABEL?module-path=FILE` (RFC 7512)
    #[arg(long = "pkcs11-key", value_name = "[NAME=]URI", group = "keys")]
    pkcs11: Vec<String>,
}

impl KeyArguments {
    /// Reads all keys, from files, from KMS and from tokens. They must be strong enough to be added
    /// to a root.
    pub async fn read(&self) -> anyhow::Result<Vec<RootKey>> {
        self.read_as(true).await
    }

    /// Reads all keys. A root may list them already, so they may be weaker than a new one.
    pub async fn read_known(&self) -> anyhow::Result<Vec<RootKey>> {
        self.read_as(false).await
    }

    async fn read_as(&self, is_new: bool) -> anyhow::Result<Vec<RootKey>> {
        let read_file = if is_new { read_public_key } else { read_known_key };
        let expect_strong =
            |key: &_, what: &_| if is_new { expect_new_key(key, what) } else { Ok(()) };
        let mut keys = Vec::new();
        for given in &self.files {
            let (holder, file) = named_file(given);
            let shown = text::path(file);
            let bytes = given::read(file).with_context(|| format!("cannot read {shown}"))?;
            keys.push(RootKey { holder, key: read_file(&bytes, &shown)? });
        }
        for given in &self.kms {
            let (holder, id) = named(given);
            let key = tough::sign::Sign::tuf_key(&open_kms(id).await?);
            expect_strong(&key, id)?;
            keys.push(RootKey { holder, key });
        }
        for given in &self.pkcs11 {
            let (holder, uri) = match given.split_once("=pkcs11:") {
                Some((name, _)) => (Some(name.to_owned()), &given[name.len() + 1..]),
                None => (None, &given[..]),
            };
            let key = Token::open(&uri.parse()?)?.public_key()?;
            expect_strong(&key, uri)?;
            keys.push(RootKey { holder, key });
        }
        Ok(keys)
    }
}

/// Reads the only key given; fails if several are.
pub async fn read_single(keys: &KeyArguments) -> anyhow::Result<RootKey> {
    let mut keys = keys.read().await?;
    match (keys.pop(), keys.is_empty()) {
        (Some(key), true) => Ok(key),
        _ => bail!("give one key at a time"),
    }
}

/// Splits `NAME=FILE`; without a name, the whole is the file. It has no name if a `/` comes before
/// the first `=`, or if a file of the whole name exists.
fn named_file(given: &OsStr) -> (Option<String>, &Path) {
    let bytes = given.as_bytes();
    let parts = bytes
        .iter()
        .position(|byte| *byte == b'=')
        .map(|place| (&bytes[..place], &bytes[place + 1..]));
    match parts.and_then(|(name, rest)| Some((std::str::from_utf8(name).ok()?, rest))) {
        Some((name, rest)) if !name.contains('/') && !Path::new(given).exists() => {
            (Some(name.into()), Path::new(OsStr::from_bytes(rest)))
        }
        _ => (None, Path::new(given)),
    }
}

/// Splits `NAME=ID`; without a name, the whole is the id.
fn named(given: &str) -> (Option<String>, &str) {
    match given.split_once('=') {
        Some((name, rest)) if !name.contains('/') => (Some(name.into()), rest),
        _ => (None, given),
    }
}

/// Opens a key in KMS, in the region that its ARN names.
pub async fn open_kms(id: &str) -> anyhow::Result<KmsKey> {
    let region = id.strip_prefix("arn:").and_then(|arn| arn.split(':').nth(2)).map(str::to_owned);
    let clients = Clients::new(Access { region, ..Access::default() }).await?;
    Ok(KmsKey::open(&clients, id).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_before_the_first_equals_sign() {
        assert_eq!(named("alice=a.pub"), (Some("alice".into()), "a.pub"));
        assert_eq!(named("Alice B.=x=y.pub"), (Some("Alice B.".into()), "x=y.pub"));
        assert_eq!(named("a.pub"), (None, "a.pub"));
        assert_eq!(named("/x=y/a.pub"), (None, "/x=y/a.pub"));
    }

    #[test]
    fn a_holder_stands_before_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let there = folder.path().join("a=b");
        std::fs::write(&there, "").unwrap();
        let there = there.to_str().unwrap();
        for (given, name, file) in [
            (&b"alice=a b.pub"[..], Some("alice"), &b"a b.pub"[..]),
            (b"a.pub", None, b"a.pub"),
            (b"./a=b.pub", None, b"./a=b.pub"),
            (b"alice=/k/a=b.pub", Some("alice"), b"/k/a=b.pub"),
            (b"alice=\xff.pub", Some("alice"), b"\xff.pub"),
            (b"\xff=a.pub", None, b"\xff=a.pub"),
            (there.as_bytes(), None, there.as_bytes()),
        ] {
            let (found, path) = named_file(OsStr::from_bytes(given));
            assert_eq!((found.as_deref(), path.as_os_str().as_bytes()), (name, file));
        }
        assert_eq!(
            named("alice=arn:aws:kms:eu-central-1:1:key/a"),
            (Some("alice".into()), "arn:aws:kms:eu-central-1:1:key/a")
        );
    }
}
