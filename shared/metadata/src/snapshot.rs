//! The timestamp and the snapshot, which list the current versions (TUF specification 4.4 and 4.6).

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::error::{Error, Result};
use crate::fields::Field;
use crate::file::{MetadataType, SignedFields};
use crate::hashes::Hasher;

/// The entry that lists a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    /// The version that the file must have.
    pub version: u64,
    /// The listed length in bytes, if any.
    pub length: Option<u64>,
    /// The listed digests by the names of their hash functions. There may be none.
    pub hashes: BTreeMap<String, Vec<u8>>,
}

impl Meta {
    fn read(field: &Field<'_>) -> Result<Self> {
        let (length, hashes) = (field.get("length"), field.get("hashes"));
        Ok(Self {
            version: field.get("version").positive()?,
            length: (!length.is_missing()).then(|| length.number()).transpose()?,
            hashes: if hashes.is_missing() { BTreeMap::new() } else { hashes.hashes()? },
        })
    }

    /// Checks these bytes against the length and the digests, if those are listed.
    ///
    /// # Errors
    /// [`Error::Content`] if one of them differs.
    pub fn check(&self, bytes: &[u8]) -> Result<()> {
        if let Some(length) = self.length.filter(|length| *length != bytes.len() as u64) {
            return Err(Error::Content(format!(
                "it has {} bytes, where {length} are listed",
                bytes.len()
            )));
        }
        let mut hasher = Hasher::optional(&self.hashes);
        hasher.update(bytes);
        hasher.check()
    }
}

/// A timestamp document: it lists the current snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timestamp {
    /// The version that the timestamp itself has.
    pub version: u64,
    snapshot: Meta,
}

impl MetadataType for Timestamp {
    const TYPE: &'static str = "timestamp";

    fn read(SignedFields(signed): &SignedFields<'_>) -> Result<Self> {
        let snapshot = Meta::read(&signed.get("meta").get("snapshot.json"))?;
        Ok(Self { version: signed.get("version").positive()?, snapshot })
    }
}

impl Timestamp {
    /// The entry for the snapshot.
    #[must_use]
    pub fn snapshot(&self) -> &Meta {
        &self.snapshot
    }
}

/// A snapshot document: it lists the current versions of the targets roles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The version that the snapshot itself has.
    pub version: u64,
    roles: BTreeMap<String, Meta>,
}

impl MetadataType for Snapshot {
    const TYPE: &'static str = "snapshot";

    fn read(SignedFields(signed): &SignedFields<'_>) -> Result<Self> {
        // Old repositories list their root as well.
        let role = |(file, meta): (&str, Field<'_>)| {
            let role = file.strip_suffix(".json").filter(|role| *role != "root")?;
            Some(Meta::read(&meta).map(|meta| (role.to_owned(), meta)))
        };
        let roles = signed.get("meta").members()?.filter_map(role).collect::<Result<_>>()?;
        Ok(Self { version: signed.get("version").positive()?, roles })
    }
}

impl Snapshot {
    /// The entry for a role.
    #[must_use]
    pub fn role(&self, role: &str) -> Option<&Meta> {
        self.roles.get(role)
    }

    /// All roles that it lists, with their entries.
    pub fn roles(&self) -> impl Iterator<Item = (&str, &Meta)> {
        self.roles.iter().map(|(role, meta)| (role.as_str(), meta))
    }
}
