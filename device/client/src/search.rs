//! The search for a target among the roles that `targets` delegates to (TUF specification 5.6.7).

use alloc::borrow::ToOwned;
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use tufline_metadata::{Delegated, Meta, Target, Targets, metadata_path, target_path};

use crate::error::{Error, Result, Why};
use crate::limits::Limits;
use crate::names::stored_name;
use crate::need::{Answer, Need, NeededFile};
use crate::storage::{SNAPSHOT, Storage, Stored};
use crate::verified::{Current, most, refused};

/// A target that the repository lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundTarget {
    /// The target's name.
    pub name: String,
    /// The role that lists the target.
    pub role: String,
    /// The target's length, digests and custom metadata, as that role lists them.
    pub target: Target,
    /// The path of the target's bytes below the targets URL, percent-encoded.
    pub path: String,
}

/// One search. It asks only for the roles on the way to the target: each role before those that it
/// delegates to, in the order of its delegations (pre-order).
#[derive(Debug)]
pub struct Search<'u, S> {
    storage: &'u mut S,
    limits: Limits,
    current: Current,
    consistent: bool,
    name: String,
    /// The roles still to ask; the last one comes next.
    next: Vec<Visit>,
    asked: BTreeSet<String>,
    found: Option<FoundTarget>,
    /// The needed file, cached until the caller gives it: finding it out means reading and
    /// verifying what is stored.
    needed: Option<NeededFile>,
}

/// A role, and the role that delegates to it.
#[derive(Debug, Clone)]
struct Visit {
    role: String,
    from: Arc<Delegator>,
}

#[derive(Debug)]
struct Delegator {
    role: String,
    targets: Arc<Targets>,
}

impl<'u, S: Storage> Search<'u, S> {
    pub(crate) fn begin(
        storage: &'u mut S,
        limits: Limits,
        current: Current,
        consistent: bool,
        name: &str,
    ) -> Self {
        let targets = current.targets.clone();
        let (next, asked) = (Vec::new(), BTreeSet::from(["targets".to_owned()]));
        let mut search = Self {
            storage,
            limits,
            current,
            consistent,
            name: name.to_owned(),
            next,
            asked,
            found: None,
            needed: None,
        };
        search.ask("targets".to_owned(), targets);
        search
    }

    /// The file that the search needs next. A stored file that is still current isn't needed.
    ///
    /// # Errors
    /// [`Error`] if the verified metadata leaves no way on, or the storage fails.
    pub fn need(&mut self) -> Result<Need, S::Error> {
        if self.needed.is_none() {
            self.needed = self.find_needed()?;
        }
        Ok(self.needed.clone().map_or(Need::Nothing, Need::File))
    }

    fn find_needed(&mut self) -> Result<Option<NeededFile>, S::Error> {
        while let Some(visit) = self.next.last().cloned() {
            // `asked` contains `targets`, which needs no visit.
            if self.asked.len() > self.limits.roles {
                return Err(Error::TooManyRoles {
                    name: self.name.clone(),
                    roles: self.limits.roles,
                });
            }
            let listed = self.listed(&visit.role)?.clone();
            let most = most(&listed, self.limits.targets);
            let stored = Stored(self.storage).read(&stored_name(&visit.role), most)?;
            let Some(targets) = stored.and_then(|bytes| self.verify(&visit, &bytes).ok()) else {
                let path = metadata_path(&visit.role, self.consistent.then_some(listed.version));
                return Ok(Some(NeededFile::new(path, most)));
            };
            self.visited(visit.role, targets);
        }
        Ok(None)
    }

    /// Verifies and stores the file that the search needs.
    ///
    /// # Errors
    /// [`Error`]. The storage is unchanged, and the search still needs the same file.
    pub fn give(&mut self, answer: Answer<'_>) -> Result<(), S::Error> {
        let Need::File(NeededFile { path, most, .. }) = self.need()? else { return Ok(()) };
        let Some(visit) = self.next.last().cloned() else { return Ok(()) };
        let bytes = match answer {
            Answer::Bytes(bytes) if bytes.len() > most => {
                return Err(refused(&path, Why::TooLong(most)));
            }
            Answer::Bytes(bytes) => bytes,
            Answer::Missing => return Err(Error::Missing(path)),
        };
        let targets = self.verify(&visit, bytes).map_err(|why| refused(&path, why))?;
        Stored(self.storage).write(&stored_name(&visit.role), bytes)?;
        self.needed = None;
        self.visited(visit.role, targets);
        Ok(())
    }

    /// The target, once the search needs nothing more. `None` means that the repository has no such
    /// target.
    #[must_use]
    pub fn found(self) -> Option<FoundTarget> {
        self.found
    }

    /// Looks for the target in a verified role, and queues the roles to which it delegates the
    /// name.
    fn ask(&mut self, role: String, targets: Arc<Targets>) {
        if let Some(target) = targets.targets().get(&self.name) {
            let path = target_path(&self.name, target, self.consistent);
            self.found =
                Some(FoundTarget { name: self.name.clone(), role, target: target.clone(), path });
            self.next.clear();
            return;
        }
        let (delegated, ends) = targets.roles_to_ask(&self.name);
        if ends {
            self.next.clear();
        }
        let from = Arc::new(Delegator { role, targets });
        let visit = |Delegated { role, .. }| Visit { role, from: from.clone() };
        self.next.extend(delegated.into_iter().rev().map(visit));
        self.skip_asked();
    }

    fn visited(&mut self, role: String, targets: Targets) {
        self.next.pop();
        self.asked.insert(role.clone());
        self.ask(role, Arc::new(targets));
    }

    /// Skips roles that were asked before: a search asks each role once, whichever roles delegate
    /// to it (5.6.7.1).
    fn skip_asked(&mut self) {
        while self.next.last().is_some_and(|visit| self.asked.contains(&visit.role)) {
            self.next.pop();
        }
    }

    fn listed(&self, role: &str) -> Result<&Meta, S::Error> {
        let not_listed = || refused(SNAPSHOT, Why::NotListed(role.to_owned()));
        self.current.snapshot.role(role).ok_or_else(not_listed)
    }

    fn verify(&self, visit: &Visit, bytes: &[u8]) -> core::result::Result<Targets, Why> {
        let Current { now, snapshot, .. } = &self.current;
        let Delegator { role, targets } = &*visit.from;
        targets
            .delegated(role, &visit.role, bytes, snapshot, *now)
            .map_err(|error| Why::at(error, *now))
    }
}
