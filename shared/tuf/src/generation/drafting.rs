//! Unsigned documents of the targets family.

use std::collections::{BTreeMap, HashMap};
use tough::schema::key::Key;
use tough::schema::{Delegations, Target, Targets};

use super::error::GenerationError;
use super::listed::Listed;
use crate::delegations::Parties;
use crate::layout::{AddressedDraft, Index, IndexEntry, RoleEntry};
use crate::primitives::{RoleName, SPEC_VERSION, Time, at_least_one};
use crate::signing::{Draft, VerifyError};
/// New documents of the targets family: each takes the next number of the serial, and its place in the index.
#[derive(Debug)]
pub(crate) struct Drafting<'a> {
    /// The versions begin above this one.
    pub first: u64,
    pub serial: u64,
    pub index: Index,
    pub changed: BTreeMap<RoleName, RoleEntry>,
    pub expires: Time,
    /// The keys that delegating roles list for bins.
    pub bins_keys: Vec<Key>,
    pub parties: &'a Parties,
}

impl Drafting<'_> {
    /// Drafts what is listed in these roles, a delegating one before those that it delegates to.
    pub fn add(&mut self, documents: Vec<(RoleName, Listed)>) -> Result<Vec<AddressedDraft>, GenerationError> {
        documents.into_iter().map(|(role, listed)| self.draft(role, listed)).collect()
    }

    fn draft(&mut self, role: RoleName, listed: Listed) -> Result<AddressedDraft, GenerationError> {
        self.serial += 1;
        let splits = listed.is_split && self.index.entry(&role).is_none_or(|entry: &IndexEntry| entry.bins.is_none());
        let delegations = self.parties.delegations(&role, listed.is_split, &self.bins_keys)?;
        let draft = targets_draft(role.clone(), self.serial, self.expires, listed.targets, delegations);
        let draft = AddressedDraft::try_from(draft)?;
        let entry = RoleEntry { version: self.serial, draft: draft.digest(), expires: self.expires };
        self.index.set(&role, entry.clone());
        if splits {
            self.index.split(&role);
        }
        self.changed.insert(role, entry);
        Ok(draft)
    }
}

/// The document of `targets` that delegates to bins signed by any of `bins_keys`, and to nobody else.
///
/// # Errors
/// [`VerifyError::Unreadable`] for a key that has no canonical form, never in practice.
pub fn targets_document(version: u64, expires: Time, bins_keys: &[Key]) -> Result<Draft<Targets>, VerifyError> {
    let role = RoleName::targets();
    let delegations = Parties::default().delegations(&role, true, bins_keys)?;
    Ok(targets_draft(role, version, expires, HashMap::new(), delegations))
}

pub(crate) fn targets_draft(
    role: RoleName,
    version: u64,
    expires: Time,
    targets: HashMap<tough::TargetName, Target>,
    delegations: Option<Delegations>,
) -> Draft<Targets> {
    let mut document = Targets::new(SPEC_VERSION.into(), at_least_one(version), expires);
    // tough writes an empty `delegations` unless there is none, which other clients refuse.
    document.delegations = delegations;
    document.targets = targets;
    Draft::new(role, document)
}
