//! Other parties: which names each may sign for, with which keys, and what it has delivered (TUF specification 4.5, DELEGATIONS).
//!
//! Their roles stand in `targets`, before the bins and terminating, so that a name is looked for in one place only. A party's own role
//! may delegate further, to roles that are named after it (`vendor-x--beta`).
//!
//! *Invariants*: `targets` delegates to no party before it delivered a document, nor while that is about to expire, since some clients
//! refuse a whole repository in which one role is missing or expired; the names of two parties never overlap; nobody but the party
//! publishes under its names, even after it was removed.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};
use tough::schema::decoded::Decoded;
use tough::schema::key::Key;
use tough::schema::{DelegatedRole, Delegations, Hashes, Metafile, PathPattern, PathSet};

use crate::generation::at_least_one;
use crate::index::Expiring;
use crate::name::{RoleName, TargetName};
use crate::pattern::Pattern;
use crate::root::{key_id, same_key};
use crate::sha256::Sha256;
use crate::signed::VerifyError;
use crate::time::Time;
use crate::{json, trie};

/// The format of the record that this code writes.
pub const PARTIES_FORMAT: u32 = 1;

/// Stands in the name of a role between the role that delegates to it and its own part.
const BELOW: &str = "--";

/// Clients visit 32 delegations at most in a search, and bins come after the parties (python-tuf, `max_delegations`).
pub const MOST_PARTIES: usize = 20;

/// A party may have so many paths: each is compared with every target before it is delegated.
const MOST_PATHS: usize = 100;

/// The record of all parties, those that were removed with them, may grow to so many bytes by decisions. A store reads somewhat more
/// (`Key::most_bytes`), for the documents that are delivered.
const LARGEST_RECORD: usize = 800_000;

/// Who may sign for what beside the repository itself, as of one generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parties {
    /// [`PARTIES_FORMAT`].
    pub format: u32,
    /// The parties, by their roles.
    pub parties: BTreeMap<RoleName, Party>,
    /// The documents of all roles that other parties ever had: a role once listed in a snapshot stays listed.
    pub documents: BTreeMap<RoleName, PartyDocument>,
    /// When the record was made, as exactly as the clock says: so nobody knows its digest beforehand, and can store something else there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made: Option<Time>,
}

impl Default for Parties {
    fn default() -> Self {
        Self { format: PARTIES_FORMAT, parties: BTreeMap::new(), documents: BTreeMap::new(), made: None }
    }
}

/// One party.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Party {
    /// Its names.
    pub paths: Vec<Pattern>,
    /// Who may sign for it.
    pub keys: Vec<Key>,
    /// How many of them must.
    pub threshold: u64,
    /// Whether devices look there.
    pub state: PartyState,
    /// The roles that its own delegates to now, and those below them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub below: BTreeSet<RoleName>,
}

/// Whether `targets` delegates to a party.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PartyState {
    /// Not yet: it hasn't delivered anything.
    Waiting,
    /// It does.
    Listed,
    /// Not now: what it delivered expires too soon.
    Suspended,
    /// Not any more. Its names stay reserved.
    Removed,
}

impl PartyState {
    /// For people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waits for its first document",
            Self::Listed => "in use",
            Self::Suspended => "suspended, since its document expires too soon",
            Self::Removed => "removed",
        }
    }
}

/// A document that a party signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartyDocument {
    /// Its version.
    pub version: u64,
    /// In bytes.
    pub length: u64,
    /// The digest of the whole file.
    pub sha256: Sha256,
    /// When it expires.
    pub expires: Time,
}

/// What became of a party in a generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartyChange {
    /// Of the party to which the role belongs.
    pub state: PartyState,
    /// The new document, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<PartyDocument>,
    /// The version of the upload that has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload: Option<String>,
}

/// What an operator does with delegations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PartyEdit {
    /// Hands names to a party; also to one that was removed.
    Create {
        /// Its names.
        paths: Vec<Pattern>,
        /// Who may sign for it.
        keys: Vec<Key>,
        /// How many of them must.
        threshold: u64,
    },
    /// Lets another key sign.
    AddKey {
        /// The key.
        key: Key,
        /// How many must sign from now on, if that changes.
        threshold: Option<u64>,
    },
    /// Lets a key no longer sign.
    RemoveKey {
        /// How its id begins.
        id: String,
        /// How many must sign from now on, if that changes.
        threshold: Option<u64>,
    },
    /// Devices no longer look there.
    Remove {
        /// Whether anybody may publish under its names again.
        release: bool,
    },
}

/// What an operator decided, as a record that only operators can write: the generations that follow it name it by its number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// [`PARTIES_FORMAT`].
    pub format: u32,
    /// The party's role.
    pub role: RoleName,
    /// What is done with it.
    pub edit: PartyEdit,
}

/// Why a delegation is not changed. Nothing was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{role} refused: {why}")]
pub struct BadDelegation {
    /// The role.
    pub role: RoleName,
    /// One line.
    pub why: String,
}

impl Parties {
    /// The party under whose names `name` is, and its role: of those that were removed only where no other has it.
    #[must_use]
    pub fn owner(&self, name: &TargetName) -> Option<(&RoleName, &Party)> {
        let reserves = |party: &Party| party.paths.iter().any(|path| path.reserves(name.as_str()));
        let owners = self.parties.iter().filter(|(_, party)| reserves(party));
        owners.min_by_key(|(_, party)| party.state == PartyState::Removed)
    }

    /// The party to which `role` belongs: its own role, or one below.
    #[must_use]
    pub fn party_of(&self, role: &RoleName) -> Option<(&RoleName, &Party)> {
        self.parties.iter().find(|(name, _)| name.as_str() == root_of(role))
    }

    /// What `role` delegates to, a role of the trie: `targets` to the parties first; and, where it is split, to its bins.
    ///
    /// # Errors
    /// [`VerifyError::Unreadable`] for a key that has no canonical form, never in practice.
    pub fn delegations(
        &self,
        role: &RoleName,
        is_split: bool,
        bins_keys: &[Key],
    ) -> Result<Option<Delegations>, VerifyError> {
        let mut all = if *role == RoleName::targets() { self.to_listed()? } else { empty() };
        if is_split {
            let bins = trie::delegations(role, bins_keys)?;
            all.keys.extend(bins.keys);
            all.roles.extend(bins.roles);
        }
        Ok((!all.roles.is_empty()).then_some(all))
    }

    /// The parties to which `targets` delegates.
    pub fn listed(&self) -> impl Iterator<Item = (&RoleName, &Party)> {
        self.parties.iter().filter(|(_, party)| party.state == PartyState::Listed)
    }

    fn to_listed(&self) -> Result<Delegations, VerifyError> {
        let mut all = empty();
        for (role, party) in self.listed() {
            let Delegations { keys, roles } = party.delegation(role)?;
            all.keys.extend(keys);
            all.roles.extend(roles);
        }
        Ok(all)
    }

    /// What a snapshot says of the parties' roles: length and digest too, since whoever signs them chooses their versions.
    #[must_use]
    pub fn in_snapshot(&self) -> HashMap<String, Metafile> {
        let metafile = |document: &PartyDocument| Metafile {
            length: Some(document.length),
            hashes: Some(Hashes { sha256: Decoded::from(document.sha256.as_bytes().to_vec()), _extra: HashMap::new() }),
            version: at_least_one(document.version),
            _extra: HashMap::new(),
        };
        self.documents.iter().map(|(role, document)| (format!("{role}.json"), metafile(document))).collect()
    }

    /// The roles in which devices look now, and their documents: a role after the one that delegates to it.
    pub fn in_use(&self) -> impl Iterator<Item = (&RoleName, &PartyDocument)> {
        let roles = self.listed().flat_map(|(role, party)| party.roles(role));
        roles.filter_map(|role| self.documents.get_key_value(role))
    }

    /// Which document that devices look into expires first.
    #[must_use]
    pub fn first_to_expire(&self) -> Option<Expiring> {
        let expiring = |(role, document): (&RoleName, &PartyDocument)| Expiring {
            expires: document.expires,
            role: role.clone(),
            version: document.version,
        };
        self.in_use().map(expiring).min()
    }

    /// The roles of a party that ever had a document: its own, and those below.
    pub fn roles_of(&self, party: &RoleName) -> impl Iterator<Item = &RoleName> {
        let party = party.clone();
        self.documents.keys().filter(move |role| root_of(role) == party.as_str())
    }

    /// The parties with decisions of operators, in their order. One that can't be carried out any more, since another came before it, changes
    /// nothing.
    #[must_use]
    pub fn decided(&self, decisions: &[Decision]) -> Self {
        let mut next = self.clone();
        for Decision { role, edit, .. } in decisions {
            if let Ok(edited) = next.edit(role, edit.clone()) {
                next = edited;
            }
        }
        next
    }

    /// The parties with an operator's edit of `role`.
    ///
    /// # Errors
    /// [`BadDelegation`].
    pub fn edit(&self, role: &RoleName, edit: PartyEdit) -> Result<Self, BadDelegation> {
        let bad = |why: String| BadDelegation { role: role.clone(), why };
        let mut next = self.clone();
        let found = next.parties.get_mut(role).filter(|party| party.state != PartyState::Removed);
        let there_is_none = || bad("there is no such delegation; `tufline delegation show` lists them".into());
        match edit {
            PartyEdit::Create { paths, keys, threshold } => {
                if found.is_some() {
                    return Err(bad("there is such a delegation; remove it first, or choose another name".into()));
                }
                if paths.len() > MOST_PATHS {
                    return Err(bad(format!("it has {} paths, and at most {MOST_PATHS} are allowed", paths.len())));
                }
                self.check_name(role)?;
                self.check_paths(role, &paths)?;
                let mut distinct: Vec<Key> = Vec::new();
                for key in keys {
                    if distinct.iter().any(|other| same_key(other, &key)) {
                        return Err(bad("a key is given twice; each counts once".into()));
                    }
                    distinct.push(key);
                }
                let party =
                    Party { paths, keys: distinct, threshold, state: PartyState::Waiting, below: BTreeSet::new() };
                next.parties.insert(role.clone(), party);
            }
            PartyEdit::AddKey { key, threshold } => {
                let party = found.ok_or_else(there_is_none)?;
                if party.keys.iter().any(|other| same_key(other, &key)) {
                    return Err(bad("that key may sign already".into()));
                }
                party.keys.push(key);
                party.threshold = threshold.unwrap_or(party.threshold);
            }
            PartyEdit::RemoveKey { id, threshold } => {
                let party = found.ok_or_else(there_is_none)?;
                let begins = |key: &Key| key_id(key).is_ok_and(|key| hex::encode(&*key).starts_with(&id));
                let number = party.keys.iter().filter(|key| begins(key)).count();
                if number != 1 {
                    return Err(bad(format!("{number} of its keys have an id that begins with '{id}'")));
                }
                party.keys.retain(|key| !begins(key));
                party.threshold = threshold.unwrap_or(party.threshold);
            }
            PartyEdit::Remove { release } => {
                let party = next.parties.get_mut(role).ok_or_else(there_is_none)?;
                party.state = PartyState::Removed;
                party.below.clear();
                if release {
                    next.parties.remove(role);
                }
                return Ok(next);
            }
        }
        let party = next.parties.get(role).ok_or_else(there_is_none)?;
        if !(1..=party.keys.len() as u64).contains(&party.threshold) {
            let (threshold, keys) = (party.threshold, party.keys.len());
            return Err(bad(format!("{threshold} of {keys} keys can't sign; choose a threshold from 1 to {keys}")));
        }
        if next.to_bytes().map_or(0, |bytes| bytes.len()) > LARGEST_RECORD {
            let why = "the record of all delegations would be too long; give it fewer keys or paths, or release one that was removed";
            return Err(bad(why.into()));
        }
        Ok(next)
    }

    fn check_name(&self, role: &RoleName) -> Result<(), BadDelegation> {
        let bad = |why: &str| Err(BadDelegation { role: role.clone(), why: why.into() });
        if [RoleName::root(), RoleName::targets(), RoleName::snapshot(), RoleName::timestamp()].contains(role) {
            return bad("that is a top-level role's name; choose another");
        }
        if role.as_str().starts_with(trie::BIN) {
            return bad("names that begin with 'bin-' are those of bins; choose another");
        }
        // As with bins, see `trie::BIN`.
        if role.as_str().bytes().all(|byte| byte.is_ascii_digit()) {
            return bad(
                "tuf-js reads roles whose names are numbers in another order than was signed; choose a name with a letter",
            );
        }
        if role.as_str().contains(BELOW) {
            return bad("'--' stands in the names of roles that a party itself delegates to; choose another");
        }
        let there = self.parties.values().filter(|party| party.state != PartyState::Removed).count();
        if there >= MOST_PARTIES {
            return bad("there are 20 delegations, and clients visit 32 at most in a search; remove one");
        }
        Ok(())
    }

    fn check_paths(&self, role: &RoleName, paths: &[Pattern]) -> Result<(), BadDelegation> {
        let bad = |why: String| Err(BadDelegation { role: role.clone(), why });
        if paths.is_empty() {
            return bad("it has no paths; name them with --paths".into());
        }
        let others = self.parties.iter().filter(|(_, party)| party.state != PartyState::Removed);
        for (other, theirs) in others.flat_map(|(other, party)| party.paths.iter().map(move |path| (other, path))) {
            if let Some(path) = paths.iter().find(|path| path.overlaps(theirs)) {
                return bad(format!(
                    "its path {path} overlaps {theirs} of {other}: some client would look for a name in both; choose paths apart"
                ));
            }
        }
        Ok(())
    }

    /// The record as it is stored.
    ///
    /// # Errors
    /// [`VerifyError::Unreadable`], never in practice.
    pub fn to_bytes(&self) -> Result<Vec<u8>, VerifyError> {
        json::to_vec(self).map_err(|error| unreadable(&error.to_string()))
    }

    /// Reads the record that is named `digest`.
    ///
    /// # Errors
    /// [`VerifyError::Unreadable`] where these are not the bytes that are meant.
    pub fn from_bytes(digest: &Sha256, bytes: &[u8]) -> Result<Self, VerifyError> {
        if Sha256::of(bytes) != *digest {
            return Err(unreadable("the record of its delegations has other bytes than those that it is named by"));
        }
        let parties: Self = serde_json::from_slice(bytes).map_err(|error| unreadable(&error.to_string()))?;
        if parties.format > PARTIES_FORMAT {
            return Err(unreadable("the record of its delegations was written by a newer version; use that one"));
        }
        Ok(parties)
    }
}

impl Party {
    /// Its roles: `own`, and those below.
    pub fn roles<'a>(&'a self, own: &'a RoleName) -> impl Iterator<Item = &'a RoleName> {
        std::iter::once(own).chain(&self.below)
    }

    /// What `targets` says of it.
    ///
    /// # Errors
    /// [`VerifyError::Unreadable`] for a key that has no canonical form, never in practice.
    pub fn delegation(&self, role: &RoleName) -> Result<Delegations, VerifyError> {
        let unreadable = |why: String| VerifyError::Unreadable { role: role.clone(), why };
        let mut all = empty();
        let mut keyids = Vec::with_capacity(self.keys.len());
        for key in &self.keys {
            let id = key.key_id().map_err(|error| unreadable(error.to_string()))?;
            keyids.push(id.clone());
            all.keys.insert(id, key.clone());
        }
        let paths = self.paths.iter().map(|path| PathPattern::new(path.as_str()));
        let paths = paths.collect::<Result<_, _>>().map_err(|error| unreadable(error.to_string()))?;
        all.roles.push(DelegatedRole {
            name: role.to_string(),
            keyids,
            threshold: at_least_one(self.threshold),
            paths: PathSet::Paths(paths),
            terminating: true,
            targets: None,
        });
        Ok(all)
    }
}

/// The name of the party to which a role belongs.
pub(crate) fn root_of(role: &RoleName) -> &str {
    role.as_str().split_once(BELOW).map_or(role.as_str(), |(party, _)| party)
}

/// The role that delegates to a party's role: `targets` to its own, and each of those below is named after the one above.
#[must_use]
pub fn delegator(role: &RoleName) -> RoleName {
    let above = role.as_str().rsplit_once(BELOW).and_then(|(above, _)| above.parse().ok());
    above.unwrap_or_else(RoleName::targets)
}

/// Whether a role's name says that `above` may delegate to it.
pub(crate) fn is_below(role: &RoleName, above: &RoleName) -> bool {
    role.as_str().strip_prefix(above.as_str()).and_then(|rest| rest.strip_prefix(BELOW)).is_some_and(|own| {
        let plain = !own.is_empty() && !own.contains(BELOW);
        plain && !own.starts_with('-')
    })
}

fn empty() -> Delegations {
    Delegations { keys: HashMap::new(), roles: Vec::new() }
}

fn unreadable(why: &str) -> VerifyError {
    VerifyError::Unreadable { role: RoleName::targets(), why: why.to_owned() }
}
