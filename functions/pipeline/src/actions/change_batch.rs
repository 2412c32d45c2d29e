//! A batch of messages, and what the uploads say of the names in it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tufline_store::{Change, MOST_CHANGES, VersionId};
use tufline_tuf::generation::{Edit, TargetEdit};
use tufline_tuf::index::Place;
use tufline_tuf::{Content, Index, Manifest, RoleName, Sha256, TargetName, json};

use crate::actions::redo::Redo;
use crate::concurrency::{HEADS_AT_ONCE, some_at_once};
use crate::error::{Result, StageError};
use crate::ports::Ports;
use crate::state::current::{Accepted, Current, RefusedUpload, current_and_receipt, known_digest};
use crate::state::index::Unread;
use crate::state::ledger;
use crate::state::pending::Tip;

/// A batch of messages and what is known of the names in it.
pub(crate) struct ChangeBatch<'a> {
    pub messages: &'a [Vec<Change>],
    /// The changes that must come again, by the places of their message and of theirs in it, and why.
    pub failed: BTreeMap<(usize, usize), Arc<StageError>>,
    /// Files of other parties that must be looked at again, though nothing in the batch asks for it.
    pub unseen: BTreeSet<RoleName>,
    /// The same with targets that void generations changed.
    pub unlooked: BTreeSet<TargetName>,
    /// The generations up to this one were there before the names were first looked at.
    pub looked_since: Option<u64>,
    pub seen: BTreeMap<TargetName, Looked>,
    /// Uploads for which other parties' files are looked at.
    pub owned: BTreeSet<TargetName>,
    pub superseded: BTreeMap<TargetName, BTreeSet<VersionId>>,
    pub unhashed: BTreeSet<TargetName>,
    /// Files of other parties that were refused.
    pub refused: Vec<RefusedUpload>,
    /// Whether there are more decisions than one generation carries out.
    pub undecided: bool,
}

/// What is current under a name, and the digest of its bytes where it is known.
#[derive(Clone)]
pub(crate) struct Looked {
    pub current: Current,
    sha256: Option<Sha256>,
}

impl<'a> ChangeBatch<'a> {
    pub fn new(messages: &'a [Vec<Change>]) -> Self {
        Self {
            messages,
            failed: BTreeMap::new(),
            unseen: BTreeSet::new(),
            unlooked: BTreeSet::new(),
            looked_since: None,
            seen: BTreeMap::new(),
            owned: BTreeSet::new(),
            superseded: BTreeMap::new(),
            unhashed: BTreeSet::new(),
            refused: Vec::new(),
            undecided: false,
        }
    }

    /// The changes, by the places of their message and of theirs in it.
    pub fn all(&self) -> impl Iterator<Item = ((usize, usize), &'a Change)> + use<'a> {
        let messages = self.messages.iter().enumerate();
        messages.flat_map(|(message, all)| all.iter().enumerate().map(move |(place, it)| ((message, place), it)))
    }

    /// The changes that haven't failed.
    pub fn changes(&self) -> impl Iterator<Item = &'a Change> + use<'a, '_> {
        self.all().filter(|(place, _)| !self.failed.contains_key(place)).map(|(_, change)| change)
    }

    /// HEADs the names of the batch, after the base was read: all of them at first, later only those that generations since
    /// then touched (else a large batch would never win).
    pub async fn look(&mut self, ports: &Ports, tip: &Tip, redo: Option<&Redo>) -> Result<()> {
        let newest = tip.pending.next() - 1;
        let looked_since = *self.looked_since.get_or_insert(newest);
        let mut touched = BTreeSet::new();
        for generation in looked_since + 1..=newest {
            match ledger::manifest(&*ports.store, generation).await {
                Ok(manifest) => touched.extend(manifest.changes.into_iter().map(|change| change.name)),
                // What it touched isn't known: fewer names may not be looked at.
                Err(error) if error.is_request() => return Err(error),
                // One that can't be read changes nothing.
                Err(_) => {}
            }
        }
        let redo = redo.into_iter().flat_map(|redo| &redo.names).map(|name| (name, None));
        // By name, the version that is expected there, which is the last one told of.
        let names: BTreeMap<&TargetName, Option<&VersionId>> = redo.chain(self.changes().filter_map(name_of)).collect();
        let wanted: Vec<_> =
            names.into_iter().filter(|(name, _)| touched.contains(*name) || !self.seen.contains_key(*name)).collect();
        let looks =
            wanted.into_iter().map(|(name, expected)| async move { (name, look_up(ports, name, expected).await) });
        let looked = some_at_once(HEADS_AT_ONCE, looks).await;
        for (name, seen) in looked {
            match seen {
                Ok(seen) => _ = self.seen.insert(name.clone(), seen),
                Err(error) => self.fail(name, error),
            }
        }
        Ok(())
    }

    /// Whether a generation that waits changes a target of which nobody can tell now what it should be, and that is to be looked at: so nothing
    /// that is based on that generation can put it right, and only what is published can be gone on from.
    pub fn is_stuck(&self, tip: &Tip) -> bool {
        let looked =
            self.changes().filter_map(|change| if let Change::Look { name } = change { Some(name) } else { None });
        let untold = looked.filter(|name| {
            let seen = self.seen.get(*name).map(|seen| (&seen.current, seen.sha256));
            matches!(seen, Some((Current::Unknown, _) | (Current::Object(_), None)))
        });
        let untold: BTreeSet<&TargetName> = untold.collect();
        let mut changes = tip.pending.chain().into_iter().flat_map(|manifest| &manifest.changes);
        changes.any(|change| untold.contains(&change.name))
    }

    /// Where the batch's targets stand, and the roles that it asks to renew.
    pub fn places<'b>(&self, redo: Option<&'b Redo>) -> Vec<Place<'b>>
    where
        'a: 'b,
    {
        let place = |change: &'a Change| match change {
            Change::Set { name, .. } | Change::Remove { name, .. } | Change::Look { name } => Some(Place::Name(name)),
            Change::Renew { role, .. } => Some(Place::Role(role)),
            Change::Void { .. } | Change::Decision | Change::ReplaceBinsKey | Change::Delivery { .. } => None,
        };
        let redo = redo.into_iter().flat_map(|redo| &redo.names).map(Place::Name);
        self.changes().filter_map(place).chain(redo).collect()
    }

    /// A look that failed never drops a change: it comes again, the others go on.
    pub fn fail(&mut self, name: &TargetName, error: StageError) {
        tracing::warn!(%name, %error, "look failed");
        self.seen.remove(name);
        self.fail_where(&Arc::new(error), |change| name_of(change).is_some_and(|(changed, _)| changed == name));
    }

    /// Lets the changes come again that need what can't be read; answers whether there are any that did not fail before.
    pub fn fail_roles(&mut self, index: &Index, unread: &Unread) -> bool {
        let mut any = false;
        for (role, error) in unread {
            tracing::warn!(%role, %error, "role not readable, its changes come again");
            let owned = std::mem::take(&mut self.owned);
            let is_top = *role == RoleName::targets();
            let needs = |name: &TargetName| index.nearest(&Place::Name(name)) == *role;
            any |= self.fail_where(
                &Arc::new(StageError::Of(role.to_string(), Arc::clone(error))),
                |change| match change {
                    Change::Set { name, .. } | Change::Remove { name, .. } | Change::Look { name } => {
                        needs(name) || (is_top && owned.contains(name))
                    }
                    Change::Renew { role: renewed, .. } => index.nearest(&Place::Role(renewed)) == *role,
                    Change::ReplaceBinsKey => true,
                    Change::Delivery { .. } | Change::Decision => is_top,
                    Change::Void { .. } => false,
                },
            );
            self.owned = owned;
            let again: Vec<TargetName> = self.seen.keys().filter(|name| needs(name)).cloned().collect();
            for name in again {
                any |= self.seen.remove(&name).is_some();
            }
        }
        any
    }

    /// Lets those changes come again that `needs` picks; answers whether there are any that did not fail before.
    pub fn fail_where(&mut self, why: &Arc<StageError>, needs: impl Fn(&Change) -> bool) -> bool {
        let before = self.failed.len();
        for (place, _) in self.all().filter(|(_, change)| needs(change)) {
            self.failed.entry(place).or_insert_with(|| Arc::clone(why));
        }
        self.failed.len() > before
    }

    /// The messages of which nothing could be done, and the changes of the others that must come again.
    pub fn leftovers(&self) -> (BTreeMap<usize, Arc<StageError>>, Vec<Change>) {
        let (mut failed, mut again) = (BTreeMap::new(), Vec::new());
        for (index, changes) in self.messages.iter().enumerate() {
            let failures = changes.iter().enumerate().filter_map(|(place, change)| {
                let why = self.failed.get(&(index, place)).filter(|_| !is_renewal(change))?;
                Some((change, why))
            });
            let failures: Vec<(&Change, &Arc<StageError>)> = failures.collect();
            match failures.first() {
                Some((_, why)) if failures.len() == changes.len() => {
                    failed.insert(index, Arc::clone(why));
                }
                _ => again.extend(failures.into_iter().map(|(change, _)| change.clone())),
            }
        }
        again.extend(self.unseen.iter().map(|role| Change::Delivery { role: role.clone() }));
        again.extend(self.unlooked.iter().map(|name| Change::Look { name: name.clone() }));
        again.extend(self.undecided.then_some(Change::Decision));
        (failed, again)
    }

    /// Why renewals failed. They don't come again: whoever asked does so as long as it is due, and each time would leave one more.
    pub fn unrenewed(&self) -> Vec<Arc<StageError>> {
        let failures = self.all().filter(|(_, change)| is_renewal(change));
        failures.filter_map(|(place, _)| self.failed.get(&place).cloned()).collect()
    }

    /// Whether the batch asks to go on with replacing the key of the bins.
    pub fn replaces_bins_key(&self) -> bool {
        self.changes().any(|change| *change == Change::ReplaceBinsKey)
    }

    /// The changes that are still current, as edits, and the roles to renew.
    pub fn survivors(
        &mut self,
        base: &Manifest,
        index: &Index,
        redo: Option<&Redo>,
    ) -> (Vec<TargetEdit>, BTreeSet<RoleName>) {
        let (mut edits, mut renew) = (Vec::new(), BTreeSet::new());
        let mut looked: BTreeSet<&TargetName> = redo.into_iter().flat_map(|redo| &redo.names).collect();
        let mut unlooked = BTreeSet::new();
        let (mut superseded, mut unhashed) = (BTreeMap::<TargetName, BTreeSet<VersionId>>::new(), BTreeSet::new());
        for change in self.changes() {
            match change {
                Change::Set { name, version } => match self.seen.get(name) {
                    Some(Looked { current: Current::Object(accepted), sha256 }) if accepted.version == *version => {
                        match sha256 {
                            Some(sha256) => edits.push(set_edit(name, accepted, *sha256)),
                            // Only a message says that it was hashed, and a message is not believed.
                            None => _ = unhashed.insert(name.clone()),
                        }
                    }
                    _ => _ = superseded.entry(name.clone()).or_default().insert(version.clone()),
                },
                Change::Remove { name, marker } => {
                    if let Some(Looked { current: Current::Gone { marker: found }, .. }) = self.seen.get(name)
                        && (found == marker || found.is_none())
                    {
                        let version = marker.as_ref().map(|marker| marker.0.clone());
                        edits.push(TargetEdit { name: name.clone(), version, uploaded: None, edit: Edit::Remove });
                    }
                }
                Change::Look { name } => _ = looked.insert(name),
                Change::Renew { role, version } => {
                    let newest = if *role == RoleName::snapshot() {
                        base.generation <= *version
                    } else {
                        index.entry(role).is_some_and(|entry| entry.document.version == *version)
                    };
                    if newest {
                        renew.insert(role.clone());
                    }
                }
                Change::Void { .. } | Change::Decision | Change::ReplaceBinsKey | Change::Delivery { .. } => {}
            }
        }
        // Whatever was told of these, what is current counts.
        for name in looked {
            match self.seen.get(name) {
                Some(Looked { current: Current::Object(accepted), sha256: Some(sha256) }) => {
                    edits.push(set_edit(name, accepted, *sha256));
                }
                Some(Looked { current: Current::Object(_), sha256: None }) => _ = unhashed.insert(name.clone()),
                Some(Looked { current: Current::Gone { marker }, .. }) => {
                    let version = marker.as_ref().map(|marker| marker.0.clone());
                    edits.push(TargetEdit { name: name.clone(), version, uploaded: None, edit: Edit::Remove });
                }
                // What is published stays.
                Some(Looked { current: Current::Unknown, .. }) => {}
                None => _ = unlooked.insert(name.clone()),
            }
        }
        // The same change twice in a batch is one change.
        let mut met = BTreeSet::new();
        edits.retain(|edit| met.insert(edit.name.clone()));
        if let Some(redo) = redo {
            edits.retain(|edit| !redo.unstored.contains(&edit.name));
        }
        // What is too much for one generation is for the next.
        let mut room = MOST_CHANGES;
        edits.retain(|edit| {
            let fits = room.checked_sub(bytes_of(edit));
            room = fits.unwrap_or_default();
            if fits.is_none() {
                unlooked.insert(edit.name.clone());
            }
            fits.is_some()
        });
        (self.superseded, self.unhashed, self.unlooked) = (superseded, unhashed, unlooked);
        (edits, renew)
    }
}

/// So many bytes an edit has in a manifest, at most.
fn bytes_of(edit: &TargetEdit) -> usize {
    /// All but the name, the version and the custom metadata, which are text.
    const REST: usize = 250;
    let custom = edit.edit.content().map_or(0, |content| json::to_vec(&content.custom).map_or(0, |json| json.len()));
    edit.name.as_str().len() + edit.version.as_ref().map_or(0, String::len) + custom + REST
}

/// Whether a change is only to make something anew that there is.
pub(crate) fn is_renewal(change: &Change) -> bool {
    matches!(change, Change::Renew { .. } | Change::ReplaceBinsKey)
}

/// The target that a change is about, and the version that was uploaded.
pub(crate) fn name_of(change: &Change) -> Option<(&TargetName, Option<&VersionId>)> {
    match change {
        Change::Set { name, version } => Some((name, Some(version))),
        Change::Remove { name, .. } | Change::Look { name } => Some((name, None)),
        Change::Void { .. }
        | Change::Decision
        | Change::Renew { .. }
        | Change::ReplaceBinsKey
        | Change::Delivery { .. } => None,
    }
}

pub(crate) fn set_edit(name: &TargetName, accepted: &Accepted, sha256: Sha256) -> TargetEdit {
    let content = Content { sha256, length: accepted.upload.length, custom: accepted.custom.clone() };
    let version = Some(accepted.version.0.clone());
    TargetEdit { name: name.clone(), version, uploaded: accepted.upload.uploaded, edit: Edit::Set(content) }
}

/// HEADs `name`; for an object also finds its digest: the full-object SHA-256 that HEAD returned, or hash's receipt.
async fn look_up(ports: &Ports, name: &TargetName, expected: Option<&VersionId>) -> Result<Looked> {
    let (current, _, receipt) = current_and_receipt(ports, name, expected).await?;
    let sha256 = match &current {
        Current::Object(Accepted { upload, .. }) => known_digest(upload, receipt.as_ref()),
        Current::Gone { .. } | Current::Unknown => None,
    };
    Ok(Looked { current, sha256 })
}
