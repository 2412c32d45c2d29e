//! A batch of messages, with what the uploads say about the names in it.

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
use crate::state::current::{
    Accepted, Current, RejectedVersion, current_and_receipt, known_digest,
};
use crate::state::index::Unread;
use crate::state::ledger;
use crate::state::pending::Tip;

/// A batch of messages, with what is known about the names in it.
pub(crate) struct ChangeBatch<'a> {
    pub messages: &'a [Vec<Change>],
    /// The changes that must come again and why, by (place of the message, place of the change in
    /// it).
    pub failed: BTreeMap<(usize, usize), Arc<StageError>>,
    /// Roles whose deliveries must be looked at again, though no message in the batch asks for it.
    pub unseen: BTreeSet<RoleName>,
    /// Targets that void generations changed and that must be looked at again, though no message
    /// asks for it.
    pub unlooked: BTreeSet<TargetName>,
    /// The newest generation that existed before the first look at the names.
    pub looked_since: Option<u64>,
    pub seen: BTreeMap<TargetName, Looked>,
    /// Uploaded names that belong to a party. The party's delivery may have waited for them, so the
    /// batch looks at it too.
    pub owned: BTreeSet<TargetName>,
    pub superseded: BTreeMap<TargetName, BTreeSet<VersionId>>,
    pub unhashed: BTreeSet<TargetName>,
    /// Deliveries that were rejected.
    pub rejected: Vec<RejectedVersion>,
    /// Whether operators made more decisions than one generation carries out.
    pub undecided: bool,
}

/// What is current under a name, and the SHA-256 of its bytes where it is known.
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
            rejected: Vec::new(),
            undecided: false,
        }
    }

    /// All changes, each with (place of its message, its place in the message).
    pub fn all(&self) -> impl Iterator<Item = ((usize, usize), &'a Change)> + use<'a> {
        let messages = self.messages.iter().enumerate();
        messages.flat_map(|(message, all)| {
            all.iter().enumerate().map(move |(place, it)| ((message, place), it))
        })
    }

    /// The changes that have not failed.
    pub fn changes(&self) -> impl Iterator<Item = &'a Change> + use<'a, '_> {
        self.all().filter(|(place, _)| !self.failed.contains_key(place)).map(|(_, change)| change)
    }

    /// HEADs the names of the batch. The caller must have read the base before. The first call
    /// looks at all names. Later calls look only at the names that newer generations touched, or a
    /// large batch would never win a race.
    pub async fn look(&mut self, ports: &Ports, tip: &Tip, redo: Option<&Redo>) -> Result<()> {
        let newest = tip.pending.next() - 1;
        let looked_since = *self.looked_since.get_or_insert(newest);
        let mut touched = BTreeSet::new();
        for generation in looked_since + 1..=newest {
            match ledger::manifest(&*ports.store, generation).await {
                Ok(manifest) => {
                    touched.extend(manifest.changes.into_iter().map(|change| change.name));
                }
                // The names that it touched are unknown, and none of them may be left out.
                Err(error) if error.is_request() => return Err(error),
                // A manifest that cannot be read changes nothing.
                Err(_) => {}
            }
        }
        let redo = redo.into_iter().flat_map(|redo| &redo.names).map(|name| (name, None));
        // Each name, with the version expected there: the last one that a message named.
        let names: BTreeMap<&TargetName, Option<&VersionId>> =
            redo.chain(self.changes().filter_map(name_of)).collect();
        let wanted: Vec<_> = names
            .into_iter()
            .filter(|(name, _)| touched.contains(*name) || !self.seen.contains_key(*name))
            .collect();
        let looks = wanted
            .into_iter()
            .map(|(name, expected)| async move { (name, look_up(ports, name, expected).await) });
        let looked = some_at_once(HEADS_AT_ONCE, looks).await;
        for (name, seen) in looked {
            match seen {
                Ok(seen) => _ = self.seen.insert(name.clone(), seen),
                Err(error) => self.fail(name, error),
            }
        }
        Ok(())
    }

    /// Whether a waiting generation changes a target that must be looked at and of which nobody can
    /// tell now what it should be. No generation based on that one can put the target right, so
    /// rebuild must go on from what is published.
    pub fn is_stuck(&self, tip: &Tip) -> bool {
        let looked = self.changes().filter_map(|change| {
            if let Change::Look { name } = change { Some(name) } else { None }
        });
        let untold = looked.filter(|name| {
            let seen = self.seen.get(*name).map(|seen| (&seen.current, seen.sha256));
            matches!(seen, Some((Current::Unknown, _) | (Current::Object(_), None)))
        });
        let untold: BTreeSet<&TargetName> = untold.collect();
        let mut changes = tip.pending.chain().into_iter().flat_map(|manifest| &manifest.changes);
        changes.any(|change| untold.contains(&change.name))
    }

    /// The places in the index of the batch's targets, and of the roles that it asks to renew.
    pub fn places<'b>(&self, redo: Option<&'b Redo>) -> Vec<Place<'b>>
    where
        'a: 'b,
    {
        let place = |change: &'a Change| match change {
            Change::Set { name, .. } | Change::Remove { name, .. } | Change::Look { name } => {
                Some(Place::Name(name))
            }
            Change::Renew { role, .. } => Some(Place::Role(role)),
            Change::Void { .. }
            | Change::Decision
            | Change::ReplaceBinsKey
            | Change::Delivery { .. } => None,
        };
        let redo = redo.into_iter().flat_map(|redo| &redo.names).map(Place::Name);
        self.changes().filter_map(place).chain(redo).collect()
    }

    /// Marks the changes of `name` as failed, so that they come again. A failed look never drops a
    /// change, and never stops the others.
    pub fn fail(&mut self, name: &TargetName, error: StageError) {
        tracing::warn!(%name, %error, "look failed");
        self.seen.remove(name);
        self.fail_where(&Arc::new(error), |change| {
            name_of(change).is_some_and(|(changed, _)| changed == name)
        });
    }

    /// Marks the changes that need an unreadable page or document as failed. Returns whether any of
    /// them had not failed before.
    pub fn fail_roles(&mut self, index: &Index, unread: &Unread) -> bool {
        let mut any = false;
        for (role, error) in unread {
            tracing::warn!(%role, %error, "role not readable: its changes come again");
            let owned = std::mem::take(&mut self.owned);
            let is_top = *role == RoleName::targets();
            let needs = |name: &TargetName| index.nearest(&Place::Name(name)) == *role;
            any |= self.fail_where(
                &Arc::new(StageError::Of(role.to_string(), Arc::clone(error))),
                |change| match change {
                    Change::Set { name, .. }
                    | Change::Remove { name, .. }
                    | Change::Look { name } => needs(name) || (is_top && owned.contains(name)),
                    Change::Renew { role: renewed, .. } => {
                        index.nearest(&Place::Role(renewed)) == *role
                    }
                    Change::ReplaceBinsKey => true,
                    Change::Delivery { .. } | Change::Decision => is_top,
                    Change::Void { .. } => false,
                },
            );
            self.owned = owned;
            let again: Vec<TargetName> =
                self.seen.keys().filter(|name| needs(name)).cloned().collect();
            for name in again {
                any |= self.seen.remove(&name).is_some();
            }
        }
        any
    }

    /// Marks the changes that `needs` picks as failed. Returns whether any of them had not failed
    /// before.
    pub fn fail_where(&mut self, why: &Arc<StageError>, needs: impl Fn(&Change) -> bool) -> bool {
        let before = self.failed.len();
        for (place, _) in self.all().filter(|(_, change)| needs(change)) {
            self.failed.entry(place).or_insert_with(|| Arc::clone(why));
        }
        self.failed.len() > before
    }

    /// Returns the messages all of whose changes failed, by place, and the changes of the other
    /// messages that must come again.
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

    /// Why renewals failed. Renewals do not come again: refresh asks for each while it is due, so
    /// every repetition would leave one more message.
    pub fn unrenewed(&self) -> Vec<Arc<StageError>> {
        let failures = self.all().filter(|(_, change)| is_renewal(change));
        failures.filter_map(|(place, _)| self.failed.get(&place).cloned()).collect()
    }

    /// Whether the batch asks for the next step of a rotation of the bins' key.
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
        let mut looked: BTreeSet<&TargetName> =
            redo.into_iter().flat_map(|redo| &redo.names).collect();
        let mut unlooked = BTreeSet::new();
        let (mut superseded, mut unhashed) =
            (BTreeMap::<TargetName, BTreeSet<VersionId>>::new(), BTreeSet::new());
        for change in self.changes() {
            match change {
                Change::Set { name, version } => match self.seen.get(name) {
                    Some(Looked { current: Current::Object(accepted), sha256 })
                        if accepted.version == *version =>
                    {
                        match sha256 {
                            Some(sha256) => edits.push(set_edit(name, accepted, *sha256)),
                            // Only the message says that hash hashed it, and rebuild believes no
                            // message.
                            None => _ = unhashed.insert(name.clone()),
                        }
                    }
                    _ => _ = superseded.entry(name.clone()).or_default().insert(version.clone()),
                },
                Change::Remove { name, marker } => {
                    if let Some(Looked { current: Current::Gone { marker: found }, .. }) =
                        self.seen.get(name)
                        && (found == marker || found.is_none())
                    {
                        let version = marker.as_ref().map(|marker| marker.0.clone());
                        edits.push(TargetEdit {
                            name: name.clone(),
                            version,
                            uploaded: None,
                            edit: Edit::Remove,
                        });
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
                Change::Void { .. }
                | Change::Decision
                | Change::ReplaceBinsKey
                | Change::Delivery { .. } => {}
            }
        }
        // For these names only what is current counts, whatever the messages said.
        for name in looked {
            match self.seen.get(name) {
                Some(Looked { current: Current::Object(accepted), sha256: Some(sha256) }) => {
                    edits.push(set_edit(name, accepted, *sha256));
                }
                Some(Looked { current: Current::Object(_), sha256: None }) => {
                    _ = unhashed.insert(name.clone());
                }
                Some(Looked { current: Current::Gone { marker }, .. }) => {
                    let version = marker.as_ref().map(|marker| marker.0.clone());
                    edits.push(TargetEdit {
                        name: name.clone(),
                        version,
                        uploaded: None,
                        edit: Edit::Remove,
                    });
                }
                // Nobody can tell, so the published target stays.
                Some(Looked { current: Current::Unknown, .. }) => {}
                None => _ = unlooked.insert(name.clone()),
            }
        }
        // A name gets one edit, however many changes the batch has for it.
        let mut met = BTreeSet::new();
        edits.retain(|edit| met.insert(edit.name.clone()));
        if let Some(redo) = redo {
            edits.retain(|edit| !redo.unstored.contains(&edit.name));
        }
        // Edits that do not fit into one manifest wait for the next generation.
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

/// How many bytes an edit takes in a manifest, at most.
fn bytes_of(edit: &TargetEdit) -> usize {
    /// Everything but the name, the version and the custom metadata.
    const REST: usize = 250;
    let custom = edit
        .edit
        .content()
        .map_or(0, |content| json::to_vec(&content.custom).map_or(0, |json| json.len()));
    edit.name.as_str().len() + edit.version.as_ref().map_or(0, String::len) + custom + REST
}

/// Whether a change only asks for a new version of a document that exists.
pub(crate) fn is_renewal(change: &Change) -> bool {
    matches!(change, Change::Renew { .. } | Change::ReplaceBinsKey)
}

/// The target that a change is about and, where the change names one, the version that was
/// uploaded.
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
    let content =
        Content { sha256, length: accepted.upload.length, custom: accepted.custom.clone() };
    let version = Some(accepted.version.0.clone());
    TargetEdit {
        name: name.clone(),
        version,
        uploaded: accepted.upload.uploaded,
        edit: Edit::Set(content),
    }
}

/// HEADs `name`. For an object it also finds the digest: the full-object SHA-256 that HEAD
/// returned, or hash's receipt.
async fn look_up(ports: &Ports, name: &TargetName, expected: Option<&VersionId>) -> Result<Looked> {
    let (current, _, receipt) = current_and_receipt(ports, name, expected).await?;
    let sha256 = match &current {
        Current::Object(Accepted { upload, .. }) => known_digest(upload, receipt.as_ref()),
        Current::Gone { .. } | Current::Unknown => None,
    };
    Ok(Looked { current, sha256 })
}
