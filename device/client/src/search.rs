//! Looking for a target among the roles that `targets` delegates to (TUF specification 5.6.7).

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

/// A target that a repository has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundTarget {
    /// Its name.
    pub name: String,
    /// The role that lists it.
    pub role: String,
    /// What is listed of it.
    pub target: Target,
    /// Where its bytes are below the targets URL, percent-encoded.
    pub path: String,
}

/// One search: it asks for the roles on the way to the target, and for no others, each before those that it delegates to, in their order (pre-order).
#[derive(Debug)]
pub struct Search<'u, S> {
    storage: &'u mut S,
    limits: Limits,
    current: Current,
    consistent: bool,
    name: String,
    /// The roles that are still to be asked, the next one last.
    next: Vec<Visit>,
    asked: BTreeSet<String>,
    found: Option<FoundTarget>,
    /// What was found to be needed, until it is there: to find out reads and verifies what is stored.
    needed: Option<NeededFile>,
}

/// A role, and who delegates to it.
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
    pub(crate) fn begin(storage: &'u mut S, limits: Limits, current: Current, consistent: bool, name: &str) -> Self {
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

    /// Which file is needed next. What is stored and still current isn't.
    ///
    /// # Errors
    /// [`Error`]: where what is verified leaves no way on, or the storage fails.
    pub fn need(&mut self) -> Result<Need, S::Error> {
        if self.needed.is_none() {
            self.needed = self.find_needed()?;
        }
        Ok(self.needed.clone().map_or(Need::Nothing, Need::File))
    }

    fn find_needed(&mut self) -> Result<Option<NeededFile>, S::Error> {
        while let Some(visit) = self.next.last().cloned() {
            // `targets` is one of those asked, and needs no visit.
            if self.asked.len() > self.limits.roles {
                return Err(Error::TooManyRoles { name: self.name.clone(), roles: self.limits.roles });
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

    /// Takes the file that is needed, verifies and stores it.
    ///
    /// # Errors
    /// [`Error`]: then what is stored is what it was, and the same file is needed still.
    pub fn give(&mut self, answer: Answer<'_>) -> Result<(), S::Error> {
        let Need::File(NeededFile { path, most, .. }) = self.need()? else { return Ok(()) };
        let Some(visit) = self.next.last().cloned() else { return Ok(()) };
        let bytes = match answer {
            Answer::Bytes(bytes) if bytes.len() > most => return Err(refused(&path, Why::TooLong(most))),
            Answer::Bytes(bytes) => bytes,
            Answer::Missing => return Err(Error::Missing(path)),
        };
        let targets = self.verify(&visit, bytes).map_err(|why| refused(&path, why))?;
        Stored(self.storage).write(&stored_name(&visit.role), bytes)?;
        self.needed = None;
        self.visited(visit.role, targets);
        Ok(())
    }

    /// What was found, when nothing more is needed: `None` if the repository has no such target.
    #[must_use]
    pub fn found(self) -> Option<FoundTarget> {
        self.found
    }

    /// Asks a verified role, and notes whom it delegates the name to.
    fn ask(&mut self, role: String, targets: Arc<Targets>) {
        if let Some(target) = targets.targets().get(&self.name) {
            let path = target_path(&self.name, target, self.consistent);
            self.found = Some(FoundTarget { name: self.name.clone(), role, target: target.clone(), path });
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

    /// A role that was asked once isn't asked again, whoever else delegates to it (5.6.7.1).
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
        targets.delegated(role, &visit.role, bytes, snapshot, *now).map_err(|error| Why::at(error, *now))
    }
}
