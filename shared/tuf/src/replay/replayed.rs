//! Replays the waiting generations, document by document.

use super::chain::{Succession, is_adopted};
use super::facts::{ReplayRules, check_bins_keys, check_delegating, check_facts, refused};
use crate::delegations::Parties;
use crate::generation::{
    Applied, DEEPEST_BIN, Fault, Listed, Manifest, Outcome, Policy, Refused, advance,
    count_removals, targets_document, targets_draft,
};
use crate::layout::{
    Addressed, AddressedDraft, Content, Index, Page, RoleEntry, read_content, same_content, trie,
};
use crate::primitives::{RoleName, TargetName, after};
use crate::signing::{Draft, Signed};
use std::collections::{BTreeMap, BTreeSet};
use tough::schema::{Target, Targets};

/// A change under one name that devices would see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Net {
    /// The version of the upload that made the change, as the manifest says. It is a hint where to
    /// look.
    pub version: Option<String>,
    /// The target's content after the change; `None` if it no longer exists.
    pub content: Option<Content>,
}

/// A document that devices would see.
#[derive(Debug, Clone)]
pub struct Replayed {
    /// The draft that must be signed.
    pub draft: AddressedDraft,
    /// The index, from 0, of the waiting generation that made it. That generation determines whose
    /// signature counts.
    pub by: usize,
}

/// A replay in progress.
#[derive(Debug)]
pub struct Replay<'a> {
    published: &'a Manifest,
    index: Index,
    /// The published documents that are still wanted.
    due: BTreeMap<RoleName, RoleEntry>,
    /// The waiting generations, the oldest first.
    steps: Vec<ReplayStep<'a>>,
    /// The newest entry of each changed role, and whether the replay splits the role.
    entries: BTreeMap<RoleName, (RoleEntry, bool)>,
    /// If the candidate's document of `targets` is a new one that people signed: the generation
    /// that takes it in, and its entry.
    adopted: Option<(&'a Manifest, &'a RoleEntry)>,
    net: BTreeMap<TargetName, Net>,
}

/// One of the waiting generations.
#[derive(Debug)]
struct ReplayStep<'a> {
    manifest: &'a Manifest,
    parties: &'a Parties,
    /// Whether it takes in a document of `targets` that people signed.
    adopted: bool,
    /// Its changes, by the published documents that list their names, or would.
    edits: BTreeMap<RoleName, Vec<&'a Applied>>,
    /// The roles that it drafts, by the role that is changed or split. They take their numbers in
    /// this order.
    drafted: BTreeMap<RoleName, Vec<RoleName>>,
    counts: Counts,
}

/// For each changed name: what devices see now, and the version of the upload that changed it last.
type Befores<'a> = BTreeMap<&'a TargetName, (Option<Target>, Option<&'a str>)>;

/// How many targets a generation adds and removes.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    added: u64,
    removed: u64,
    /// Targets that are removed because clients don't read them alike. Nobody asked for their
    /// removal.
    dropped: u64,
}

impl<'a> Replay<'a> {
    /// Makes all checks of the generations that need no document. `index` is the published one's,
    /// with the pages on the way to [`places`](super::places).
    ///
    /// # Errors
    /// [`Refused`], for the first generation that doesn't follow.
    pub fn open(
        chain: Succession<'a>,
        index: Index,
        rules: ReplayRules<'_>,
    ) -> Result<Self, Refused> {
        let mut replay = Self {
            published: chain.published,
            index,
            due: BTreeMap::new(),
            steps: Vec::with_capacity(chain.waiting.len()),
            entries: BTreeMap::new(),
            adopted: None,
            net: BTreeMap::new(),
        };
        let (mut before, mut before_parties, mut versions) =
            (chain.published, chain.parties, chain.versions.clone());
        for &(manifest, parties) in chain.waiting {
            let void = |why: String| refused(manifest, Fault::Void, &why);
            check_facts(before, manifest, rules)?;
            check_bins_keys(before, manifest, &versions, rules.bins_keys).map_err(void)?;
            check_delegating(before, before_parties, manifest, parties).map_err(void)?;
            let adopted = is_adopted(before, manifest);
            if let Some(targets) = manifest.changed.get(&RoleName::targets()) {
                if adopted && !rules.offline_targets {
                    return Err(void("it takes in a targets document that it didn't draft".into()));
                }
                if !adopted && rules.offline_targets {
                    // An honest generation may do so while a new configuration is deployed.
                    return Err(refused(
                        manifest,
                        Fault::Policy,
                        "it drafts targets, which people sign",
                    ));
                }
                replay.adopted = adopted.then_some((manifest, targets));
            }
            let edits = replay.sort(manifest, parties, adopted).map_err(void)?;
            let (drafted, counts) = (BTreeMap::new(), Counts::default());
            replay.steps.push(ReplayStep { manifest, parties, adopted, edits, drafted, counts });
            advance(&mut versions, manifest);
            (before, before_parties) = (manifest, parties);
        }
        Ok(replay)
    }

    /// Assigns the changes of a generation to the published documents that list their names.
    /// Documents that no generation drafts are not wanted: changes that are assigned to them have
    /// no effect.
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
                // These outcomes change nothing.
                (Outcome::Rejected(_) | Outcome::Delegated(_), _) => continue,
                (_, Some((party, _))) => {
                    return Err(format!("it changes {}, which is a name of {party}", change.name));
                }
                (Outcome::Set(_) | Outcome::Removed, None) => {}
            }
            let leaf = self.index.leaf(&change.name).map_err(unread)?;
            edits.entry(leaf).or_default().push(change);
        }
        for role in manifest.changed.keys() {
            if trie::prefix(role).is_none() {
                return Err(format!("it drafts {role}, which is not a role of the trie"));
            }
            if adopted && *role == RoleName::targets() {
                continue;
            }
            let known = trie::nearest(role, |role| self.index.entry(role).is_some());
            let known = known.and_then(|role| {
                self.index.entry(&role).map(|entry| (role.clone(), &entry.document))
            });
            let (known, entry) =
                known.ok_or_else(|| format!("it drafts {role}, but no role above it exists"))?;
            self.due.insert(known, entry.clone());
        }
        Ok(edits)
    }

    /// The published documents to give to [`Replay::fold`], in any order: their roles and entries.
    #[must_use]
    pub fn wanted(&self) -> Vec<(RoleName, RoleEntry)> {
        self.due.iter().map(|(role, entry)| (role.clone(), entry.clone())).collect()
    }

    /// Folds the changes of all generations into a published document. Returns the documents that
    /// devices would see in its place, in any order. A document that is not wanted, or no longer,
    /// changes nothing: the gate also reads documents that no generation drafts.
    ///
    /// *Invariant* for the caller: the document is the one whose digest is in its entry of
    /// [`Replay::wanted`].
    ///
    /// # Errors
    /// [`Refused`], for the first generation that drafted something else.
    pub fn fold(&mut self, document: &Draft<Targets>) -> Result<Vec<Replayed>, Refused> {
        let home = document.role();
        if self.due.remove(home).is_none() {
            return Ok(Vec::new());
        }
        let mut documents = BTreeMap::from([(home.clone(), Listed::of(document.document()))]);
        let mut drafted: BTreeMap<RoleName, (usize, &Manifest, &Parties)> = BTreeMap::new();
        let mut befores = Befores::new();
        for (number, step) in self.steps.iter_mut().enumerate() {
            let roles = step.apply(home, &mut documents, &mut befores);
            let roles = roles.map_err(|why| refused(step.manifest, Fault::Void, &why))?;
            drafted.extend(
                roles.into_iter().map(|role| (role, (number, step.manifest, step.parties))),
            );
        }
        let candidate = self.candidate();
        self.note_net(home, &documents, befores)
            .map_err(|why| refused(candidate, Fault::Void, &why))?;
        let mut found = Vec::with_capacity(drafted.len());
        for (role, (by, manifest, parties)) in drafted {
            let void = |why: String| refused(manifest, Fault::Void, &why);
            let listed = documents
                .remove(&role)
                .ok_or_else(|| void(format!("it drafts {role}, but doesn't list it")))?;
            found.push(Replayed {
                draft: self.document(role, listed, manifest, parties).map_err(void)?,
                by,
            });
        }
        Ok(found)
    }

    /// Notes the changes that devices would see.
    fn note_net(
        &mut self,
        home: &RoleName,
        documents: &BTreeMap<RoleName, Listed>,
        befores: Befores<'a>,
    ) -> Result<(), String> {
        for (name, (before, version)) in befores {
            let leaf = leaf_below(home, name, documents);
            let listed =
                documents.get(&leaf).ok_or_else(|| format!("{name} has no place below {home}"))?;
            let after = listed.get(name).map_err(|error| error.to_string())?;
            if before.as_ref() != after {
                let content = after.map(|after| {
                    read_content(after).ok_or_else(|| format!("{name} has no SHA-256"))
                });
                let net =
                    Net { version: version.map(str::to_owned), content: content.transpose()? };
                self.net.insert(name.clone(), net);
            }
        }
        Ok(())
    }

    /// The document of `role` as the generation of `manifest` must have drafted it.
    fn document(
        &mut self,
        role: RoleName,
        listed: Listed,
        manifest: &Manifest,
        parties: &Parties,
    ) -> Result<AddressedDraft, String> {
        let entry = manifest
            .changed
            .get(&role)
            .ok_or_else(|| format!("its document of {role} is missing"))?;
        let delegations =
            parties.delegations(&role, listed.is_split, &manifest.bins_keys().listed());
        let delegations = delegations.map_err(|error| error.to_string())?;
        let expires = after(manifest.created, manifest.policy.targets_seconds);
        let splits =
            listed.is_split && self.index.entry(&role).is_none_or(|entry| entry.bins.is_none());
        let draft =
            targets_draft(role.clone(), entry.version, expires, listed.targets, delegations);
        let draft = draft.and_then(AddressedDraft::try_from).map_err(|error| error.to_string())?;
        if draft.digest() != entry.draft {
            return Err(format!("its document of {role} is not what its changes make"));
        }
        self.entries.insert(role, (entry.clone(), splits));
        Ok(draft)
    }

    /// The version of the document of `targets` to give to [`Replay::adopt`], if the candidate has
    /// a new one that people signed.
    #[must_use]
    pub fn wanted_adopted(&self) -> Option<u64> {
        self.adopted.map(|(_, entry)| entry.version)
    }

    /// Takes the document of `targets` that people signed. Does nothing if none is wanted.
    ///
    /// # Errors
    /// [`Refused`] if the generation names another document, or if the document does more than
    /// delegate to bins.
    pub fn adopt(&mut self, signed: &Signed<Targets>) -> Result<(), Refused> {
        let Some((manifest, entry)) = self.adopted.take() else { return Ok(()) };
        let void = |why: &str| refused(manifest, Fault::Void, why);
        let (role, found) = (RoleName::targets(), signed.document());
        let due = targets_document(signed.version(), found.expires, &manifest.bins_keys().listed());
        let due =
            due.and_then(AddressedDraft::try_from).map_err(|error| void(&error.to_string()))?;
        let expected =
            RoleEntry { version: signed.version(), draft: due.digest(), expires: found.expires };
        if due.record().document() != found || *entry != expected {
            return Err(void(
                "the targets document that people signed is not the one that it takes in",
            ));
        }
        let is_split = self.index.entry(&role).is_some_and(|entry| entry.bins.is_some());
        if !is_split {
            return Err(void("people sign the targets role, which lists targets itself"));
        }
        self.entries.insert(role, (expected, false));
        Ok(())
    }

    /// The changes that devices would see, after all wanted documents were given.
    #[must_use]
    pub fn net(&self) -> &BTreeMap<TargetName, Net> {
        &self.net
    }

    /// Makes the checks that need all documents: numbers, counts, and the candidate's index.
    /// Returns the pages that the ledger must have for that index.
    ///
    /// # Errors
    /// [`Refused`], for the first generation that doesn't follow.
    pub fn finish(mut self) -> Result<Vec<Addressed<Page>>, Refused> {
        let candidate = self.candidate();
        if let Some(role) = self.due.keys().next() {
            return Err(refused(
                candidate,
                Fault::Void,
                &format!("the document of {role} was not given"),
            ));
        }
        let mut before = self.published;
        for ReplayStep { manifest, adopted, drafted, counts, .. } in &self.steps {
            let void = |why: &str| refused(manifest, Fault::Void, why);
            let order = drafted.values().flatten();
            let (mut version, expires) =
                (manifest.first, after(manifest.created, manifest.policy.targets_seconds));
            for role in order {
                version += 1;
                let entry = manifest.changed.get(role);
                if entry.is_none_or(|entry| entry.version != version || entry.expires != expires) {
                    return Err(void(&format!(
                        "its document of {role} has a version or an expiry that is not its own"
                    )));
                }
            }
            let drafted = manifest.changed.len() - usize::from(*adopted);
            if version != manifest.serial || version - manifest.first != drafted as u64 {
                return Err(void("it drafts what its changes don't ask for"));
            }
            let Counts { added, removed, dropped } = *counts;
            // The same computation as in `Folding::fold`.
            let left = (before.targets + added).saturating_sub(removed + dropped);
            let policy = Policy {
                recorded: manifest.policy,
                deepest_bin: DEEPEST_BIN,
                removals: None,
                now: manifest.created,
            };
            let window = count_removals(before, &policy, removed, left)
                .map_err(|error| void(&error.to_string()))?;
            if left != manifest.targets || window != manifest.removals {
                return Err(void("its counts of targets are not what its changes make"));
            }
            before = manifest;
        }
        let mut entries: Vec<_> = std::mem::take(&mut self.entries).into_iter().collect();
        entries.sort_by_key(|(role, _)| trie::depth(role));
        for (role, (entry, splits)) in entries {
            self.index
                .set(&role, entry)
                .map_err(|error| refused(candidate, Fault::Void, &error.to_string()))?;
            if splits {
                self.index.split(&role);
            }
        }
        let (top, pages) = self
            .index
            .finish()
            .map_err(|error| refused(candidate, Fault::Void, &error.to_string()))?;
        if top != candidate.top {
            return Err(refused(candidate, Fault::Void, "its index does not match its documents"));
        }
        Ok(pages)
    }

    /// The generation that devices would see; the published one if none waits.
    fn candidate(&self) -> &'a Manifest {
        self.steps.last().map_or(self.published, |step| step.manifest)
    }
}

impl<'a> ReplayStep<'a> {
    /// Applies this generation's changes to the documents of one published role. Returns the roles
    /// that it drafts there.
    fn apply(
        &mut self,
        home: &RoleName,
        documents: &mut BTreeMap<RoleName, Listed>,
        befores: &mut Befores<'a>,
    ) -> Result<Vec<RoleName>, String> {
        let manifest = self.manifest;
        let policy = Policy {
            recorded: manifest.policy,
            deepest_bin: DEEPEST_BIN,
            removals: None,
            now: manifest.created,
        };
        let mut due: BTreeMap<RoleName, Vec<&Applied>> = BTreeMap::new();
        for edit in self.edits.remove(home).into_iter().flatten() {
            due.entry(leaf_below(home, &edit.name, documents)).or_default().push(edit);
        }
        for role in documents.keys().filter(|role| manifest.changed.contains_key(*role)) {
            if !(self.adopted && *role == RoleName::targets()) {
                due.entry(role.clone()).or_default();
            }
        }
        let mut all = Vec::new();
        for (role, edits) in due {
            let mut listed = documents
                .remove(&role)
                .ok_or_else(|| format!("there is no {role} below {home}"))?;
            let is_drafted = manifest.changed.contains_key(&role);
            let mut differs = false;
            if is_drafted {
                let dropped = listed.drop_unalike(&role).map_err(|error| error.to_string())?;
                self.counts.dropped += dropped.len() as u64;
            }
            for edit in edits {
                let content =
                    if let Outcome::Set(content) = &edit.outcome { Some(content) } else { None };
                let before = listed.put(&edit.name, content).map_err(|error| error.to_string())?;
                differs |= !same_content(before.as_ref(), content);
                self.counts.added += u64::from(before.is_none() && content.is_some());
                self.counts.removed += u64::from(before.is_some() && content.is_none());
                befores.entry(&edit.name).or_insert((before, None)).1 = edit.version.as_deref();
            }
            if !is_drafted {
                if differs {
                    return Err(format!("it changes targets of {role}, but doesn't draft it"));
                }
                documents.insert(role, listed);
                continue;
            }
            if !listed.overfull(&role, &policy).map_err(|error| error.to_string())?.is_empty() {
                return Err(format!("{role} would list more than one bin may"));
            }
            let split =
                listed.split_if_large(role.clone(), &policy).map_err(|error| error.to_string())?;
            let drafted: Vec<RoleName> = split.iter().map(|(role, _)| role.clone()).collect();
            if let Some(missing) = drafted.iter().find(|role| !manifest.changed.contains_key(*role))
            {
                return Err(format!("it splits {role}, but doesn't draft {missing}"));
            }
            documents.extend(split);
            all.extend(drafted.iter().cloned());
            self.drafted.insert(role, drafted);
        }
        Ok(all)
    }
}

/// The role that lists `name`, or would, among `documents`: `home` and the bins into which it was
/// split.
fn leaf_below(
    home: &RoleName,
    name: &TargetName,
    documents: &BTreeMap<RoleName, Listed>,
) -> RoleName {
    let (digits, mut found) = (trie::digits(name), home.clone());
    for length in trie::depth(home) + 1..=digits.len() {
        match digits
            .get(..length)
            .and_then(trie::bin)
            .filter(|deeper| documents.contains_key(deeper))
        {
            Some(deeper) => found = deeper,
            None => break,
        }
    }
    found
}
