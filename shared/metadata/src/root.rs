//! The root (TUF specification 4.3), which lists the keys of the top-level roles.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;

use crate::error::{Error, Result};
use crate::file::{File, ListedKeys, MetadataType, SignedFields, TrustedKeys, keys};
use crate::key::PublicKey;
use crate::snapshot::{Snapshot, Timestamp};
use crate::targets::Targets;
use crate::time::Time;

/// The content of a root document.
#[derive(Debug, Clone, PartialEq)]
pub struct Root {
    version: u64,
    /// Whether file names contain versions or digests (TUF specification 6).
    pub consistent_snapshot: bool,
    keys: BTreeMap<String, PublicKey>,
    roles: BTreeMap<String, ListedKeys>,
}

impl MetadataType for Root {
    const TYPE: &'static str = "root";

    fn read(SignedFields(signed): &SignedFields<'_>) -> Result<Self> {
        let consistent = signed.get("consistent_snapshot");
        let role = |(name, field): (&str, _)| Ok((name.to_owned(), ListedKeys::read(&field)?));
        Ok(Self {
            version: signed.get("version").positive()?,
            consistent_snapshot: !consistent.is_missing() && consistent.boolean()?,
            keys: keys(&signed.get("keys"))?,
            roles: signed.get("roles").members()?.map(role).collect::<Result<_>>()?,
        })
    }
}

impl Root {
    /// The keys of a top-level role.
    ///
    /// # Errors
    /// [`Error::NoRole`] if the root doesn't list the role.
    pub fn role(&self, role: &str) -> Result<TrustedKeys<'_>> {
        let judge = format!("version {} of the root", self.version);
        match self.roles.get(role) {
            Some(listed) => Ok(TrustedKeys::new(role, judge, listed, &self.keys)),
            None => Err(Error::NoRole { role: role.to_owned(), judge }),
        }
    }

    /// The names of the roles that the root lists.
    pub fn roles(&self) -> impl Iterator<Item = &str> {
        self.roles.keys().map(String::as_str)
    }

    /// All keys that the root has, by their ids.
    #[must_use]
    pub fn keys(&self) -> &BTreeMap<String, PublicKey> {
        &self.keys
    }
}

/// A trusted root: the one that a client was shipped with, or a successor.
///
/// *Invariant*: enough of its own keys signed it, and enough of its predecessor's keys, unless a
/// client begins with it.
///
/// ```
/// use tufline_metadata::TrustedRoot;
///
/// # let shipped =
/// #     include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/example/1.root.json"));
/// let root = TrustedRoot::begin(shipped)?;
/// assert_eq!(root.version(), 1);
///
/// // A changed root needs new signatures by its own keys.
/// let changed = String::from_utf8_lossy(shipped).replace("2999-", "3999-");
/// assert!(TrustedRoot::begin(changed.as_bytes()).is_err());
///
/// // The next root has the next version, so the same one can't follow.
/// assert!(root.follow(shipped).is_err());
/// # Ok::<(), tufline_metadata::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct TrustedRoot(File<Root>);

impl TrustedRoot {
    /// Begins with a root of any version whose bytes the caller trusts. No earlier root is needed
    /// (TUF specification 5.3.2).
    ///
    /// # Errors
    /// [`Error`] if it can't be read or isn't signed by its own keys.
    pub fn begin(bytes: &[u8]) -> Result<Self> {
        let file = File::<Root>::read(bytes)?;
        file.verify(&file.unverified().role(Root::TYPE)?)?;
        Ok(Self(file))
    }

    /// The next root (TUF specification 5.3.4 and 5.3.5). The expiry of intermediate roots doesn't
    /// matter (5.3.10).
    ///
    /// # Errors
    /// [`Error`] if it isn't the next version, or isn't signed by this root's keys and its own.
    pub fn follow(&self, bytes: &[u8]) -> Result<Self> {
        let file = File::<Root>::read(bytes)?;
        file.verify(&self.root().role(Root::TYPE)?)?;
        file.verify(&file.unverified().role(Root::TYPE)?)?;
        let last = || Error::Content("no version can follow the largest number".to_owned());
        file.expect_version(self.version().checked_add(1).ok_or_else(last)?)?;
        Ok(Self(file))
    }

    /// The root as a document, whose signatures were verified.
    #[must_use]
    pub fn root(&self) -> &Root {
        self.0.unverified()
    }

    /// The root as a file, with its signatures.
    #[must_use]
    pub fn file(&self) -> &File<Root> {
        &self.0
    }

    /// The version that the root states.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.0.common().version
    }

    /// Checks that the root has not expired at `now`. Only the newest root must pass (TUF
    /// specification 5.3.10).
    ///
    /// # Errors
    /// [`Error::Expired`] if it has.
    pub fn expect_fresh(&self, now: Time) -> Result<()> {
        self.0.expect_fresh(now)
    }

    /// Reads a document of a top-level role, and verifies it under the keys that this root lists.
    ///
    /// # Errors
    /// [`Error`] if it can't be read or doesn't verify.
    pub fn verify<T: MetadataType>(&self, bytes: &[u8]) -> Result<File<T>> {
        let file = File::<T>::read(bytes)?;
        file.verify(&self.root().role(T::TYPE)?)?;
        Ok(file)
    }

    /// Reads and checks the timestamp (TUF specification 5.4).
    ///
    /// # Errors
    /// [`Error`] if it can't be read, doesn't verify or has expired.
    pub fn timestamp(&self, bytes: &[u8], now: Time) -> Result<Timestamp> {
        let file = self.verify::<Timestamp>(bytes)?;
        file.expect_fresh(now)?;
        Ok(file.into_unverified())
    }

    /// Reads and checks the snapshot that `timestamp` lists (TUF specification 5.5).
    ///
    /// # Errors
    /// [`Error`] if it is not the listed one, can't be read, doesn't verify or has expired.
    pub fn snapshot(&self, bytes: &[u8], timestamp: &Timestamp, now: Time) -> Result<Snapshot> {
        let listed = timestamp.snapshot();
        listed.check(bytes)?;
        let file = self.verify::<Snapshot>(bytes)?;
        file.expect_version(listed.version)?;
        file.expect_fresh(now)?;
        Ok(file.into_unverified())
    }

    /// Reads and checks the top-level targets document that `snapshot` lists (TUF specification
    /// 5.6).
    ///
    /// # Errors
    /// [`Error`] if it is not the listed one, can't be read, doesn't verify or has expired.
    pub fn targets(&self, bytes: &[u8], snapshot: &Snapshot, now: Time) -> Result<Targets> {
        Targets::listed(bytes, Targets::TYPE, &self.root().role(Targets::TYPE)?, snapshot, now)
    }
}
