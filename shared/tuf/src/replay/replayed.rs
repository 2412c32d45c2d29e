//! The replay itself.

use super::chain::{Succession, is_adopted, is_adopted_at};
use super::facts::{ReplayRules, check_bins_keys, check_delegating, check_facts, refused};
use crate::delegations::Parties;
use crate::generation::{
    Applied, DEEPEST_BIN, Fault, Listed, Manifest, Outcome, Policy, Refused, advance, count_removals, targets_document,
    targets_draft,
};
use crate::layout::read_content;
use crate::layout::{Addressed, AddressedDraft, Content, Index, Page, RoleEntry, trie};
use crate::primitives::{RoleName, TargetName, after};
use crate::signing::{Draft, Signed};
use std::collections::{BTreeMap, BTreeSet};
use tough::schema::{Target, Targets};

/// What devices would see changed under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Net {
    /// The version of the upload that brought it, as the manifest says: a hint for where to look.
    pub version: Option<String>,
    /// What the target has then; `None` where there is none any more.
    pub content: Option<Content>,
}

/// A document that devices would see.
#[derive(Debug, Clone)]
pub struct Replayed {
    /// What must be signed.
    pub draft: AddressedDraft,
    /// Which of the generations that wait made it, counted from 0: that one says whose signature counts.
    pub by: usize,
}

/// A replay on its way.
#[derive(Debug)]
pub struct Replay<'a> {
    chain: Succession<'a>,
    index: Index,
    /// The published documents that must still be given.
    due: BTreeSet<RoleName>,
    /// The changes of each generation, by the published documents in which their names stand.
    edits: Vec<BTreeMap<RoleName, Vec<&'a Applied>>>,
    /// What each generation drafts, by the role that is changed or split: in this order they take their numbers.
    drafted: Vec<BTreeMap<RoleName, Vec<RoleName>>>,
    counts: Vec<Counts>,
    /// The newest entry of each role that changes, and whether it is split here.
    entries: BTreeMap<RoleName, (RoleEntry, bool)>,
    /// The document of `targets` that people signed, if the candidate's is one.
    adopted: Option<usize>,
    net: BTreeMap<TargetName, Net>,
}

/// What devices see under the names that are changed, and the version of the upload that changed each last.
type Befores<'a> = BTreeMap<&'a TargetName, (Option<Target>, Option<&'a str>)>;

/// How many targets a generation adds and removes.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    added: u64,
    removed: u64,
    /// Those that leave because clients don't read them alike: nobody removed them.
    dropped: u64,
}

impl<'a> Replay<'a> {
    /// Checks what can be checked of the generations without any document. `index` is that of the published one, with the pages on the way to
    /// [`places`].
    ///
    /// # Errors
    /// [`Refused`], for the first generation that doesn't follow.
    pub fn open(chain: Succession<'a>, index: Index, rules: ReplayRules<'_>) -> Result<Self, Refused> {
        let mut replay = Self {
            chain,
            index,
            due: BTreeSet::new(),
            edits: Vec::new(),
            drafted: Vec::new(),
            counts: Vec::new(),
            entries: BTreeMap::new(),
            adopted: None,
            net: BTreeMap::new(),
        };
        let (mut before, mut before_parties, mut versions) = (chain.published, chain.parties, chain.versions.clone());
        for (number, (manifest, parties)) in chain.waiting.iter().enumerate() {
            let void = |why: String| refused(manifest, Fault::Void, &why);
            check_facts(before, manifest, rules)?;
            check_bins_keys(before, manifest, &versions, rules.bins_keys).map_err(void)?;
            check_delegating(before, before_parties, manifest, parties).map_err(void)?;
            let adopted = is_adopted(before, manifest);
            if adopted {
                if !rules.offline_targets {
                    return Err(void("it takes in a targets document that it didn't draft".into()));
                }
                replay.adopted = Some(number);
            } else if manifest.changed.contains_key(&RoleName::targets()) {
                if rules.offline_targets {
                    // While a new configuration is deployed an honest one may.
                    return Err(refused(manifest, Fault::Policy, "it drafts targets, which people sign"));
                }
                replay.adopted = None;
            }
            let edits = replay.sort(manifest, parties, adopted).map_err(void)?;
            replay.edits.push(edits);
            replay.drafted.push(BTreeMap::new());
            replay.counts.push(Counts::default());
            advance(&mut versions, manifest);
            (before, before_parties) = (manifest, parties);
        }
        Ok(replay)
    }

    /// Puts the changes of a generation to the published documents in which their names stand. Documents that no generation drafts are not
    /// asked for: whatever is said of them changes nothing.
    fn sort(
        &mut self,
        manifest: &'a Manifest,
        parties: &Parties,
        adopted: bool,
    ) -> Result<BTreeMap<RoleName, Vec<&'a Applied>>, String> {
        let unread = |(role, _)| format!("the page of the bins below {role} was not read");
        let (mut edits, mut met) = (BTreeMap::<RoleName, Vec<&Applied>>::new(), BTreeSet::new());
        for change in &manifest.changes {
            if !met.insert(&change.name) {
                return Err(format!("it changes {} twice", change.name));
            }
            match (&change.outcome, parties.owner(&change.name)) {
                // These change nothing.
                (Outcome::Rejected(_) | Outcome::Delegated(_), _) => continue,
                (_, Some((party, _))) => return Err(format!("it changes {}, which is a name of {party}", change.name)),
                (Outcome::Set(_) | Outcome::Removed, None) => {}
            }
            let leaf = self.index.leaf(&change.name).map_err(unread)?;
            edits.entry(leaf).or_default().push(change);
        }
        for role in manifest.changed.keys() {
            if trie::prefix(role).is_none() {
                return Err(format!("it drafts {role}, which is no role of the trie"));
            }
            if adopted && *role == RoleName::targets() {
                continue;
            }
            let known = trie::nearest(role, |role| self.index.entry(role).is_some());
            self.due.insert(known.ok_or_else(|| format!("it drafts {role}, and there is nothing above it"))?);
        }
        Ok(edits)
    }

    /// The published documents to give to [`Replay::fold`], in any order: their roles, and their entries.
    #[must_use]
    pub fn wanted(&self) -> Vec<(RoleName, RoleEntry)> {
        let wanted = |role: &RoleName| Some((role.clone(), self.index.entry(role)?.document.clone()));
        self.due.iter().filter_map(wanted).collect()
    }

    /// Folds the changes of all generations into a published document; answers what devices would see in its place, in any order.
    ///
    /// *Invariant* for the caller: the document is the one whose digest is in the entry of [`Replay::wanted`].
    ///
    /// # Errors
    /// [`Refused`], for the first generation that drafted something else.
    pub fn fold(&mut self, document: &Draft<Targets>) -> Result<Vec<Replayed>, Refused> {
        let home = document.role();
        if !self.due.remove(home) {
            return Ok(Vec::new());
        }
        let mut documents = BTreeMap::from([(home.clone(), Listed::of(document.document()))]);
        let mut drafted: BTreeMap<RoleName, usize> = BTreeMap::new();
        let mut befores = Befores::new();
        for number in 0..self.chain.waiting.len() {
            let step = self.step(number, home, &mut documents, &mut befores);
            for role in step.map_err(|why| self.void(number, &why))? {
                drafted.insert(role, number);
            }
        }
        self.note_net(home, &documents, befores);
        let mut found = Vec::with_capacity(drafted.len());
        for (role, by) in drafted {
            let Some(listed) = documents.remove(&role) else { continue };
            found.push(self.document(role, listed, by)?);
        }
        Ok(found)
    }

    /// One generation's part in the documents of one published role; answers what it drafts there.
    fn step(
        &mut self,
        number: usize,
        home: &RoleName,
        documents: &mut BTreeMap<RoleName, Listed>,
        befores: &mut Befores<'a>,
    ) -> Result<Vec<RoleName>, String> {
        let Some((manifest, _)) = self.chain.waiting.get(number) else { return Ok(Vec::new()) };
        let policy =
            Policy { recorded: manifest.policy, deepest_bin: DEEPEST_BIN, removals: None, now: manifest.created };
        let mut due: BTreeMap<RoleName, Vec<&Applied>> = BTreeMap::new();
        let edits = self.edits.get_mut(number).and_then(|edits| edits.remove(home)).unwrap_or_default();
        for edit in edits {
            due.entry(leaf_below(home, &edit.name, documents)).or_default().push(edit);
        }
        let adopted = is_adopted_at(&self.chain, number);
        for role in documents.keys().filter(|role| manifest.changed.contains_key(*role)) {
            if !(adopted && *role == RoleName::targets()) {
                due.entry(role.clone()).or_default();
            }
        }
        let (mut all, mut counts) = (Vec::new(), Counts::default());
        for (role, edits) in due {
            let Some(listed) = documents.get_mut(&role) else { continue };
            let mut differs = false;
            if manifest.changed.contains_key(&role) {
                counts.dropped += listed.drop_unalike().len() as u64;
            }
            for edit in edits {
                let content = if let Outcome::Set(content) = &edit.outcome { Some(content) } else { None };
                let before = listed.put(&edit.name, content);
                differs |= before.as_ref().map(read_content).as_ref() != content;
                counts.added += u64::from(before.is_none() && content.is_some());
                counts.removed += u64::from(before.is_some() && content.is_none());
                befores.entry(&edit.name).or_insert((before, None)).1 = edit.version.as_deref();
            }
            if !manifest.changed.contains_key(&role) {
                if differs {
                    return Err(format!("it changes targets of {role}, and doesn't draft it"));
                }
                continue;
            }
            if !listed.overfull(&role, &policy).map_err(|error| error.to_string())?.is_empty() {
                return Err(format!("{role} would list more than one bin may"));
            }
            let listed = documents.remove(&role).unwrap_or_default();
            let split = listed.split_if_large(role.clone(), &policy).map_err(|error| error.to_string())?;
            let drafted: Vec<RoleName> = split.iter().map(|(role, _)| role.clone()).collect();
            if let Some(missing) = drafted.iter().find(|role| !manifest.changed.contains_key(*role)) {
                return Err(format!("it splits {role}, and doesn't draft {missing}"));
            }
            documents.extend(split);
            all.extend(drafted.iter().cloned());
            if let Some(order) = self.drafted.get_mut(number) {
                order.insert(role, drafted);
            }
        }
        if let Some(sum) = self.counts.get_mut(number) {
            sum.added += counts.added;
            sum.removed += counts.removed;
            sum.dropped += counts.dropped;
        }
        Ok(all)
    }

    /// Takes note of what devices would see changed.
    fn note_net(&mut self, home: &RoleName, documents: &BTreeMap<RoleName, Listed>, befores: Befores<'a>) {
        for (name, (before, version)) in befores {
            let Ok(key) = tough::TargetName::new(name.as_str()) else { continue };
            let after = documents.get(&leaf_below(home, name, documents)).and_then(|listed| listed.targets.get(&key));
            if before.as_ref() != after {
                let (version, content) = (version.map(str::to_owned), after.map(read_content));
                self.net.insert(name.clone(), Net { version, content });
            }
        }
    }

    /// The document of `role`, which the generation `by` drafted.
    fn document(&mut self, role: RoleName, listed: Listed, by: usize) -> Result<Replayed, Refused> {
        let Some((manifest, parties)) = self.chain.waiting.get(by) else { return Err(self.void(by, "there is none")) };
        let void = |why: &str| refused(manifest, Fault::Void, why);
        let Some(entry) = manifest.changed.get(&role) else { return Err(void("a document is missing")) };
        let delegations = parties.delegations(&role, listed.is_split, &manifest.bins_keys().listed());
        let delegations = delegations.map_err(|error| void(&error.to_string()))?;
        let expires = after(manifest.created, manifest.policy.targets_seconds);
        let splits = listed.is_split && self.index.entry(&role).is_none_or(|entry| entry.bins.is_none());
        let draft = targets_draft(role.clone(), entry.version, expires, listed.targets, delegations);
        let draft = AddressedDraft::try_from(draft).map_err(|error| void(&error.to_string()))?;
        if draft.digest() != entry.draft {
            return Err(void(&format!("its document of {role} is not what its changes make")));
        }
        self.entries.insert(role, (entry.clone(), splits));
        Ok(Replayed { draft, by })
    }

    /// The version of the document of `targets` that people signed, if the candidate has one that is new: to give to [`Replay::adopt`].
    #[must_use]
    pub fn wanted_adopted(&self) -> Option<u64> {
        let (manifest, _) = self.chain.waiting.get(self.adopted?)?;
        manifest.changed.get(&RoleName::targets()).map(|entry| entry.version)
    }

    /// Takes the document of `targets` that people signed.
    ///
    /// # Errors
    /// [`Refused`] where it isn't the one that the generation means, or says more than that there are bins.
    pub fn adopt(&mut self, signed: &Signed<Targets>) -> Result<(), Refused> {
        let Some(by) = self.adopted.take() else { return Ok(()) };
        let Some((manifest, _)) = self.chain.waiting.get(by) else { return Err(self.void(by, "there is none")) };
        let void = |why: &str| refused(manifest, Fault::Void, why);
        let (role, found) = (RoleName::targets(), signed.document());
        let due = targets_document(signed.version(), found.expires, &manifest.bins_keys().listed());
        let due = due.and_then(AddressedDraft::try_from).map_err(|error| void(&error.to_string()))?;
        let expected = RoleEntry { version: signed.version(), draft: due.digest(), expires: found.expires };
        if due.record().document() != found || manifest.changed.get(&role) != Some(&expected) {
            return Err(void("the targets document that people signed is not the one that it takes in"));
        }
        let is_split = self.index.entry(&role).is_some_and(|entry| entry.bins.is_some());
        if !is_split {
            return Err(void("people sign targets, which lists targets itself"));
        }
        self.entries.insert(role, (expected, false));
        Ok(())
    }

    /// What devices would see changed, once every document was given.
    #[must_use]
    pub fn net(&self) -> &BTreeMap<TargetName, Net> {
        &self.net
    }

    /// Checks what needs all documents: numbers, counts, and the candidate's index. Answers the pages that this must have in the ledger.
    ///
    /// # Errors
    /// [`Refused`], for the first generation that doesn't follow.
    pub fn finish(mut self) -> Result<Vec<Addressed<Page>>, Refused> {
        if let Some(role) = self.due.first() {
            return Err(self.void(0, &format!("the document of {role} was not given")));
        }
        let mut before = self.chain.published;
        for (number, (manifest, _)) in self.chain.waiting.iter().enumerate() {
            let void = |why: &str| refused(manifest, Fault::Void, why);
            let order = self.drafted.get(number).into_iter().flat_map(BTreeMap::values).flatten();
            let (mut version, expires) = (manifest.first, after(manifest.created, manifest.policy.targets_seconds));
            for role in order {
                version += 1;
                let entry = manifest.changed.get(role);
                if entry.is_none_or(|entry| entry.version != version || entry.expires != expires) {
                    return Err(void(&format!(
                        "its document of {role} has a version or an expiry that is not its own"
                    )));
                }
            }
            let drafted = manifest.changed.len() - usize::from(is_adopted(before, manifest));
            if version != manifest.serial || version - manifest.first != drafted as u64 {
                return Err(void("it drafts what its changes don't ask for"));
            }
            let Counts { added, removed, dropped } = self.counts.get(number).copied().unwrap_or_default();
            let left = (before.targets + added).saturating_sub(removed + dropped);
            let policy =
                Policy { recorded: manifest.policy, deepest_bin: DEEPEST_BIN, removals: None, now: manifest.created };
            let window = count_removals(before, &policy, removed, left).map_err(|error| void(&error.to_string()))?;
            if left != manifest.targets || window != manifest.removals {
                return Err(void("it counts its targets otherwise than its changes do"));
            }
            before = manifest;
        }
        let mut entries: Vec<_> = std::mem::take(&mut self.entries).into_iter().collect();
        entries.sort_by_key(|(role, _)| trie::depth(role));
        for (role, (entry, splits)) in entries {
            self.index.set(&role, entry);
            if splits {
                self.index.split(&role);
            }
        }
        let candidate = self.chain.waiting.last().map_or(self.chain.published, |(manifest, _)| *manifest);
        let (top, pages) = self.index.finish().map_err(|error| refused(candidate, Fault::Void, &error.to_string()))?;
        if top != candidate.top {
            return Err(refused(candidate, Fault::Void, "its index says something else than its documents"));
        }
        Ok(pages)
    }

    fn void(&self, number: usize, why: &str) -> Refused {
        let manifest = self.chain.waiting.get(number).map_or(self.chain.published, |(manifest, _)| *manifest);
        refused(manifest, Fault::Void, why)
    }
}

/// The role in which `name` stands among `documents`, which are `home` and what it was split into.
fn leaf_below(home: &RoleName, name: &TargetName, documents: &BTreeMap<RoleName, Listed>) -> RoleName {
    let (digits, mut found) = (trie::digits(name), home.clone());
    for length in trie::depth(home) + 1..=digits.len() {
        match digits.get(..length).and_then(trie::bin).filter(|deeper| documents.contains_key(deeper)) {
            Some(deeper) => found = deeper,
            None => break,
        }
    }
    found
}
