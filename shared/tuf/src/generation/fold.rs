//! Folding a batch of changes into the next generation, one document at a time: what is in memory at once is the caller's
//! choice, not the size of the batch or of the repository.

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

/// A generation that is not stored yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Next {
    /// Its record.
    pub manifest: Manifest,
    /// The pages of the index that it changes: to be stored before the manifest.
    pub pages: Vec<Addressed<Page>>,
}

/// What became of an edit.
#[derive(Debug, Clone)]
enum Became {
    /// Its target is as it says.
    Done {
        /// Whether it was not before.
        changed: bool,
    },
    /// It was rejected.
    Rejected(Rejection),
    /// The name is of this party's.
    Delegated(RoleName),
}

/// An edit that was made in a document.
struct AppliedEdit<'a> {
    /// Its place among all edits.
    number: usize,
    edit: &'a TargetEdit,
    /// What its target was before.
    before: Option<Target>,
}

/// What a generation says of other parties.
#[derive(Debug, Clone, Default)]
pub struct Others {
    /// All that is delegated to them.
    pub parties: Parties,
    /// The digest of the same; `None` before the first delegation.
    pub digest: Option<Sha256>,
    /// So many decisions of operators are in it.
    pub decisions: u64,
    /// Those that this generation counts and doesn't carry out.
    pub waived: BTreeSet<u64>,
    /// What changes with this generation.
    pub changes: BTreeMap<RoleName, PartyChange>,
}

/// A batch on its way into generation `base + 1`.
///
/// *Invariants*: every changed document takes its own next number from the serial; no role leaves the index; a document
/// that does not change keeps its version and bytes; what is drafted lists nothing that clients don't read alike.
#[derive(Debug)]
pub struct Folding<'a> {
    base: &'a Manifest,
    generation: u64,
    policy: Policy,
    edits: &'a [TargetEdit],
    renew: &'a BTreeSet<RoleName>,
    bins: BinsKeys,
    others: &'a Others,
    /// The roles that must still be given, with the edits to each, and their places among all.
    due: BTreeMap<RoleName, Vec<(usize, &'a TargetEdit)>>,
    /// What became of the edits, by their places, as far as that is known.
    outcomes: BTreeMap<usize, Became>,
    /// The targets that leave the documents though no edit says so, and why.
    dropped: BTreeMap<TargetName, Rejection>,
    drafting: Drafting<'a>,
    targets: u64,
    removed: u64,
}

impl<'a> Folding<'a> {
    /// Begins with `edits`, in the order in which they came, and with roles to draft anew though nothing in them changes
    /// (`snapshot` among these asks for a new snapshot). `index` is the base's, with the pages on the way to all of them. Where
    /// `bins` are other keys than the base's, all delegating roles must be among those to draft anew; `targets` where `others` are
    /// listed otherwise than in the base.
    ///
    /// # Errors
    /// [`GenerationError::Unread`] where `index` lacks a page.
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
        let drafting = Drafting { first, serial: first, index, changed: BTreeMap::new(), expires, bins_keys, parties };
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

    /// Numbers the generation otherwise than directly after its base, and its documents from above `first`: where generations in
    /// between are void, or others took numbers. To be said before the first document is given.
    #[must_use]
    pub fn numbered(mut self, generation: u64, first: u64) -> Self {
        self.generation = generation;
        (self.drafting.first, self.drafting.serial) = (first, first);
        self
    }

    /// The documents to give to [`Folding::fold`], in any order: their roles, and their entries as the base has them.
    ///
    /// # Errors
    /// [`GenerationError::Missing`] for a role to renew that there isn't.
    pub fn wanted(&self) -> Result<Vec<(RoleName, RoleEntry)>, GenerationError> {
        let entry = |role: &RoleName| {
            let entry = self.drafting.index.entry(role).ok_or_else(|| GenerationError::Missing(role.clone()))?;
            Ok((role.clone(), entry.document.clone()))
        };
        self.due.keys().map(entry).collect()
    }

    /// Applies the changes to a role's document; answers the documents that come of it, to be stored.
    ///
    /// # Errors
    /// [`GenerationError`].
    pub fn fold(&mut self, document: &Draft<Targets>) -> Result<Vec<AddressedDraft>, GenerationError> {
        let role = document.role();
        let edits = self.due.remove(role).ok_or_else(|| GenerationError::Unasked(role.clone()))?;
        let mut listed = Listed::of(document.document());
        let mut dropped = listed.drop_unalike(role)?;
        // A count may only be too small where a generation before counted wrongly, and that must hold up no other.
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

    /// Takes back the last uploads to bins that would be too large and can't be split: somebody named them so that their
    /// digests begin with the same digits. Answers which edits.
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
        for AppliedEdit { number, edit: TargetEdit { name, edit, .. }, before } in applied.iter().rev() {
            let prefix = listed::deepest(role, &trie::digits(name), &self.policy);
            let size = overfull.get_mut(&prefix).filter(|size| !size.fits(&self.policy));
            // A removal makes no bin larger, and what is in a bin with room stays.
            if let (Edit::Set(_), Some(size)) = (edit, size) {
                listed.restore(name, before.clone(), size)?;
                refused.insert(*number);
            }
        }
        Ok(refused)
    }

    /// Takes a number from the serial for a document that is to be signed elsewhere. To be asked before the first document is given.
    pub fn reserve(&mut self) -> u64 {
        self.drafting.serial += 1;
        self.drafting.first = self.drafting.serial;
        self.drafting.serial
    }

    /// Takes in a document of `targets` that was signed elsewhere, under a number that was reserved.
    ///
    /// # Errors
    /// [`GenerationError::Document`], never in practice.
    pub fn adopt(&mut self, draft: &AddressedDraft) -> Result<(), GenerationError> {
        let (role, document) = (RoleName::targets(), draft.record().document());
        let entry = RoleEntry { version: document.version.get(), draft: draft.digest(), expires: document.expires };
        self.drafting.index.set(&role, entry.clone())?;
        self.drafting.changed.insert(role, entry);
        Ok(())
    }

    /// The generation, once every document was given.
    ///
    /// # Errors
    /// [`GenerationError::Missing`] where one was not, [`GenerationError::TooManyRemovals`].
    pub fn finish(self) -> Result<Next, GenerationError> {
        if let Some(role) = self.due.keys().next() {
            return Err(GenerationError::Missing(role.clone()));
        }
        let (base, now) = (self.base, self.policy.now);
        let removals = count_removals(base, &self.policy, self.removed, self.targets)?;
        let mut outcomes = self.outcomes;
        let changes = self.edits.iter().enumerate().map(|(number, edit)| {
            let became = outcomes.remove(&number);
            let became = became.ok_or_else(|| GenerationError::Impossible(format!("{} has no outcome", edit.name)))?;
            let (changed, outcome) = match (became, &edit.edit) {
                (Became::Rejected(rejection), _) => (false, Outcome::Rejected(rejection)),
                (Became::Delegated(role), _) => (false, Outcome::Delegated(role)),
                (Became::Done { changed }, Edit::Set(content)) => (changed, Outcome::Set(content.clone())),
                (Became::Done { changed }, Edit::Remove) => (changed, Outcome::Removed),
            };
            let uploaded = edit.uploaded.filter(|_| changed);
            Ok(Applied { name: edit.name.clone(), version: edit.version.clone(), uploaded, outcome })
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

/// What becomes of an edit under another party's name.
fn anothers(edit: &TargetEdit, role: &RoleName, party: &Party) -> Became {
    if party.state != PartyState::Removed || !matches!(edit.edit, Edit::Set(_)) {
        return Became::Delegated(role.clone());
    }
    let reason = format!(
        "{} refused: its name was delegated to {role}, which was removed; run `tufline delegation remove {role} --release` to publish \
         such names yourself",
        edit.name
    );
    Became::Rejected(Rejection::new(RejectionCode::Delegation, reason))
}

fn full(name: &TargetName) -> Rejection {
    let reason = format!(
        "{name} refused: SHA-256 of its name begins like that of as many other targets as one bin may list; choose another \
         name, or remove some of those"
    );
    Rejection::new(RejectionCode::BinFull, reason)
}
