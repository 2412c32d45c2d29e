//! Which root may follow which (TUF specification 5.3.4 to 5.3.6).

use bytes::Bytes;
use tough::schema::{RoleType, Root};
use tufline_metadata::TrustedRoot;

use super::error::RootError;
use super::file::RootFile;
use super::pinned::PinnedRoot;
use super::published::{own_keys, read, refused, signed};
use super::rules::check_new_keys;
use super::tally::tallies;
use crate::primitives::{Sha256, Time};
use crate::signing::{KeyId, Signed, verify};

/// The published roots, from the one that is trusted to the newest, each verified under itself and under the one before, as clients do it: others may have made them.
#[derive(Debug, Clone)]
pub struct Chain {
    trusted: TrustedRoot,
    newest: Signed<Root>,
}

impl Chain {
    /// Begins with version 1.
    ///
    /// # Errors
    /// [`RootError::Document`].
    pub fn begin(first: &Bytes) -> Result<Self, RootError> {
        let chain = Self::trusting(first)?;
        chain.trusted.file().expect_version(1).map_err(|error| refused(&error))?;
        Ok(chain)
    }

    /// Begins with a root of any version that is trusted already, as a client does (TUF specification 5.3.2).
    ///
    /// # Errors
    /// [`RootError::Document`].
    pub fn trusting(root: &Bytes) -> Result<Self, RootError> {
        let trusted = TrustedRoot::begin(root).map_err(|error| refused(&error))?;
        let newest = signed(&trusted, root)?;
        Ok(Self { trusted, newest })
    }

    /// Goes on with the next version. Where it doesn't verify the chain stays as it is.
    ///
    /// # Errors
    /// [`RootError::Document`].
    pub fn extend(&mut self, next: &Bytes) -> Result<(), RootError> {
        let trusted = self.trusted.follow(next).map_err(|error| refused(&error))?;
        let newest = signed(&trusted, next)?;
        *self = Self { trusted, newest };
        Ok(())
    }

    /// The newest root, without keys that nobody here can use.
    #[must_use]
    pub fn newest(&self) -> &Root {
        self.newest.document()
    }

    /// The newest root, as a client has it.
    #[must_use]
    pub fn trusted(&self) -> &TrustedRoot {
        &self.trusted
    }

    /// The newest root with its bytes.
    #[must_use]
    pub fn signed(&self) -> &Signed<Root> {
        &self.newest
    }

    /// What is signed of the newest root, as [`super::contents`] has it.
    #[must_use]
    pub fn contents(&self) -> Sha256 {
        Sha256::of(self.trusted.file().message())
    }

    /// Which root the newest is.
    #[must_use]
    pub fn pinned(&self) -> PinnedRoot {
        PinnedRoot { version: self.newest.version(), contents: self.contents() }
    }

    /// The newest root's file.
    #[must_use]
    pub fn newest_bytes(&self) -> &Bytes {
        self.newest.bytes()
    }
}

/// A root that may be published, as far as that can be said without looking at what else is published: it keeps the rules, is
/// the next version, in force, and signed as the version before and itself ask for.
///
/// *Invariant*: only [`begin`] and [`succeed`] make one.
#[derive(Debug, Clone, PartialEq)]
pub struct FitRoot(Signed<Root>);

impl FitRoot {
    /// The root with its bytes.
    #[must_use]
    pub fn signed(&self) -> &Signed<Root> {
        &self.0
    }

    /// The root.
    #[must_use]
    pub fn root(&self) -> &Root {
        self.0.document()
    }
}

/// The first root of a repository, if it is fit.
///
/// # Errors
/// [`RootError`].
pub fn begin(file: &RootFile, now: Time) -> Result<FitRoot, RootError> {
    fit(file, None, now)
}

/// The next root after `newest`, if it is fit.
///
/// # Errors
/// [`RootError`].
pub fn succeed(newest: &Root, file: &RootFile, now: Time) -> Result<FitRoot, RootError> {
    fit(file, Some(newest), now)
}

/// Whether `after` adds a key to a role that is online, and takes none away and asks for no more signatures: whatever verifies under
/// `before` for these roles verifies under `after` too.
#[must_use]
pub fn only_adds(before: &Root, after: &Root) -> bool {
    let mut adds = false;
    let keeps = [RoleType::Timestamp, RoleType::Snapshot, RoleType::Targets].iter().all(|role| {
        let (Some(old), Some(new)) = (before.roles.get(role), after.roles.get(role)) else { return false };
        let kept = |id: &KeyId| new.keyids.contains(id) && before.keys.get(id) == after.keys.get(id);
        adds |= new.keyids.len() > old.keyids.len();
        new.threshold <= old.threshold && old.keyids.iter().all(kept)
    });
    keeps && adds
}

fn fit(file: &RootFile, previous: Option<&Root>, now: Time) -> Result<FitRoot, RootError> {
    let expected = previous.map_or(0, |root| root.version.get()) + 1;
    if file.version() != expected {
        return Err(RootError::Version { found: file.version(), expected });
    }
    if file.root().expires <= now {
        return Err(RootError::Expired(file.root().expires));
    }
    check_new_keys(file.root(), previous)?;
    for tally in tallies(file, previous) {
        tally.expect_enough()?;
    }
    // As a client does it, with what it will read.
    let bytes = file.to_published(previous)?;
    if let Some(previous) = previous {
        verify::<Root>(bytes.clone(), &own_keys(previous)?)?;
    }
    Ok(FitRoot(read(&bytes, expected)?))
}
