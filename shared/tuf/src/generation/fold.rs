//! Folds a batch of changes into the next generation, one document at a time. So the caller decides
//! how many documents are in memory at once, however large the batch or the repository is.

use super::bins_keys::BinsKeys;
use super::drafting::Drafting;
use super::edit::{Edit, TargetEdit};
use super::error::GenerationError;
use super::listed;
use super::listed::Listed;
use super::manifest::{Applied, MANIFEST_FORMAT, Manifest, Outcome};
use super::policy::Policy;
use super::removals::count_removals;
use crate::delegations::{Parties, Party, PartyChange, PartyState};
use crate::layout::same_content;
use crate::layout::{Addressed, AddressedDraft, Index, Page, RoleEntry, trie};
use crate::primitives::{Rejection, RejectionCode, RoleName, Sha256, TargetName, after};
use crate::signing::Draft;
use std::collections::{BTreeMap, BTreeSet};
use tough::schema::{Target, Targets};

/// A generation that is not yet stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Next {
    /// The record of the generation, to be stored last.
    pub manifest: Manifest,
    /// The changed pages of the index, which the caller stores before the manifest.
    pub pages: Vec<Addressed<Page>>,
}

/// The outcome of an edit.
#[derive(Debug, Clone)]
enum Became {
    /// The target is now as the edit says.
    Done {
        /// Whether it was different before.
        changed: bool,
    },
    /// The upload was rejected.
    Rejected(Rejection),
    /// The name belongs to the party with this role.
    Delegated(RoleName),
}

/// An edit that was applied to a document.
struct AppliedEdit<'a> {
    /// Its position among all edits.
    number: usize,
    edit: &'a TargetEdit,
    /// The target before the edit.
    before: Option<Target>,
}

/// What a generation records about other parties.
#[derive(Debug, Clone, Default)]
pub struct Others {
    /// The parties, with their names and documents.
    pub parties: Parties,
    /// The digest of the record of the parties; `None` before the first delegation.
    pub digest: Option<Sha256>,
    /// How many decisions of operators it includes.
    pub decisions: u64,
    /// The decisions that this generation counts but does not carry out.
    pub waived: BTreeSet<u64>,
    /// The changes that this generation makes to parties, by role.
    pub changes: BTreeMap<RoleName, PartyChange>,
}

/// A batch that is being folded into generation `base + 1`.
///
/// *Invariants*: every changed document takes the next number of the serial for itself; no role
/// leaves the index; an unchanged document keeps its version and bytes; a drafted document lists
/// nothing that clients read differently.
#[derive(Debug)]
pub struct Folding<'a> {
    base: &'a Manifest,
    generation: u64,
    policy: Policy,
    edits: &'a [TargetEdit],
    renew: &'a BTreeSet<RoleName>,
    bins: BinsKeys,
    others: &'a Others,
    /// The roles whose documents are still wanted, with the edits to each and the edits' positions.
    due: BTreeMap<RoleName, Vec<(usize, &'a TargetEdit)>>,
    /// The outcomes known so far, by the edits' positions.
    outcomes: BTreeMap<usize, Became>,
    /// The targets that are removed without an edit, and why.
    dropped: BTreeMap<TargetName, Rejection>,
    drafting: Drafting<'a>,
    targets: u64,
    removed: u64,
}

impl<'a> Folding<'a> {
    /// Begins with `edits` in their order, and with the roles `renew`, which are drafted again even
    /// if nothing in them changes (`snapshot` among them requests a new snapshot). `index` is the
    /// base's, with the pages on the way to all these places. If `bins` differs from the base's
    /// keys, `renew` must contain all delegating roles. If `others` changes what `targets`
    /// delegates, `renew` must contain `targets`.
    ///
    /// # Errors
    /// [`GenerationError::Unread`] if `index` lacks a page.
    pub fn new(
        base: &'a Manifest,
        index: Index,
        edits: &'a [TargetEdit],
        renew: &'a BTreeSet<RoleName>,
        bins: BinsKeys,
        others: &'a Others,
        policy: Policy,
    ) -> Result<Self, GenerationError> {
        let mut due: BTreeMap<RoleName, Vec<(usize, &TargetEdit)>> = BTreeMap::new();
        let mut outcomes = BTreeMap::new();
        for (number, edit) in edits.iter().enumerate() {
            if let Some((role, party)) = others.parties.owner(&edit.name) {
                outcomes.insert(number, anothers(edit, role, party));
                continue;
            }
            let leaf = index.leaf(&edit.name).map_err(|(role, _)| GenerationError::Unread(role))?;
            due.entry(leaf).or_default().push((number, edit));
        }
        for role in renew.iter().filter(|role| **role != RoleName::snapshot()) {
            due.entry(role.clone()).or_default();
        }
        let expires = after(policy.now, policy.recorded.targets_seconds);
        let (bins_keys, parties, first) = (bins.listed(), &others.parties, base.serial);
        let drafting = Drafting {
            first,
            serial: first,
            index,
            changed: BTreeMap::new(),
            expires,
            bins_keys,
            parties,
        };
        Ok(Self {
            base,
            generation: base.generation + 1,
            policy,
            edits,
            renew,
            bins,
            others,
            due,
            outcomes,
            dropped: BTreeMap::new(),
            drafting,
            targets: base.targets,
            removed: 0,
        })
    }

    /// Changes the generation's number, and lets its documents' versions begin above `first`. A
    /// caller needs this if generations after the base are void, or if somebody else took numbers.
    /// Call it before the first document is given.
    #[must_use]
    pub fn numbered(mut self, generation: u64, first: u64) -> Self {
        self.generation = generation;
        (self.drafting.first, self.drafting.serial) = (first, first);
        self
    }

    /// The documents to give to [`Folding::fold`], in any order: their roles, and their entries in
    /// the base's index.
    ///
    /// # Errors
    /// [`GenerationError::Missing`] for a role to renew that doesn't exist.
    pub fn wanted(&self) -> Result<Vec<(RoleName, RoleEntry)>, GenerationError> {
        let entry = |role: &RoleName| {
            let entry = self
                .drafting
                .index
                .entry(role)
                .ok_or_else(|| GenerationError::Missing(role.clone()))?;
            Ok((role.clone(), entry.document.clone()))
        };
        self.due.keys().map(entry).collect()
    }

    /// Applies the edits to a role's document. Returns the resulting documents, which the caller
    /// stores.
    ///
    /// # Errors
    /// [`GenerationError`], for example for a document that is not wanted.
    pub fn fold(
        &mut self,
        document: &Draft<Targets>,
    ) -> Result<Vec<AddressedDraft>, GenerationError> {
        let role = document.role();
        let edits = self.due.remove(role).ok_or_else(|| GenerationError::Unasked(role.clone()))?;
        let mut listed = Listed::of(document.document());
        let mut dropped = listed.drop_unalike(role)?;
        // An earlier generation may have counted too few targets. That must not stop this one.
        self.targets = self.targets.saturating_sub(dropped.len() as u64);
        let any_dropped = !dropped.is_empty();
        let mut applied: Vec<AppliedEdit<'_>> = Vec::with_capacity(edits.len());
        for (number, edit) in edits {
            let before = listed.put(&edit.name, edit.edit.content())?;
            applied.push(AppliedEdit { number, edit, before });
            dropped.remove(&edit.name);
        }
        let refused = self.refuse_what_overflows(role, &mut listed, &applied)?;

        let mut changed = self.renew.contains(role) || any_dropped;
        for AppliedEdit { number, edit, before } in applied {
            if refused.contains(&number) {
                self.outcomes.insert(number, Became::Rejected(full(&edit.name)));
                continue;
            }
            let (before, content) = (before.as_ref(), edit.edit.content());
            match (before.is_some(), content.is_some()) {
                (false, true) => self.targets += 1,
                (true, false) => {
                    self.targets = self.targets.saturating_sub(1);
                    self.removed += u64::from(edit.edit == Edit::Remove);
                }
                _ => {}
            }
            let differs = !same_content(before, content);
            changed |= differs;
            self.outcomes.insert(number, Became::Done { changed: differs });
        }
        self.dropped.extend(dropped);
        if !changed {
            return Ok(Vec::new());
        }
        self.drafting.add(listed.split_if_large(role.clone(), &self.policy)?)
    }

    /// Undoes the last uploads to bins that would be too large and can't be split. That happens
    /// only if somebody chose names whose digests begin with the same digits. Returns the positions
    /// of the refused edits.
    fn refuse_what_overflows(
        &self,
        role: &RoleName,
        listed: &mut Listed,
        applied: &[AppliedEdit<'_>],
    ) -> Result<BTreeSet<usize>, GenerationError> {
        let mut overfull = listed.overfull(role, &self.policy)?;
        let mut refused = BTreeSet::new();
        if overfull.is_empty() {
            return Ok(refused);
        }
        for AppliedEdit { number, edit: TargetEdit { name, edit, .. }, before } in
            applied.iter().rev()
        {
            let prefix = listed::deepest(role, &trie::digits(name), &self.policy);
            let size = overfull.get_mut(&prefix).filter(|size| !size.fits(&self.policy));
            // A removal makes no bin larger, and no upload is undone once its bin has room.
            if let (Edit::Set(_), Some(size)) = (edit, size) {
                listed.restore(name, before.clone(), size)?;
                refused.insert(*number);
            }
        }
        Ok(refused)
    }

    /// Takes a number from the serial for a document that others will sign. Call it before the
    /// first document is given.
    pub fn reserve(&mut self) -> u64 {
        self.drafting.serial += 1;
        self.drafting.first = self.drafting.serial;
        self.drafting.serial
    }

    /// Takes in a document of `targets` that people signed, under a number that
    /// [`Folding::reserve`] returned earlier.
    ///
    /// # Errors
    /// [`GenerationError::Document`], never in practice.
    pub fn adopt(&mut self, draft: &AddressedDraft) -> Result<(), GenerationError> {
        let (role, document) = (RoleName::targets(), draft.record().document());
        let entry = RoleEntry {
            version: document.version.get(),
            draft: draft.digest(),
            expires: document.expires,
        };
        self.drafting.index.set(&role, entry.clone())?;
        self.drafting.changed.insert(role, entry);
        Ok(())
    }

    /// The generation, after all wanted documents were given.
    ///
    /// # Errors
    /// [`GenerationError::Missing`] if one was not given, [`GenerationError::TooManyRemovals`] if
    /// the batch exceeds the limit.
    pub fn finish(self) -> Result<Next, GenerationError> {
        if let Some(role) = self.due.keys().next() {
            return Err(GenerationError::Missing(role.clone()));
        }
        let (base, now) = (self.base, self.policy.now);
        let removals = count_removals(base, &self.policy, self.removed, self.targets)?;
        let mut outcomes = self.outcomes;
        let changes = self.edits.iter().enumerate().map(|(number, edit)| {
            let became = outcomes.remove(&number);
            let became = became.ok_or_else(|| {
                GenerationError::Impossible(format!("{} has no outcome", edit.name))
            })?;
            let (changed, outcome) = match (became, &edit.edit) {
                (Became::Rejected(rejection), _) => (false, Outcome::Rejected(rejection)),
                (Became::Delegated(role), _) => (false, Outcome::Delegated(role)),
                (Became::Done { changed }, Edit::Set(content)) => {
                    (changed, Outcome::Set(content.clone()))
                }
                (Became::Done { changed }, Edit::Remove) => (changed, Outcome::Removed),
            };
            let uploaded = edit.uploaded.filter(|_| changed);
            Ok(Applied {
                name: edit.name.clone(),
                version: edit.version.clone(),
                uploaded,
                outcome,
            })
        });
        let dropped = self.dropped.into_iter().map(|(name, rejection)| {
            let outcome = Outcome::Rejected(rejection);
            Ok(Applied { name, version: None, uploaded: None, outcome })
        });
        let changes = changes.chain(dropped).collect::<Result<_, GenerationError>>()?;
        let Drafting { first, serial, index, changed, .. } = self.drafting;
        let (top, pages) = index.finish()?;
        let recorded = self.policy.recorded;
        let manifest = Manifest {
            format: MANIFEST_FORMAT,
            generation: self.generation,
            base: base.generation,
            created: now,
            policy: recorded,
            first,
            serial,
            timestamp_above: base.timestamp_above,
            targets: self.targets,
            bins_key: self.bins.signing,
            old_bins_key: self.bins.old,
            top,
            changed,
            parties: self.others.digest,
            decisions: self.others.decisions,
            waived: self.others.waived.clone(),
            party_changes: self.others.changes.clone(),
            renew_snapshot: self.renew.contains(&RoleName::snapshot()),
            snapshot_expires: after(now, recorded.snapshot_seconds),
            changes,
            removals,
        };
        Ok(Next { manifest, pages })
    }
}

/// The outcome of an edit under another party's name.
fn anothers(edit: &TargetEdit, role: &RoleName, party: &Party) -> Became {
    if party.state != PartyState::Removed || !matches!(edit.edit, Edit::Set(_)) {
        return Became::Delegated(role.clone());
    }
    let reason = format!(
        "{} rejected: its name was delegated to {role}, which was removed; run `tufline delegation \
         remove {role} --release` to publish such names yourself",
        edit.name
    );
    Became::Rejected(Rejection::new(RejectionCode::Delegation, reason))
}

fn full(name: &TargetName) -> Rejection {
    let reason = format!(
        "{name} rejected: its bin is full, and can't be split, since the SHA-256 of all its names \
         begins alike; choose another name, or remove some of the other targets"
    );
    Rejection::new(RejectionCode::BinFull, reason)
}
