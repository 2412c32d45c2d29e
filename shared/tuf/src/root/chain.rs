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

/// The published roots from the trusted one to the newest. Each is verified under itself and under
/// its predecessor, as clients do. Others may have made them.
#[derive(Debug, Clone)]
pub struct Chain {
    trusted: TrustedRoot,
    newest: Signed<Root>,
}

impl Chain {
    /// Begins with version 1.
    ///
    /// # Errors
    /// [`RootError::Document`] if it is another version or doesn't verify under its own keys.
    pub fn begin(first: &Bytes) -> Result<Self, RootError> {
        let chain = Self::trusting(first)?;
        chain.trusted.file().expect_version(1).map_err(|error| refused(&error))?;
        Ok(chain)
    }

    /// Begins with a trusted root of any version, as a client does (TUF specification 5.3.2).
    ///
    /// # Errors
    /// [`RootError::Document`] if it doesn't verify under its own keys.
    pub fn trusting(root: &Bytes) -> Result<Self, RootError> {
        let trusted = TrustedRoot::begin(root).map_err(|error| refused(&error))?;
        let newest = signed(&trusted, root)?;
        Ok(Self { trusted, newest })
    }

    /// Adds the next version. After an error the chain is unchanged.
    ///
    /// # Errors
    /// [`RootError::Document`] if it doesn't verify under the newest root and under itself.
    pub fn extend(&mut self, next: &Bytes) -> Result<(), RootError> {
        let trusted = self.trusted.follow(next).map_err(|error| refused(&error))?;
        let newest = signed(&trusted, next)?;
        *self = Self { trusted, newest };
        Ok(())
    }

    /// The newest root, without keys that `tough` can't use.
    #[must_use]
    pub fn newest(&self) -> &Root {
        self.newest.document()
    }

    /// The newest root, as a client reads it.
    #[must_use]
    pub fn trusted(&self) -> &TrustedRoot {
        &self.trusted
    }

    /// The newest root with its bytes.
    #[must_use]
    pub fn signed(&self) -> &Signed<Root> {
        &self.newest
    }

    /// The SHA-256 of the newest root's signed part, as in [`super::contents`].
    #[must_use]
    pub fn contents(&self) -> Sha256 {
        Sha256::of(self.trusted.file().message())
    }

    /// The newest root's version and contents.
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

/// A root that may be published, before it is compared with everything else that is published. It
/// keeps the rules, is the next version, has not expired, and is signed as its predecessor and
/// itself require.
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

    /// The document, without its signatures.
    #[must_use]
    pub fn root(&self) -> &Root {
        self.0.document()
    }
}

/// The first root of a repository, if it may be published.
///
/// # Errors
/// [`RootError`] says why it may not.
pub fn begin(file: &RootFile, now: Time) -> Result<FitRoot, RootError> {
    fit(file, None, now)
}

/// The next root after `newest`, if it may be published.
///
/// # Errors
/// [`RootError`] says why it may not.
pub fn succeed(newest: &Root, file: &RootFile, now: Time) -> Result<FitRoot, RootError> {
    fit(file, Some(newest), now)
}

/// Whether `after` adds a key to an online role, removes none, and raises no threshold. Then all
/// documents of these roles that verify under `before` verify under `after` too.
#[must_use]
pub fn only_adds(before: &Root, after: &Root) -> bool {
    let mut adds = false;
    let keeps = [RoleType::Timestamp, RoleType::Snapshot, RoleType::Targets].iter().all(|role| {
        let (Some(old), Some(new)) = (before.roles.get(role), after.roles.get(role)) else {
            return false;
        };
        let kept =
            |id: &KeyId| new.keyids.contains(id) && before.keys.get(id) == after.keys.get(id);
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
    // Verify the bytes that a client will read, as a client does.
    let bytes = file.to_published(previous)?;
    if let Some(previous) = previous {
        verify::<Root>(bytes.clone(), &own_keys(previous)?)?;
    }
    Ok(FitRoot(read(&bytes, expected)?))
}
