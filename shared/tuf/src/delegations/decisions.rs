//! Operators' decisions about other parties.
//!
//! *Invariant*: the names of two parties never overlap.

use std::collections::BTreeSet;

use super::names::BELOW;
use super::parties::{Parties, Party, PartyState};
use crate::layout::trie;
use crate::primitives::{Pattern, RoleName};
use crate::root::key_id;
use crate::signing::same_key;
use serde::{Deserialize, Serialize};
use tough::schema::key::Key;

/// The most parties. Clients visit at most 32 delegations in a search (python-tuf,
/// `max_delegations`), and visit the bins after the parties.
pub const MOST_PARTIES: usize = 20;

/// The most paths of a party: each is compared with every target before the names are delegated.
const MOST_PATHS: usize = 100;

/// The length, in bytes, to which decisions may grow the record of all parties, including removed
/// ones. A store reads somewhat more (`Key::most_bytes`), which leaves room for the documents that
/// parties deliver.
const LARGEST_RECORD: usize = 800_000;

/// An operator's edit of a delegation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PartyEdit {
    /// Delegates names to a party, which may have been removed before.
    Create {
        /// The patterns of the party's names.
        paths: Vec<Pattern>,
        /// The keys that may sign for it.
        keys: Vec<Key>,
        /// How many of these keys must sign.
        threshold: u64,
    },
    /// Lets another key sign.
    AddKey {
        /// The key to add.
        key: Key,
        /// How many keys must sign from now on; `None` keeps the number.
        threshold: Option<u64>,
    },
    /// Lets a key no longer sign.
    RemoveKey {
        /// The beginning of the key's id.
        id: String,
        /// How many keys must sign from now on; `None` keeps the number.
        threshold: Option<u64>,
    },
    /// Stops the delegation: devices no longer look for names there.
    Remove {
        /// Whether anybody may publish under its names again.
        release: bool,
    },
}

/// An operator's decision, as a record that only operators can write. The generations that apply it
/// refer to it by its number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The format version of the record, [`PARTIES_FORMAT`](super::parties::PARTIES_FORMAT).
    pub format: u32,
    /// The role of the party that is edited.
    pub role: RoleName,
    /// The edit of that party.
    pub edit: PartyEdit,
}

/// Why an edit of a delegation is refused. The delegation is unchanged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{role} refused: {why}")]
pub struct BadDelegation {
    /// The role of the party whose edit was refused.
    pub role: RoleName,
    /// The reason, in one line.
    pub why: String,
}

impl Parties {
    /// The parties after these decisions, applied in order. A decision that an earlier one made
    /// impossible changes nothing.
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

    /// The parties after an operator's edit of `role`.
    ///
    /// # Errors
    /// [`BadDelegation`] if the edit is not allowed.
    pub fn edit(&self, role: &RoleName, edit: PartyEdit) -> Result<Self, BadDelegation> {
        let bad = |why: String| BadDelegation { role: role.clone(), why };
        let mut next = self.clone();
        let found = next.parties.get_mut(role).filter(|party| party.state != PartyState::Removed);
        let there_is_none =
            || bad("there is no such delegation; `tufline delegation show` lists them".into());
        match edit {
            PartyEdit::Create { paths, keys, threshold } => {
                if found.is_some() {
                    return Err(bad(
                        "this delegation exists; remove it first, or choose another name".into(),
                    ));
                }
                if paths.len() > MOST_PATHS {
                    return Err(bad(format!(
                        "it has {} paths, and at most {MOST_PATHS} are allowed",
                        paths.len()
                    )));
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
                let party = Party {
                    paths,
                    keys: distinct,
                    threshold,
                    state: PartyState::Waiting,
                    below: BTreeSet::new(),
                };
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
                let begins =
                    |key: &Key| key_id(key).is_ok_and(|key| hex::encode(&*key).starts_with(&id));
                let number = party.keys.iter().filter(|key| begins(key)).count();
                if number != 1 {
                    return Err(bad(format!(
                        "{number} of its keys have an id that begins with '{id}'"
                    )));
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
            return Err(bad(format!(
                "{threshold} of {keys} keys can't sign; choose a threshold from 1 to {keys}"
            )));
        }
        if next.to_bytes().map_err(|error| bad(error.to_string()))?.len() > LARGEST_RECORD {
            let why = "the record of all delegations would be too long; give it fewer keys or paths, \
                       or release one that was removed";
            return Err(bad(why.into()));
        }
        Ok(next)
    }

    fn check_name(&self, role: &RoleName) -> Result<(), BadDelegation> {
        let bad = |why: &str| Err(BadDelegation { role: role.clone(), why: why.into() });
        if [RoleName::root(), RoleName::targets(), RoleName::snapshot(), RoleName::timestamp()]
            .contains(role)
        {
            return bad("that is a top-level role's name; choose another");
        }
        if role.as_str().starts_with(trie::BIN) {
            return bad("names that begin with 'bin-' are those of bins; choose another");
        }
        // For the same reason as in `trie::BIN`.
        if role.as_str().bytes().all(|byte| byte.is_ascii_digit()) {
            return bad(
                "tuf-js reads roles whose names are numbers in another order than was signed; \
                        choose a name with a letter",
            );
        }
        if role.as_str().contains(BELOW) {
            return bad(
                "'--' is reserved for the names of roles that a party itself delegates to; \
                        choose another",
            );
        }
        let there =
            self.parties.values().filter(|party| party.state != PartyState::Removed).count();
        if there >= MOST_PARTIES {
            return bad(
                "there are 20 delegations, and clients visit 32 at most in a search; remove one",
            );
        }
        Ok(())
    }

    fn check_paths(&self, role: &RoleName, paths: &[Pattern]) -> Result<(), BadDelegation> {
        let bad = |why: String| Err(BadDelegation { role: role.clone(), why });
        if paths.is_empty() {
            return bad("it has no paths; name them with --paths".into());
        }
        let others = self.parties.iter().filter(|(_, party)| party.state != PartyState::Removed);
        for (other, theirs) in
            others.flat_map(|(other, party)| party.paths.iter().map(move |path| (other, path)))
        {
            if let Some(path) = paths.iter().find(|path| path.overlaps(theirs)) {
                return bad(format!(
                    "its path {path} overlaps {theirs} of {other}: some client would look for a \
                     name in both; choose paths apart"
                ));
            }
        }
        Ok(())
    }
}
