//! Drafts documents of the targets family.

use std::collections::{BTreeMap, HashMap};
use tough::schema::key::Key;
use tough::schema::{Delegations, Target, Targets};

use super::error::GenerationError;
use super::listed::Listed;
use crate::delegations::Parties;
use crate::layout::{AddressedDraft, Index, IndexEntry, RoleEntry};
use crate::primitives::{RoleName, SPEC_VERSION, Time};
use crate::signing::{Draft, VerifyError, from_one};
/// Drafts documents of the targets family. Each takes the next number of the serial, and gets an
/// entry in the index.
#[derive(Debug)]
pub(crate) struct Drafting<'a> {
    /// The new documents' versions begin above this number.
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
    /// Begins a new index with the document of `targets`, whose version is `first + 1`, and returns
    /// that document too. If it is split, the caller must add the documents below it next.
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

    /// Drafts these roles' documents. A delegating role must come before the roles to which it
    /// delegates.
    pub fn add(
        &mut self,
        documents: Vec<(RoleName, Listed)>,
    ) -> Result<Vec<AddressedDraft>, GenerationError> {
        documents.into_iter().map(|(role, listed)| self.draft(role, listed)).collect()
    }

    fn draft(&mut self, role: RoleName, listed: Listed) -> Result<AddressedDraft, GenerationError> {
        self.serial += 1;
        let splits = listed.is_split
            && self.index.entry(&role).is_none_or(|entry: &IndexEntry| entry.bins.is_none());
        let (draft, entry) =
            make(&role, listed, self.serial, self.expires, &self.bins_keys, self.parties)?;
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

/// A document of `targets` that delegates to bins, which any key of `bins_keys` may sign, and to no
/// other role.
///
/// # Errors
/// [`VerifyError::Unreadable`] for version 0, or for a key without a canonical form, which never
/// happens in practice.
pub fn targets_document(
    version: u64,
    expires: Time,
    bins_keys: &[Key],
) -> Result<Draft<Targets>, VerifyError> {
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
    let mut document =
        Targets::new(SPEC_VERSION.into(), from_one(&role, "version", version)?, expires);
    // Some clients refuse an empty `delegations`, which tough writes unless this is `None`.
    document.delegations = delegations;
    document.targets = targets;
    Ok(Draft::new(role, document))
}
