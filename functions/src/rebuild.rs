//! Rebuild: folds a batch of changes into the next generation.
//!
//! One order in every attempt: read the newest manifest (the base), then HEAD every name, then create `base + 1`. Whoever
//! creates it first wins; the others begin again on the new base. A HEAD made before the base was read proves nothing,
//! since a newer attempt may have looked and won in between.
//!
//! *Invariant*: what can't be looked at or read makes those changes come again that need it, and no others: of a message that
//! has both the former go on as a message of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::SinkExt;
use futures::channel::mpsc;
use futures::stream::{self, StreamExt, TryStreamExt};
use tough::schema::Targets;
use tufline_store::{Change, Document, Event, Hint, Key, MOST_CHANGES, Message, OnlineRole, Store, VersionId, Written};
use tufline_tuf::generation::{Edit, Folding, GenerationError, Next, Policy, TargetEdit};
use tufline_tuf::index::Place;
use tufline_tuf::parties::PartyState;
use tufline_tuf::replay::LARGEST_JUMP;
use tufline_tuf::{
    AddressedDraft, BinsKeys, Content, Draft, Index, Manifest, Outcome, RoleName, Sha256, TargetName, Time, json, time,
    trie,
};

use crate::current::{Accepted, Current, RefusedUpload, current_and_receipt, digest};
use crate::delivery::reject_delivery;
use crate::hash::reject;
use crate::index::{Unread, all, draft, extend, readable_below};
use crate::ledger::{self, HeldRemovals, RECORD_FORMAT, RecordedFault, RemovalsAccepted};
use crate::measure;
use crate::parties::{Judged, judge, parties};
use crate::pending::Tip;
use crate::ports::{HEADS_AT_ONCE, Ports, REQUESTS_AT_ONCE, Result, StageError, at_once, some_at_once};

/// After so many lost races the batch goes back to its queue.
const ATTEMPTS: usize = 8;

/// How long a hint waits about a target whose bytes were missing, or whose receipt is: this bounds the rate.
const HINT_DELAY: Duration = Duration::from_secs(5);

/// Where somebody takes numbers ahead again and again, the numbers that are left out grow four times with each, up to this power of four: by
/// then there are more than anybody can take.
const MOST_JUMPS: u32 = 13;

/// The same with the numbers of snapshots: so many doublings of the fences that use them up.
const MOST_FENCES: u32 = 5;

/// How long changes wait while so many generations wait to be shown that no more should be made.
const FULL_DELAY: Duration = Duration::from_secs(30);

/// Where generations are void, so many names at most are looked at again in the one that follows what is published: else it would take longer
/// than a run may.
const MOST_LOOKS: usize = 4000;

/// What became of a batch.
#[derive(Debug, Default)]
pub struct Rebuilt {
    /// The generation that was created, if any change was still current.
    pub generation: Option<u64>,
    /// The messages, by their place in the batch, that must come again, and why.
    pub failed: BTreeMap<usize, StageError>,
    /// Why roles could not be renewed: refresh asks for that again as long as it is due.
    pub unrenewed: Vec<String>,
}

/// Folds the changes of a batch of messages into one generation.
///
/// # Errors
/// All messages must come again.
pub async fn rebuild(ports: &Ports, messages: &[Vec<Change>]) -> Result<Rebuilt> {
    let (mut batch, mut is_broken) = (Incoming::new(messages), false);
    for _ in 0..ATTEMPTS {
        let tip = Tip::read(&*ports.store).await?;
        if tip.pending.is_full(ports.clock.now()) {
            tracing::warn!("changes wait until sign and publish have caught up");
            for message in Message::changes(batch.all().map(|(_, change)| change.clone()).collect()) {
                ports.queues.send(&message, FULL_DELAY).await?;
            }
            return Ok(Rebuilt::default());
        }
        let again = (is_broken || !tip.pending.is_sound()).then(|| Again::of(&tip));
        let mut base = if again.is_some() { tip.shown.clone() } else { tip.newest().clone() };
        let mut next_generation = tip.pending.next();
        if let Some(again) = &again {
            tell_of_strange(ports, &tip).await?;
            match Box::pin(pass_taken_snapshots(ports, again, base, &mut next_generation)).await? {
                Some(fence) => base = fence,
                None => continue,
            }
        }
        let places = batch.places(again.as_ref());
        let (looked, mut known) = futures::join!(
            batch.look(ports, &tip, again.as_ref()),
            Known::read_what_can_be(&*ports.store, &base, &places)
        );
        looked?;
        if again.is_none() && batch.is_stuck(&tip) {
            tracing::warn!("what uploads no longer tell of is left as it is published");
            is_broken = true;
            continue;
        }
        // What was made since what is published can be made again.
        let is_made = |unread: &Unread| !is_broken && is_of_pending(&tip, &base, unread);
        let unread = std::mem::take(&mut known.unread);
        let mut is_lost = is_made(&unread);
        batch.fail_roles(&known.index, &unread);
        // A crash up to the creation leaves drafts and pages that nothing refers to.
        let mut made = None;
        while !is_lost {
            match Box::pin(next(ports, &mut batch, &mut known, &base, again.as_ref(), next_generation)).await {
                Ok(next) => {
                    made = next;
                    break;
                }
                Err(Unfolded::Unread(unread)) if is_made(&unread) => is_lost = true,
                // Each turn fails at least one change more, so this ends.
                Err(Unfolded::Unread(unread)) => {
                    if !batch.fail_roles(&known.index, &unread) {
                        all(unread)?;
                    }
                }
                Err(Unfolded::Failed(StageError::Missing(..) | StageError::Record(..) | StageError::Document(_)))
                    if !is_broken && base.generation != tip.published.generation =>
                {
                    is_lost = true;
                }
                Err(Unfolded::Failed(error)) => return Err(error),
            }
        }
        if is_lost {
            let generation = base.generation;
            tracing::error!(generation, "what it says is made is not in the ledger: going on without it");
            is_broken = true;
            batch.failed.clear();
            continue;
        }
        let Some(next) = made else {
            // Nothing of the batch is current any more: whatever made it so has a message of its own.
            let failed = finish(ports, &batch, again.as_ref(), &tip, &base).await?;
            return Ok(Rebuilt { generation: None, failed, unrenewed: batch.unrenewed() });
        };
        let generation = next.generation;
        if ledger::create_manifest(&*ports.store, &next).await? == Written::Done {
            tracing::info!(generation, base = next.base, changes = next.changes.len(), "generation created");
            measure::batch(next.changes.len());
            for (upload, name) in next.uploads() {
                tracing::info!(upload, %name, generation, "upload in generation");
            }
            // A crash here: the messages come again and make a fence; refresh nudges sign.
            let failed = finish(ports, &batch, again.as_ref(), &tip, &next).await?;
            return Ok(Rebuilt { generation: Some(generation), failed, unrenewed: batch.unrenewed() });
        }
    }
    Err(StageError::Contended("rebuild", ATTEMPTS))
}

/// Whether anything of this was made after what is published, on the way to `base`: then that may be gone on from instead. Else it
/// would be missed there as well.
fn is_of_pending(tip: &Tip, base: &Manifest, unread: &Unread) -> bool {
    let made = tip.pending.readable().filter(|manifest| manifest.generation <= base.generation);
    let made: BTreeSet<&RoleName> = made.flat_map(|manifest| manifest.changed.keys()).collect();
    // A page changes with each role below it.
    let is_below = |role: &RoleName, above: &RoleName| {
        trie::prefix(role).zip(trie::prefix(above)).is_some_and(|(role, above)| role.starts_with(above))
    };
    unread.keys().any(|lost| made.iter().any(|role| is_below(role, lost)))
}

/// What must be looked at again where the newest generation is void: all that was to be changed since what is published. The next one is
/// based on that.
#[derive(Debug, Default)]
struct Again {
    /// The targets.
    names: BTreeSet<TargetName>,
    /// The same, where they are too many for one generation.
    later: BTreeSet<TargetName>,
    /// Targets whose bytes were missing: hash must look at them first.
    unstored: BTreeSet<TargetName>,
    /// Other parties' roles.
    roles: BTreeSet<RoleName>,
    /// The highest number that a document of the targets family may have got since.
    serial: u64,
    /// So many numbers of documents were taken by others.
    taken: u32,
    /// So many numbers of snapshots were.
    taken_snapshots: u32,
}

impl Again {
    fn of(tip: &Tip) -> Self {
        let mut again = Self { serial: tip.shown.serial, ..Self::default() };
        let mut taken_deliveries = BTreeSet::new();
        for fault in tip.pending.refusals() {
            match fault {
                RecordedFault::Bytes(names) => again.unstored.extend(names.iter().cloned()),
                RecordedFault::Taken(role, _) if *role == RoleName::snapshot() => again.taken_snapshots += 1,
                RecordedFault::Taken(role, version) => {
                    again.taken += 1;
                    taken_deliveries.insert((role.clone(), *version));
                }
                RecordedFault::Root | RecordedFault::Void => {}
            }
        }
        for manifest in tip.pending.readable() {
            // A number far above was made up.
            if manifest.serial <= tip.shown.serial.saturating_add(LARGEST_JUMP / 2) {
                again.serial = again.serial.max(manifest.serial);
            }
            let names = manifest.changes.iter().map(|change| change.name.clone());
            again.names.extend(names.filter(|name| !again.unstored.contains(name)));
            let deliveries = manifest.deliveries().map(|(role, document)| (role.clone(), document.version));
            let deliveries = deliveries.filter(|delivery| !taken_deliveries.contains(delivery));
            again.roles.extend(deliveries.map(|(role, _)| role));
        }
        if again.names.len() > MOST_LOOKS {
            again.later = std::mem::take(&mut again.names);
        }
        again
    }

    /// The documents of the next generation take the versions above this one: far enough above those that others took, so that they can't be
    /// met again and again, and by how many nobody knows beforehand, since the clock's nanoseconds decide.
    fn first(&self, now: Time) -> u64 {
        if self.taken == 0 {
            return self.serial;
        }
        let jump = 4_u64.pow(self.taken.min(MOST_JUMPS));
        let more = u64::from(now.subsec_nanosecond().unsigned_abs()) % jump;
        self.serial + jump + more
    }
}

/// Tells of what can't be read among the generations: nobody who counts made it.
async fn tell_of_strange(ports: &Ports, tip: &Tip) -> Result<()> {
    let Some(generation) = tip.pending.strange() else { return Ok(()) };
    measure::gate_refusal();
    let reason = "it can't be read, or it is based on none that there is; look at who wrote it".to_owned();
    tracing::error!(generation, reason, "generation refused");
    ports.events.send(&[Event::GenerationRefused { generation, reason }]).await?;
    Ok(())
}

/// Uses up the numbers of snapshots that others took, with fences based on `base`; answers the last of them, or `base`. `None` where another
/// instance was faster.
async fn pass_taken_snapshots(
    ports: &Ports,
    again: &Again,
    mut base: Manifest,
    generation: &mut u64,
) -> Result<Option<Manifest>> {
    for _ in 1..2_u64.pow(again.taken_snapshots.min(MOST_FENCES)) {
        let known = Known::read(&*ports.store, &base, &[]).await?;
        let judged = Judged::unchanged(&base, parties(&*ports.store, &base).await?, ports.clock.now());
        let (nothing, bins) = (BTreeSet::new(), base.bins_keys());
        let batch = Batch::new(&nothing, &bins, &judged).numbered(*generation, base.serial);
        let Some(fence) = fold(&*ports.store, &base, &known, &[], batch, ports.policy(None)).await? else { continue };
        if ledger::create_manifest(&*ports.store, &fence).await? == Written::Lost {
            return Ok(None);
        }
        *generation += 1;
        base = fence;
    }
    Ok(Some(base))
}

/// A batch of messages and what is known of the names in it.
struct Incoming<'a> {
    messages: &'a [Vec<Change>],
    /// The changes that must come again, by the places of their message and of theirs in it, and why.
    failed: BTreeMap<(usize, usize), String>,
    /// Files of other parties that must be looked at again, though nothing in the batch asks for it.
    unseen: BTreeSet<RoleName>,
    /// The same with targets that void generations changed.
    unlooked: BTreeSet<TargetName>,
    /// The generations up to this one were there before the names were first looked at.
    looked_since: Option<u64>,
    seen: BTreeMap<TargetName, Seen>,
    /// Uploads for which other parties' files are looked at.
    owned: BTreeSet<TargetName>,
    superseded: BTreeMap<TargetName, BTreeSet<VersionId>>,
    unhashed: BTreeSet<TargetName>,
    /// Files of other parties that were refused.
    refused: Vec<RefusedUpload>,
    /// Whether there are more decisions than one generation carries out.
    undecided: bool,
}

/// What is current under a name, and the digest of its bytes where it is known.
#[derive(Clone)]
struct Seen {
    current: Current,
    sha256: Option<Sha256>,
}

impl<'a> Incoming<'a> {
    fn new(messages: &'a [Vec<Change>]) -> Self {
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
    fn all(&self) -> impl Iterator<Item = ((usize, usize), &'a Change)> + use<'a> {
        let messages = self.messages.iter().enumerate();
        messages.flat_map(|(message, all)| all.iter().enumerate().map(move |(place, it)| ((message, place), it)))
    }

    /// The changes that haven't failed.
    fn changes(&self) -> impl Iterator<Item = &'a Change> + use<'a, '_> {
        self.all().filter(|(place, _)| !self.failed.contains_key(place)).map(|(_, change)| change)
    }

    /// HEADs the names of the batch, after the base was read: all of them at first, later only those that generations since
    /// then touched (else a large batch would never win).
    async fn look(&mut self, ports: &Ports, tip: &Tip, again: Option<&Again>) -> Result<()> {
        let newest = tip.pending.next() - 1;
        let looked_since = *self.looked_since.get_or_insert(newest);
        let mut touched = BTreeSet::new();
        for generation in looked_since + 1..=newest {
            // One that can't be read changes nothing.
            if let Ok(manifest) = ledger::manifest(&*ports.store, generation).await {
                touched.extend(manifest.changes.into_iter().map(|change| change.name));
            }
        }
        let again = again.into_iter().flat_map(|again| &again.names).map(|name| (name, None));
        // By name, the version that is expected there, which is the last one told of.
        let names: BTreeMap<&TargetName, Option<&VersionId>> =
            again.chain(self.changes().filter_map(name_of)).collect();
        let wanted: Vec<_> =
            names.into_iter().filter(|(name, _)| touched.contains(*name) || !self.seen.contains_key(*name)).collect();
        let looks = wanted.into_iter().map(|(name, expected)| async move { (name, see(ports, name, expected).await) });
        let looked = some_at_once(HEADS_AT_ONCE, looks).await;
        for (name, seen) in looked {
            match seen {
                Ok(seen) => _ = self.seen.insert(name.clone(), seen),
                Err(error) => self.fail(name, &error),
            }
        }
        Ok(())
    }

    /// Whether a generation that waits changes a target of which nobody can tell now what it should be, and that is to be looked at: so nothing
    /// that is based on that generation can put it right, and only what is published can be gone on from.
    fn is_stuck(&self, tip: &Tip) -> bool {
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
    fn places<'b>(&self, again: Option<&'b Again>) -> Vec<Place<'b>>
    where
        'a: 'b,
    {
        let place = |change: &'a Change| match change {
            Change::Set { name, .. } | Change::Remove { name, .. } | Change::Look { name } => Some(Place::Name(name)),
            Change::Renew { role, .. } => Some(Place::Role(role)),
            Change::Void { .. } | Change::Decision | Change::ReplaceBinsKey | Change::Delivery { .. } => None,
        };
        let again = again.into_iter().flat_map(|again| &again.names).map(Place::Name);
        self.changes().filter_map(place).chain(again).collect()
    }

    /// A look that failed never drops a change: it comes again, the others go on.
    fn fail(&mut self, name: &TargetName, error: &StageError) {
        tracing::warn!(%name, %error, "look failed");
        self.seen.remove(name);
        self.fail_where(&error.to_string(), |change| name_of(change).is_some_and(|(changed, _)| changed == name));
    }

    /// Lets the changes come again that need what can't be read; answers whether there are any that did not fail before.
    fn fail_roles(&mut self, index: &Index, unread: &Unread) -> bool {
        let mut any = false;
        for (role, error) in unread {
            tracing::warn!(%role, %error, "role not readable, its changes come again");
            let owned = std::mem::take(&mut self.owned);
            let is_top = *role == RoleName::targets();
            let needs = |name: &TargetName| index.nearest(&Place::Name(name)) == *role;
            any |= self.fail_where(&format!("{role}: {error}"), |change| match change {
                Change::Set { name, .. } | Change::Remove { name, .. } | Change::Look { name } => {
                    needs(name) || (is_top && owned.contains(name))
                }
                Change::Renew { role: renewed, .. } => index.nearest(&Place::Role(renewed)) == *role,
                Change::ReplaceBinsKey => true,
                Change::Delivery { .. } | Change::Decision => is_top,
                Change::Void { .. } => false,
            });
            self.owned = owned;
            let again: Vec<TargetName> = self.seen.keys().filter(|name| needs(name)).cloned().collect();
            for name in again {
                any |= self.seen.remove(&name).is_some();
            }
        }
        any
    }

    /// Lets those changes come again that `needs` picks; answers whether there are any that did not fail before.
    fn fail_where(&mut self, why: &str, needs: impl Fn(&Change) -> bool) -> bool {
        let before = self.failed.len();
        for (place, _) in self.all().filter(|(_, change)| needs(change)) {
            self.failed.entry(place).or_insert_with(|| why.to_owned());
        }
        self.failed.len() > before
    }

    /// The messages of which nothing could be done, and the changes of the others that must come again.
    fn leftovers(&self) -> (BTreeMap<usize, StageError>, Vec<Change>) {
        let (mut failed, mut again) = (BTreeMap::new(), Vec::new());
        for (index, changes) in self.messages.iter().enumerate() {
            let failures = changes.iter().enumerate().filter_map(|(place, change)| {
                let why = self.failed.get(&(index, place)).filter(|_| !is_renewal(change))?;
                Some((change, why))
            });
            let failures: Vec<(&Change, &String)> = failures.collect();
            match failures.first() {
                Some((_, why)) if failures.len() == changes.len() => {
                    failed.insert(index, StageError::Refused((*why).clone()));
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
    fn unrenewed(&self) -> Vec<String> {
        let failures = self.all().filter(|(_, change)| is_renewal(change));
        failures.filter_map(|(place, _)| self.failed.get(&place).cloned()).collect()
    }

    /// Whether the batch asks to go on with replacing the key of the bins.
    fn replaces_bins_key(&self) -> bool {
        self.changes().any(|change| *change == Change::ReplaceBinsKey)
    }

    /// The changes that are still current, as edits, and the roles to renew.
    fn survivors(
        &mut self,
        base: &Manifest,
        index: &Index,
        again: Option<&Again>,
    ) -> (Vec<TargetEdit>, BTreeSet<RoleName>) {
        let (mut edits, mut renew) = (Vec::new(), BTreeSet::new());
        let mut looked: BTreeSet<&TargetName> = again.into_iter().flat_map(|again| &again.names).collect();
        let mut unlooked = BTreeSet::new();
        let (mut superseded, mut unhashed) = (BTreeMap::<TargetName, BTreeSet<VersionId>>::new(), BTreeSet::new());
        for change in self.changes() {
            match change {
                Change::Set { name, version } => match self.seen.get(name) {
                    Some(Seen { current: Current::Object(accepted), sha256 }) if accepted.version == *version => {
                        match sha256 {
                            Some(sha256) => edits.push(set(name, accepted, *sha256)),
                            // Only a message says that it was hashed, and a message is not believed.
                            None => _ = unhashed.insert(name.clone()),
                        }
                    }
                    _ => _ = superseded.entry(name.clone()).or_default().insert(version.clone()),
                },
                Change::Remove { name, marker } => {
                    if let Some(Seen { current: Current::Gone { marker: found }, .. }) = self.seen.get(name)
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
                Some(Seen { current: Current::Object(accepted), sha256: Some(sha256) }) => {
                    edits.push(set(name, accepted, *sha256));
                }
                Some(Seen { current: Current::Object(_), sha256: None }) => _ = unhashed.insert(name.clone()),
                Some(Seen { current: Current::Gone { marker }, .. }) => {
                    let version = marker.as_ref().map(|marker| marker.0.clone());
                    edits.push(TargetEdit { name: name.clone(), version, uploaded: None, edit: Edit::Remove });
                }
                // What is published stays.
                Some(Seen { current: Current::Unknown, .. }) => {}
                None => _ = unlooked.insert(name.clone()),
            }
        }
        // The same change twice in a batch is one change.
        let mut met = BTreeSet::new();
        edits.retain(|edit| met.insert(edit.name.clone()));
        if let Some(again) = again {
            edits.retain(|edit| !again.unstored.contains(&edit.name));
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
fn is_renewal(change: &Change) -> bool {
    matches!(change, Change::Renew { .. } | Change::ReplaceBinsKey)
}

/// The target that a change is about, and the version that was uploaded.
fn name_of(change: &Change) -> Option<(&TargetName, Option<&VersionId>)> {
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

fn set(name: &TargetName, accepted: &Accepted, sha256: Sha256) -> TargetEdit {
    let content = Content { sha256, length: accepted.upload.length, custom: accepted.custom.clone() };
    let version = Some(accepted.version.0.clone());
    TargetEdit { name: name.clone(), version, uploaded: accepted.upload.uploaded, edit: Edit::Set(content) }
}

/// HEADs `name`; for an object also finds its digest: the full-object SHA-256 that HEAD returned, or hash's receipt.
async fn see(ports: &Ports, name: &TargetName, expected: Option<&VersionId>) -> Result<Seen> {
    let (current, _, receipt) = current_and_receipt(ports, name, expected).await?;
    let sha256 = match &current {
        Current::Object(Accepted { upload, .. }) => digest(upload, receipt.as_ref()),
        Current::Gone { .. } | Current::Unknown => None,
    };
    Ok(Seen { current, sha256 })
}

/// What must be known of the base to change it: read while the names are looked at.
pub(crate) struct Known {
    /// With the pages on the way to the batch's places.
    index: Index,
    /// The pages that could not be read.
    unread: Unread,
    /// The first of the documents there.
    documents: BTreeMap<Sha256, Draft<Targets>>,
}

impl Known {
    /// # Errors
    /// The first page that can't be read.
    pub async fn read(store: &dyn Store, base: &Manifest, places: &[Place<'_>]) -> Result<Self> {
        let mut known = Self::read_what_can_be(store, base, places).await;
        all(std::mem::take(&mut known.unread))?;
        Ok(known)
    }

    async fn read_what_can_be(store: &dyn Store, base: &Manifest, places: &[Place<'_>]) -> Self {
        let mut index = Index::new(base.top.clone());
        let unread = extend(store, &mut index, places).await;
        let roles = places.iter().filter_map(|place| match place {
            Place::Name(name) => index.leaf(name).ok(),
            Place::Role(role) => Some((*role).clone()),
        });
        let roles: BTreeSet<RoleName> = roles.collect();
        let reads = roles.iter().take(REQUESTS_AT_ONCE).filter_map(|role| Some((role, &index.entry(role)?.document)));
        let reads =
            reads.map(|(role, entry)| async move { Some((entry.draft, draft(store, role, entry).await.ok()?)) });
        // One that can't be read is asked for again if it is needed.
        let documents = at_once(reads).await.into_iter().flatten().collect();
        Self { index, unread, documents }
    }
}

/// Why a batch was not folded in.
pub(crate) enum Unfolded {
    /// These can't be read: without the changes that need them it may be.
    Unread(Unread),
    /// Anything else.
    Failed(StageError),
}

impl From<StageError> for Unfolded {
    fn from(error: StageError) -> Self {
        Self::Failed(error)
    }
}

impl From<GenerationError> for Unfolded {
    fn from(error: GenerationError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<Unfolded> for StageError {
    fn from(unfolded: Unfolded) -> Self {
        match unfolded {
            Unfolded::Unread(unread) => all(unread).err().unwrap_or(Self::Contended("rebuild", 0)),
            Unfolded::Failed(error) => error,
        }
    }
}

/// The next generation, with all that its manifest names stored; `None` where nothing of the batch survives the check.
async fn next(
    ports: &Ports,
    batch: &mut Incoming<'_>,
    known: &mut Known,
    base: &Manifest,
    again: Option<&Again>,
    generation: u64,
) -> std::result::Result<Option<Manifest>, Unfolded> {
    let (mut edits, mut renew) = batch.survivors(base, &known.index, again);
    let mut bins = base.bins_keys();
    let offline = ports.config.offline_targets;
    if offline && renew.remove(&RoleName::targets()) {
        tracing::error!("targets is due, and people sign it: run `tufline targets next`");
    }
    if offline && base.top.bins.is_none() {
        return Err(Unfolded::Failed(StageError::Refused(
            "offline_targets is set, and targets lists targets itself, so nothing can be published: unset it, or begin the repository with bins".into(),
        )));
    }
    // The keys of the bins stand in `targets`: where people sign that, `offline_targets` replaces them.
    if batch.replaces_bins_key() && !offline {
        match next_bins_key(ports, base, known).await {
            Ok(Some((next, delegating))) => {
                renew.extend(delegating);
                bins = next;
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, "the bins' key can't be replaced now");
                batch.fail_where(&error.to_string(), |change| *change == Change::ReplaceBinsKey);
            }
        }
    }
    let judged = others(ports, batch, base, &edits, again).await?;
    if judged.changes_targets && offline {
        return Err(Unfolded::Failed(StageError::Refused(
            "a delegation changes targets, and people sign it: unset offline_targets, or remove the delegation".into(),
        )));
    }
    if judged.changes_targets {
        renew.insert(RoleName::targets());
    }
    let store = &*ports.store;
    let mut batch = Batch::new(&renew, &bins, &judged);
    if let Some(again) = again {
        // Whatever becomes of the changes, there must be a generation to go on from.
        batch = batch.numbered(generation, again.first(judged.now).max(base.serial));
    }
    let policy = |removals| Policy { removals, now: judged.now, ..ports.policy(None) };
    let limit = Some(ports.config.removals);
    match fold(store, base, known, &edits, batch, policy(limit)).await {
        Err(Unfolded::Failed(StageError::Generation(GenerationError::TooManyRemovals { removals, targets }))) => {
            if removals_accepted(ports, Time::MIN).await? {
                return fold(store, base, known, &edits, batch, policy(None)).await;
            }
            hold(ports, &edits, removals, targets).await?;
            edits.retain(|edit| edit.edit != Edit::Remove);
            fold(store, base, known, &edits, batch, policy(limit)).await
        }
        folded => folded,
    }
}

/// The keys of the bins after `base` where one is to be replaced, and the roles that list them.
async fn next_bins_key(ports: &Ports, base: &Manifest, known: &mut Known) -> Result<Option<(BinsKeys, Vec<RoleName>)>> {
    let (index, unread) = readable_below(&*ports.store, base, |_| true).await;
    all(unread)?;
    let newest = ports.signer.newest_key(OnlineRole::Bins).await?;
    let next = BinsKeys::next(base, &index, &newest);
    let delegating = index.entries().filter(|(_, entry)| entry.bins.is_some()).map(|(role, _)| role);
    let next = next.map(|next| (next, delegating.collect()));
    known.index = index;
    Ok(next)
}

/// What the batch makes of other parties: their files that it tells of are looked at, and those of a party of which something was
/// uploaded, since they may have waited for it.
async fn others(
    ports: &Ports,
    batch: &mut Incoming<'_>,
    base: &Manifest,
    edits: &[TargetEdit],
    again: Option<&Again>,
) -> Result<Judged> {
    let parties = parties(&*ports.store, base).await?;
    let carries_out = again.is_some() || batch.changes().any(|change| *change == Change::Decision);
    let mut asked: BTreeSet<RoleName> = batch
        .changes()
        .filter_map(|change| if let Change::Delivery { role } = change { Some(role.clone()) } else { None })
        .collect();
    let uploaded = edits.iter().filter(|edit| matches!(edit.edit, Edit::Set(_)));
    let owners = uploaded.filter_map(|edit| Some((&edit.name, parties.owner(&edit.name)?)));
    for (name, (role, _)) in owners.filter(|(_, (_, party))| party.state != PartyState::Removed) {
        asked.insert(role.clone());
        batch.owned.insert(name.clone());
    }
    asked.extend(again.into_iter().flat_map(|again| again.roles.iter().cloned()));
    let mut judged = judge(ports, base, parties, carries_out, &asked).await;
    batch.refused = std::mem::take(&mut judged.refused);
    batch.undecided = judged.has_rest;
    if let Some(error) = judged.undecided.take() {
        tracing::warn!(%error, "decisions not carried out now");
        batch.fail_where(&error.to_string(), |change| *change == Change::Decision);
    }
    for (role, error) in std::mem::take(&mut judged.unread) {
        tracing::warn!(%role, %error, "files not readable, they are looked at again");
        let asks = |change: &Change| matches!(change, Change::Delivery { role: asked } if *asked == role);
        if !batch.fail_where(&format!("{role}: {error}"), asks) {
            batch.unseen.insert(role);
        }
    }
    Ok(judged)
}

/// What a generation has beside edits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Batch<'a> {
    /// Roles to draft anew.
    pub renew: &'a BTreeSet<RoleName>,
    /// The keys of the bins.
    pub bins: &'a BinsKeys,
    /// Other parties.
    pub judged: &'a Judged,
    /// The document of `targets` that people signed, if this generation takes one in.
    pub adopted: Option<&'a AddressedDraft>,
    /// Its number and that above which its documents are numbered, where it isn't simply the next one after its base. It is made then
    /// even if it changes nothing.
    pub numbers: Option<(u64, u64)>,
}

impl<'a> Batch<'a> {
    /// Nothing that people signed, and the next numbers.
    pub fn new(renew: &'a BTreeSet<RoleName>, bins: &'a BinsKeys, judged: &'a Judged) -> Self {
        Self { renew, bins, judged, adopted: None, numbers: None }
    }

    fn numbered(self, generation: u64, first: u64) -> Self {
        Self { numbers: Some((generation, first)), ..self }
    }
}

/// Folds the edits into the documents on the way to their names: each is read, changed and stored by itself, so that no more
/// of them are in memory than requests are under way. The index in `known` has the pages on the way to all of them.
pub(crate) async fn fold(
    store: &dyn Store,
    base: &Manifest,
    known: &Known,
    edits: &[TargetEdit],
    batch: Batch<'_>,
    policy: Policy,
) -> std::result::Result<Option<Manifest>, Unfolded> {
    let Batch { renew, bins, judged, adopted, numbers } = batch;
    let changes = *bins != base.bins_keys() || judged.changes(base) || adopted.is_some() || numbers.is_some();
    if edits.is_empty() && renew.is_empty() && !changes {
        return Ok(None);
    }
    let mut folding = Folding::new(base, known.index.clone(), edits, renew, bins.clone(), &judged.others, policy)?;
    if let Some((generation, first)) = numbers {
        folding = folding.numbered(generation, first);
    }
    if let Some(targets) = adopted {
        folding.adopt(targets);
    }
    let reads = folding.wanted()?.into_iter().map(|(role, entry)| async move {
        let document = match known.documents.get(&entry.draft) {
            Some(document) => Ok(document.clone()),
            None => draft(store, &role, &entry).await,
        };
        (role, document)
    });
    let mut reads = stream::iter(reads.collect::<Vec<_>>()).buffered(REQUESTS_AT_ONCE);
    let (mut documents, to_write) = mpsc::channel::<Document>(0);
    // Sending fails only where a write has failed, and then nobody waits for the rest.
    let folded = async move {
        let taken = judged.taken.iter().map(Document::delivered);
        for document in taken.chain(judged.record.iter().map(Document::parties)) {
            let _ = documents.send(document).await;
        }
        // All that can't be read is found in one turn.
        let mut unread = Unread::new();
        while let Some((role, document)) = reads.next().await {
            match document.and_then(|document| Ok(folding.fold(&document)?)) {
                Ok(drafts) if unread.is_empty() => {
                    for draft in drafts {
                        let _ = documents.send(Document::draft(&draft)).await;
                    }
                }
                Ok(_) => {}
                Err(error) => _ = unread.insert(role, error),
            }
        }
        if !unread.is_empty() {
            return Err(Unfolded::Unread(unread));
        }
        let Next { manifest, pages } = folding.finish()?;
        for page in &pages {
            let _ = documents.send(Document::page(page)).await;
        }
        Ok(manifest)
    };
    let writes = to_write
        .map(|document| async move { ledger::create_or_find(store, &document).await.map_err(Unfolded::Failed) });
    let written = writes.buffer_unordered(REQUESTS_AT_ONCE).try_collect::<()>();
    let (manifest, ()) = futures::try_join!(folded, written)?;
    Ok(Some(manifest))
}

/// Whether an operator accepts removals of any number now. What can't be read accepts none, and nobody accepts them for longer than
/// [`ledger::LONGEST_ACCEPTANCE`] after it was written: so nobody has to take a mistake back.
///
/// Only what he said at `since` or later counts: who said it before meant other removals.
///
/// # Errors
/// The ledger can't be read.
pub async fn removals_accepted(ports: &Ports, since: Time) -> Result<bool> {
    let Some(stored) = ports.store.get(&Key::RemovalsAccepted).await? else { return Ok(false) };
    if stored.modified < since {
        return Ok(false);
    }
    let accepted: RemovalsAccepted = match ledger::parse(&Key::RemovalsAccepted, &stored.bytes) {
        Ok(accepted) => accepted,
        Err(error) => {
            tracing::error!(%error, "no removals are accepted by it; `tufline accept-removals` replaces it");
            return Ok(false);
        }
    };
    let longest = time::after(stored.modified, ledger::LONGEST_ACCEPTANCE);
    Ok(accepted.until.min(longest) > ports.clock.now())
}

/// Puts the batch's removals aside for an operator: a record in the ledger, and an alarm.
async fn hold(ports: &Ports, edits: &[TargetEdit], removals: u64, targets: u64) -> Result<()> {
    let names = edits.iter().filter(|edit| edit.edit == Edit::Remove).map(|edit| edit.name.clone()).collect();
    let held = HeldRemovals { format: RECORD_FORMAT, names };
    let key = |bytes: &[u8]| Key::Held(Sha256::of(bytes));
    let bytes = json::to_vec(&held).map_err(|error| StageError::Record("held".into(), error.to_string()))?;
    let reason = format!(
        "{removals} of {targets} targets were removed at once; if that is meant, run `tufline accept-removals`, else upload \
         them again"
    );
    tracing::error!(removals, targets, reason, "removals held");
    if ports.store.create(&ledger::record(key(&bytes), &held)?).await? == Written::Done {
        ports.events.send(&[Event::RemovalsHeld { removals, targets, reason }]).await?;
    }
    Ok(())
}

/// Tells of what was dropped or refused, has hash look at what lacks its bytes or its receipt, and nudges sign if anything waits there.
/// Answers the messages that must come again.
async fn finish(
    ports: &Ports,
    batch: &Incoming<'_>,
    again: Option<&Again>,
    tip: &Tip,
    newest: &Manifest,
) -> Result<BTreeMap<usize, StageError>> {
    // A crash after this: the messages come again, and their parts as well.
    let (failed, mut unhandled) = batch.leftovers();
    // A crash before these are sent: they are looked at once the generation is told of ([`crate::announce`]).
    let later = again.into_iter().flat_map(|again| &again.later);
    unhandled.extend(later.map(|name| Change::Look { name: name.clone() }));
    for message in Message::changes(unhandled) {
        ports.queues.send(&message, Duration::ZERO).await?;
    }
    let answered: BTreeSet<(&str, &str)> = newest
        .changes
        .iter()
        .filter(|change| matches!(change.outcome, Outcome::Set(_)))
        .filter_map(|change| Some((change.name.as_str(), change.version.as_deref()?)))
        .collect();
    let superseded: Vec<Event> = batch
        .superseded
        .iter()
        .flat_map(|(name, versions)| versions.iter().map(move |version| (name, version)))
        .filter(|(name, version)| !answered.contains(&(name.as_str(), version.0.as_str())))
        .map(|(name, version)| Event::UploadSuperseded { name: name.as_str().into(), version: version.clone() })
        .collect();
    if !superseded.is_empty() {
        ports.events.send(&superseded).await?;
    }
    for change in &newest.changes {
        if let (Outcome::Refused(refusal), Some(version)) = (&change.outcome, &change.version)
            && let Some(Seen { current: Current::Object(accepted), .. }) = batch.seen.get(&change.name)
            && accepted.version.0 == *version
        {
            let (upload, refusal) = (accepted.upload.clone(), refusal.clone());
            reject(ports, &RefusedUpload { upload, refusal }).await?;
        }
    }
    for refused in &batch.refused {
        reject_delivery(ports, refused).await?;
    }
    let unstored = again.into_iter().flat_map(|again| &again.unstored);
    let hints = unstored.chain(&batch.unhashed);
    let hints = hints.map(|name| Hint { name: name.as_str().into(), removed: true, version: None });
    // What a document lost because clients don't read it alike: hash tells why, and looks for an upload beneath.
    let dropped = newest.changes.iter().filter_map(|change| match (&change.outcome, &change.version) {
        (Outcome::Refused(refusal), None) => Some((&change.name, refusal)),
        _ => None,
    });
    let dropped = dropped.map(|(name, refusal)| {
        tracing::error!(%name, %refusal, "target left out");
        Hint { name: name.as_str().into(), removed: false, version: None }
    });
    for message in Message::uploads(hints.chain(dropped).collect()) {
        ports.queues.send(&message, HINT_DELAY).await?;
    }
    if newest.generation > tip.published.generation {
        ports.queues.send(&Message::Sign, Duration::ZERO).await?;
    }
    Ok(failed)
}
