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

use super::names::root_of;
use crate::layout::{Addressed, Expiring, trie};
use crate::primitives::{Pattern, RoleName, Sha256, TargetName, Time, json};
use crate::signing::{VerifyError, from_one};

/// The format of the record that this code writes.
pub const PARTIES_FORMAT: u32 = 1;

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
    ///
    /// # Errors
    /// [`VerifyError::Unreadable`] where a version is 0.
    pub fn in_snapshot(&self) -> Result<HashMap<String, Metafile>, VerifyError> {
        let metafile = |(role, document): (&RoleName, &PartyDocument)| {
            let sha256 = Decoded::from(document.sha256.as_bytes().to_vec());
            let metafile = Metafile {
                length: Some(document.length),
                hashes: Some(Hashes { sha256, _extra: HashMap::new() }),
                version: from_one(role, "version", document.version)?,
                _extra: HashMap::new(),
            };
            Ok((format!("{role}.json"), metafile))
        };
        self.documents.iter().map(metafile).collect()
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

impl TryFrom<Parties> for Addressed<Parties> {
    type Error = VerifyError;

    fn try_from(parties: Parties) -> Result<Self, VerifyError> {
        let bytes = parties.to_bytes()?.into();
        Ok(Self::new(parties, bytes))
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
    /// [`VerifyError::Unreadable`] for a threshold of 0; for a key that has no canonical form, never in practice.
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
            threshold: from_one(role, "threshold", self.threshold)?,
            paths: PathSet::Paths(paths),
            terminating: true,
            targets: None,
        });
        Ok(all)
    }
}

fn empty() -> Delegations {
    Delegations { keys: HashMap::new(), roles: Vec::new() }
}

fn unreadable(why: &str) -> VerifyError {
    VerifyError::Unreadable { role: RoleName::targets(), why: why.to_owned() }
}
