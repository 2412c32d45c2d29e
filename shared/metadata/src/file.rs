//! A metadata file: a document and its signatures (TUF specification 4.2).

use alloc::borrow::ToOwned;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::canonical::{self, Unalike};
use crate::error::{Error, Result};
use crate::fields::Field;
use crate::json::Json;
use crate::key::PublicKey;
use crate::time::Time;

/// A type of document that a metadata file can hold.
pub trait MetadataType: Sized {
    /// The value of its field `_type`.
    const TYPE: &'static str;

    /// Reads the fields that only this type has.
    #[doc(hidden)]
    fn read(signed: &SignedFields<'_>) -> Result<Self>;
}

/// The signed part of a file.
#[doc(hidden)]
pub struct SignedFields<'a>(pub(crate) Field<'a>);

/// The fields that every document has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Common {
    /// The version of the TUF specification: 1.x.
    pub spec_version: String,
    /// The document's version, from 1 on.
    pub version: u64,
    /// The time at which the document expires. A fraction of a second is kept.
    pub expires: Time,
}

/// A file that was read, whose signatures may not have been verified yet.
#[derive(Debug, Clone)]
pub struct File<T> {
    document: T,
    common: Common,
    signatures: BTreeMap<String, Vec<u8>>,
    message: Vec<u8>,
    unalike: Option<Other>,
}

/// Why clients don't all write the same canonical form, and the form of clients in Rust. That form
/// is `None` if it changes a string of the file: a signature over it would not vouch for the string
/// that is read.
#[derive(Debug, Clone)]
struct Other {
    unalike: Unalike,
    message: Option<Vec<u8>>,
}

impl<T: MetadataType> File<T> {
    /// Reads a file. It ignores unknown fields, wherever they are (TUF specification 4.1).
    /// Signatures cover them like all others.
    ///
    /// # Errors
    /// [`Error::Json`], [`Error::Field`] or [`Error::Form`].
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let file: Json<'_> =
            serde_json::from_slice(bytes).map_err(|error| not_json(bytes, &error))?;
        let top = Field::new(&file, "");
        let signed = top.get("signed");
        signed.object()?;
        let kind = signed.get("_type");
        if kind.text()? != T::TYPE {
            return Err(kind.refuse(format!(
                "is {:?}, where \"{}\" must be",
                kind.text()?,
                T::TYPE
            )));
        }
        let common = Common {
            spec_version: spec_version(&signed.get("spec_version"))?,
            version: signed.get("version").positive()?,
            expires: signed.get("expires").time()?,
        };
        let signatures = signatures(&top.get("signatures"))?;
        let value = signed.value().unwrap_or(&Json::Null);
        let (message, unalike) = match canonical::form(value) {
            Ok(message) => (message, None),
            Err(unalike) => {
                let message = value.is_normal().then(|| canonical::normal_form(value)).transpose();
                let message = message.map_err(Error::Form)?;
                (
                    canonical::plain_form(value).map_err(Error::Form)?,
                    Some(Other { unalike, message }),
                )
            }
        };
        Ok(Self { document: T::read(&SignedFields(signed))?, common, signatures, message, unalike })
    }

    /// The document, which may not be verified.
    #[must_use]
    pub fn unverified(&self) -> &T {
        &self.document
    }

    /// The document, which may not be verified, without the rest of the file.
    #[must_use]
    pub fn into_unverified(self) -> T {
        self.document
    }

    /// The fields that every document has.
    #[must_use]
    pub fn common(&self) -> &Common {
        &self.common
    }

    /// The signatures by their key ids. A signature that isn't hexadecimal is empty here, since no
    /// key made it.
    #[must_use]
    pub fn signatures(&self) -> &BTreeMap<String, Vec<u8>> {
        &self.signatures
    }

    /// The message that is signed: the canonical form that the specification defines.
    #[must_use]
    pub fn message(&self) -> &[u8] {
        &self.message
    }

    /// The first difference between clients' canonical forms of the document, because of which some
    /// clients don't accept its signatures; `None` if there is none.
    #[must_use]
    pub fn unalike(&self) -> Option<&Unalike> {
        self.unalike.as_ref().map(|other| &other.unalike)
    }

    /// The ids of those `keys` whose signatures are valid. A public key with two ids is returned
    /// once, under the first id whose signature is valid.
    #[must_use]
    pub fn signers<'a>(&self, keys: &TrustedKeys<'a>) -> Vec<&'a str> {
        let mut signers: Vec<(&str, &PublicKey)> = Vec::new();
        for (id, key) in keys.keys() {
            let is_good =
                || self.signatures.get(id).is_some_and(|signature| self.is_good(key, signature));
            if !signers.iter().any(|(_, met)| met.is_same(key)) && is_good() {
                signers.push((id, key));
            }
        }
        signers.into_iter().map(|(id, _)| id).collect()
    }

    fn is_good(&self, key: &PublicKey, signature: &[u8]) -> bool {
        let mut messages =
            [Some(&self.message), self.unalike.as_ref().and_then(|other| other.message.as_ref())]
                .into_iter()
                .flatten();
        messages.any(|message| key.verifies(message, signature))
    }

    /// Checks that enough of `keys` signed (TUF specification 5.3.4, and 5.4.2, 5.5.3 and 5.6.3 for
    /// the other roles).
    ///
    /// # Errors
    /// [`Error::Signatures`] if too few did.
    pub fn verify(&self, keys: &TrustedKeys<'_>) -> Result<()> {
        let good = self.signers(keys).len();
        if good as u64 >= keys.threshold {
            return Ok(());
        }
        Err(Error::Signatures {
            role: keys.role.clone(),
            judge: keys.judge.clone(),
            good,
            needed: keys.threshold,
        })
    }

    /// Checks that the document's version is `expected`.
    ///
    /// # Errors
    /// [`Error::Version`] if it is not.
    pub fn expect_version(&self, expected: u64) -> Result<()> {
        match self.common.version {
            found if found == expected => Ok(()),
            found => Err(Error::Version { found, expected }),
        }
    }

    /// Checks that the document has not expired at `now`.
    ///
    /// # Errors
    /// [`Error::Expired`] if it has.
    pub fn expect_fresh(&self, now: Time) -> Result<()> {
        if self.common.expires > now { Ok(()) } else { Err(Error::Expired(self.common.expires)) }
    }
}

/// Any version 1.x of the specification (4.3: clients read documents with their own major version).
fn spec_version(field: &Field<'_>) -> Result<String> {
    let text = field.text()?;
    if text.split('.').next() == Some("1") {
        return Ok(text.to_owned());
    }
    Err(field.refuse(format!("is {text:?}, which is not 1.x: clients of version 1 don't read it")))
}

/// The signatures by key id. A repeated key id is an error, since no client reads such a file.
fn signatures(field: &Field<'_>) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut signatures = BTreeMap::new();
    for signature in field.items()? {
        let id = signature.get("keyid");
        // An empty signature is a placeholder for a key that has not signed yet (python-tuf's
        // signing tools write it).
        let bytes =
            signature.get("sig").text().map(|text| hex::decode(text).unwrap_or_default())?;
        if signatures.insert(id.text()?.to_owned(), bytes).is_some() {
            return Err(id.refuse(format!("repeats {:?}: a key signs once", id.text()?)));
        }
    }
    Ok(signatures)
}

/// The keys that may sign for a role, and how many of them must.
#[derive(Debug, Clone)]
pub struct TrustedKeys<'a> {
    pub(crate) role: String,
    /// The document that lists the keys, for messages.
    pub(crate) judge: String,
    pub(crate) keys: Vec<(&'a str, &'a PublicKey)>,
    /// The ids without a key.
    pub(crate) unknown: Vec<&'a str>,
    pub(crate) threshold: u64,
}

impl<'a> TrustedKeys<'a> {
    /// Collects the keys behind the listed ids. An id without a key doesn't count. Ids are taken
    /// from the document and not computed: tools have computed them differently over the years, and
    /// here an id only serves to find a key.
    pub(crate) fn new(
        role: &str,
        judge: String,
        listed: &'a ListedKeys,
        known: &'a BTreeMap<String, PublicKey>,
    ) -> Self {
        let (mut met, mut keys, mut unknown) = (BTreeSet::new(), Vec::new(), Vec::new());
        for id in listed.keyids.iter().filter(|id| met.insert(id.as_str())) {
            match known.get(id) {
                Some(key) => keys.push((id.as_str(), key)),
                None => unknown.push(id.as_str()),
            }
        }
        Self { role: role.to_owned(), judge, keys, unknown, threshold: listed.threshold }
    }

    /// The keys with their ids.
    pub fn keys(&self) -> impl Iterator<Item = (&'a str, &'a PublicKey)> {
        self.keys.iter().copied()
    }

    /// The listed ids for which the document has no key.
    pub fn unknown(&self) -> impl Iterator<Item = &'a str> {
        self.unknown.iter().copied()
    }

    /// How many keys must sign.
    #[must_use]
    pub fn threshold(&self) -> u64 {
        self.threshold
    }
}

/// The ids of a role's keys, and how many of them must sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListedKeys {
    pub keyids: Vec<String>,
    pub threshold: u64,
}

impl ListedKeys {
    pub fn read(field: &Field<'_>) -> Result<Self> {
        Ok(Self {
            keyids: field.get("keyids").texts()?,
            threshold: field.get("threshold").positive()?,
        })
    }
}

pub(crate) fn keys(field: &Field<'_>) -> Result<BTreeMap<String, PublicKey>> {
    field.members()?.map(|(id, key)| Ok((id.to_owned(), PublicKey::read(&key)?))).collect()
}

/// Why these bytes are not a metadata file. A proxy or sign-in page that answers in place of the
/// server mostly sends a web page.
fn not_json(bytes: &[u8], error: &serde_json::Error) -> Error {
    Error::Json(match bytes.trim_ascii_start() {
        [b'<', ..] => {
            "it is a web page; look whether the URL is right, and whether something on the way \
                       asks for a sign-in"
                .into()
        }
        [b'\xef', b'\xbb', b'\xbf', ..] => {
            "it begins with a byte order mark, which no client reads; remove it".into()
        }
        _ => error.to_string(),
    })
}
