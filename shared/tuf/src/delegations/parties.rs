//! Other parties (TUF specification 4.5, DELEGATIONS): the names that each may sign for, its keys,
//! and the documents that it has delivered.
//!
//! `targets` lists the parties' roles before the bins and as terminating, so that clients look for
//! a name in one place only. A party's own role may delegate further, to roles that are named after
//! it (`vendor-x--beta`).
//!
//! *Invariants*: `targets` delegates to a party only after it delivered a document, and not while
//! that is about to expire, since some clients refuse a whole repository in which one role is
//! missing or expired; the names of two parties never overlap; only the party publishes under its
//! names, even after it was removed.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};
use tough::schema::decoded::Decoded;
use tough::schema::key::Key;
use tough::schema::{DelegatedRole, Delegations, Hashes, Metafile, PathPattern, PathSet};

use super::names::root_of;
use crate::layout::{Addressed, Expiring, trie};
use crate::primitives::{Pattern, RoleName, Sha256, TargetName, Time, json};
use crate::signing::{VerifyError, from_one};

/// The format version of the records that this code writes.
pub const PARTIES_FORMAT: u32 = 1;

/// The parties besides the repository itself, as of one generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parties {
    /// The format version, at most [`PARTIES_FORMAT`].
    pub format: u32,
    /// The parties, by the names of their roles.
    pub parties: BTreeMap<RoleName, Party>,
    /// The documents of all roles that other parties ever had. A role that a snapshot lists must
    /// stay listed.
    pub documents: BTreeMap<RoleName, PartyDocument>,
    /// When the record was made, to the clock's full precision. So nobody can predict its digest
    /// and store another file under that name first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made: Option<Time>,
}

impl Default for Parties {
    fn default() -> Self {
        Self {
            format: PARTIES_FORMAT,
            parties: BTreeMap::new(),
            documents: BTreeMap::new(),
            made: None,
        }
    }
}

/// A party's names, keys and state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Party {
    /// The patterns of its names.
    pub paths: Vec<Pattern>,
    /// The keys that may sign for it.
    pub keys: Vec<Key>,
    /// How many of these keys must sign.
    pub threshold: u64,
    /// Whether `targets` delegates to it.
    pub state: PartyState,
    /// The roles to which its own role delegates now, and those below them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub below: BTreeSet<RoleName>,
}

/// Whether `targets` delegates to a party.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PartyState {
    /// Not yet: the party hasn't delivered a document.
    Waiting,
    /// `targets` delegates to the party.
    Listed,
    /// Not now: its document expires too soon.
    Suspended,
    /// No longer. Its names stay reserved.
    Removed,
}

impl PartyState {
    /// The state in words for people.
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
    /// The version that the party chose, from 1 on.
    pub version: u64,
    /// The file's length in bytes.
    pub length: u64,
    /// The SHA-256 of the whole file.
    pub sha256: Sha256,
    /// The time at which the document expires.
    pub expires: Time,
}

/// What a generation changed of a party's role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartyChange {
    /// The new state of the party to which the role belongs.
    pub state: PartyState,
    /// The role's new document, if it changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<PartyDocument>,
    /// The version of the upload that delivered the document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload: Option<String>,
}

impl Parties {
    /// The party whose patterns match `name`, and its role. A removed party counts only if no other
    /// matches.
    #[must_use]
    pub fn owner(&self, name: &TargetName) -> Option<(&RoleName, &Party)> {
        let reserves = |party: &Party| party.paths.iter().any(|path| path.reserves(name.as_str()));
        let owners = self.parties.iter().filter(|(_, party)| reserves(party));
        owners.min_by_key(|(_, party)| party.state == PartyState::Removed)
    }

    /// The party to which `role` belongs, whether that is its own role or one below.
    #[must_use]
    pub fn party_of(&self, role: &RoleName) -> Option<(&RoleName, &Party)> {
        self.parties.iter().find(|(name, _)| name.as_str() == root_of(role))
    }

    /// The delegations of `role`, a role of the trie: `targets` delegates to the parties first, and
    /// a split role to its bins.
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

    /// The snapshot's entries for the parties' roles. They include length and digest, since the
    /// parties choose their versions themselves.
    ///
    /// # Errors
    /// [`VerifyError::Unreadable`] if a version is 0.
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

    /// The roles in which devices look now, and their documents. Each role comes after the role
    /// that delegates to it.
    pub fn in_use(&self) -> impl Iterator<Item = (&RoleName, &PartyDocument)> {
        let roles = self.listed().flat_map(|(role, party)| party.roles(role));
        roles.filter_map(|role| self.documents.get_key_value(role))
    }

    /// The document in use that expires first.
    #[must_use]
    pub fn first_to_expire(&self) -> Option<Expiring> {
        let expiring = |(role, document): (&RoleName, &PartyDocument)| Expiring {
            expires: document.expires,
            role: role.clone(),
            version: document.version,
        };
        self.in_use().map(expiring).min()
    }

    /// The roles of a party that ever had a document: its own role and those below.
    pub fn roles_of(&self, party: &RoleName) -> impl Iterator<Item = &RoleName> {
        let party = party.clone();
        self.documents.keys().filter(move |role| root_of(role) == party.as_str())
    }

    /// The record's bytes, as they are stored.
    ///
    /// # Errors
    /// [`VerifyError::Unreadable`], never in practice.
    pub fn to_bytes(&self) -> Result<Vec<u8>, VerifyError> {
        json::to_vec(self).map_err(|error| unreadable(&error.to_string()))
    }

    /// Reads the record whose digest is `digest`.
    ///
    /// # Errors
    /// [`VerifyError::Unreadable`] if the bytes have another digest, or a newer format.
    pub fn from_bytes(digest: &Sha256, bytes: &[u8]) -> Result<Self, VerifyError> {
        if Sha256::of(bytes) != *digest {
            return Err(unreadable(
                "the record of its delegations does not have the digest that names it",
            ));
        }
        let parties: Self =
            serde_json::from_slice(bytes).map_err(|error| unreadable(&error.to_string()))?;
        if parties.format > PARTIES_FORMAT {
            return Err(unreadable(
                "the record of its delegations was written by a newer version; use that one",
            ));
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
    /// The party's roles: `own`, and those below.
    pub fn roles<'a>(&'a self, own: &'a RoleName) -> impl Iterator<Item = &'a RoleName> {
        std::iter::once(own).chain(&self.below)
    }

    /// The delegation of `targets` to this party.
    ///
    /// # Errors
    /// [`VerifyError::Unreadable`] for a threshold of 0, or for a key without a canonical form,
    /// which never happens in practice.
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
        let paths =
            paths.collect::<Result<_, _>>().map_err(|error| unreadable(error.to_string()))?;
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
