//! Unsigned documents of the targets family.

use std::collections::{BTreeMap, HashMap};
use tough::schema::key::Key;
use tough::schema::{Delegations, Target, Targets};

use super::error::GenerationError;
use super::listed::Listed;
use crate::delegations::Parties;
use crate::layout::{AddressedDraft, Index, IndexEntry, RoleEntry};
use crate::primitives::{RoleName, SPEC_VERSION, Time};
use crate::signing::{Draft, VerifyError, from_one};
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

impl<'a> Drafting<'a> {
    /// Begins an index with the document of `targets`, whose version is the one above `first`; answers that too. Where it is split, those
    /// below it are to be added next.
    pub fn begin(
        targets: Listed,
        first: u64,
        expires: Time,
        bins_keys: Vec<Key>,
        parties: &'a Parties,
    ) -> Result<(Self, AddressedDraft), GenerationError> {
        let (role, serial, is_split) = (RoleName::targets(), first + 1, targets.is_split);
        let (draft, entry) = make(&role, targets, serial, expires, &bins_keys, parties)?;
        let mut index = Index::new(IndexEntry { document: entry.clone(), bins: None });
        if is_split {
            index.split(&role);
        }
        let changed = BTreeMap::from([(role, entry)]);
        Ok((Self { first, serial, index, changed, expires, bins_keys, parties }, draft))
    }

    /// Drafts what is listed in these roles, a delegating one before those that it delegates to.
    pub fn add(&mut self, documents: Vec<(RoleName, Listed)>) -> Result<Vec<AddressedDraft>, GenerationError> {
        documents.into_iter().map(|(role, listed)| self.draft(role, listed)).collect()
    }

    fn draft(&mut self, role: RoleName, listed: Listed) -> Result<AddressedDraft, GenerationError> {
        self.serial += 1;
        let splits = listed.is_split && self.index.entry(&role).is_none_or(|entry: &IndexEntry| entry.bins.is_none());
        let (draft, entry) = make(&role, listed, self.serial, self.expires, &self.bins_keys, self.parties)?;
        self.index.set(&role, entry.clone())?;
        if splits {
            self.index.split(&role);
        }
        self.changed.insert(role, entry);
        Ok(draft)
    }
}

fn make(
    role: &RoleName,
    listed: Listed,
    version: u64,
    expires: Time,
    bins_keys: &[Key],
    parties: &Parties,
) -> Result<(AddressedDraft, RoleEntry), VerifyError> {
    let delegations = parties.delegations(role, listed.is_split, bins_keys)?;
    let draft = targets_draft(role.clone(), version, expires, listed.targets, delegations)?;
    let draft = AddressedDraft::try_from(draft)?;
    let entry = RoleEntry { version, draft: draft.digest(), expires };
    Ok((draft, entry))
}

/// The document of `targets` that delegates to bins signed by any of `bins_keys`, and to nobody else.
///
/// # Errors
/// [`VerifyError::Unreadable`] for version 0; for a key that has no canonical form, never in practice.
pub fn targets_document(version: u64, expires: Time, bins_keys: &[Key]) -> Result<Draft<Targets>, VerifyError> {
    let role = RoleName::targets();
    let delegations = Parties::default().delegations(&role, true, bins_keys)?;
    targets_draft(role, version, expires, HashMap::new(), delegations)
}

pub(crate) fn targets_draft(
    role: RoleName,
    version: u64,
    expires: Time,
    targets: HashMap<tough::TargetName, Target>,
    delegations: Option<Delegations>,
) -> Result<Draft<Targets>, VerifyError> {
    let mut document = Targets::new(SPEC_VERSION.into(), from_one(&role, "version", version)?, expires);
    // tough writes an empty `delegations` unless there is none, which other clients refuse.
    document.delegations = delegations;
    document.targets = targets;
    Ok(Draft::new(role, document))
}
