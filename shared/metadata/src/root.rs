//! The root (TUF specification 4.3), and what it says whose keys are.

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

/// What a root says.
#[derive(Debug, Clone, PartialEq)]
pub struct Root {
    version: u64,
    /// Whether files have their versions or digests in their names (TUF specification 6).
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
    /// [`Error::NoRole`].
    pub fn role(&self, role: &str) -> Result<TrustedKeys<'_>> {
        let judge = format!("version {} of the root", self.version);
        match self.roles.get(role) {
            Some(listed) => Ok(TrustedKeys::new(role, judge, listed, &self.keys)),
            None => Err(Error::NoRole { role: role.to_owned(), judge }),
        }
    }

    /// The names of its roles.
    pub fn roles(&self) -> impl Iterator<Item = &str> {
        self.roles.keys().map(String::as_str)
    }

    /// All keys that stand in it, by their ids.
    #[must_use]
    pub fn keys(&self) -> &BTreeMap<String, PublicKey> {
        &self.keys
    }
}

/// A root that is trusted: the one that a client was shipped with, or one that follows.
///
/// *Invariant*: enough of its own keys signed it, and of those of the one that it follows.
#[derive(Debug, Clone)]
pub struct TrustedRoot(File<Root>);

impl TrustedRoot {
    /// Begins with a root of any version, whose bytes are what is trusted: nothing before it is needed (TUF specification 5.3.2).
    ///
    /// # Errors
    /// [`Error`]: also where it isn't signed by itself.
    pub fn begin(bytes: &[u8]) -> Result<Self> {
        let file = File::<Root>::read(bytes)?;
        file.verify(&file.unverified().role(Root::TYPE)?)?;
        Ok(Self(file))
    }

    /// The next root (TUF specification 5.3.4 and 5.3.5). What the roots in between expire doesn't matter (5.3.10).
    ///
    /// # Errors
    /// [`Error`]: where it isn't the next version, or not signed by this one and by itself.
    pub fn follow(&self, bytes: &[u8]) -> Result<Self> {
        let file = File::<Root>::read(bytes)?;
        file.verify(&self.root().role(Root::TYPE)?)?;
        file.verify(&file.unverified().role(Root::TYPE)?)?;
        let last = || Error::Content("no version follows the last number there is".to_owned());
        file.expect_version(self.version().checked_add(1).ok_or_else(last)?)?;
        Ok(Self(file))
    }

    /// What it says.
    #[must_use]
    pub fn root(&self) -> &Root {
        self.0.unverified()
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> &File<Root> {
        &self.0
    }

    /// Its version.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.0.common().version
    }

    /// Checks that it hasn't expired at `now`, which the newest must not have (TUF specification 5.3.10).
    ///
    /// # Errors
    /// [`Error::Expired`].
    pub fn expect_fresh(&self, now: Time) -> Result<()> {
        self.0.expect_fresh(now)
    }

    /// Reads a document of a top-level role, signed as this root says.
    ///
    /// # Errors
    /// [`Error`].
    pub fn verify<T: MetadataType>(&self, bytes: &[u8]) -> Result<File<T>> {
        let file = File::<T>::read(bytes)?;
        file.verify(&self.root().role(T::TYPE)?)?;
        Ok(file)
    }

    /// The timestamp (TUF specification 5.4).
    ///
    /// # Errors
    /// [`Error`].
    pub fn timestamp(&self, bytes: &[u8], now: Time) -> Result<Timestamp> {
        let file = self.verify::<Timestamp>(bytes)?;
        file.expect_fresh(now)?;
        Ok(file.into_unverified())
    }

    /// The snapshot that `timestamp` lists (TUF specification 5.5).
    ///
    /// # Errors
    /// [`Error`].
    pub fn snapshot(&self, bytes: &[u8], timestamp: &Timestamp, now: Time) -> Result<Snapshot> {
        let listed = timestamp.snapshot();
        listed.check(bytes)?;
        let file = self.verify::<Snapshot>(bytes)?;
        file.expect_version(listed.version)?;
        file.expect_fresh(now)?;
        Ok(file.into_unverified())
    }

    /// The top-level targets that `snapshot` lists (TUF specification 5.6).
    ///
    /// # Errors
    /// [`Error`].
    pub fn targets(&self, bytes: &[u8], snapshot: &Snapshot, now: Time) -> Result<Targets> {
        Targets::listed(bytes, Targets::TYPE, &self.root().role(Targets::TYPE)?, snapshot, now)
    }
}
