//! Rebuild: folds a batch of changes into the next generation.
//!
//! One order in every attempt: read the newest manifest (the base), then HEAD every name, then create `base + 1`. Whoever
//! creates it first wins; the others begin again on the new base. A HEAD made before the base was read proves nothing,
//! since a newer attempt may have looked and won in between.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::SinkExt;
use futures::channel::mpsc;
use futures::stream::{self, StreamExt, TryStreamExt};
use tough::schema::Targets;
use tufline_store::{Change, Document, Event, Hint, Key, Message, OnlineRole, Store, VersionId, Written};
use tufline_tuf::generation::{Edit, Folding, GenerationError, Next, Policy, TargetEdit};
use tufline_tuf::index::Place;
use tufline_tuf::parties::PartyState;
use tufline_tuf::replay::LARGEST_JUMP;
use tufline_tuf::{AddressedDraft, BinsKeys, Content, Draft, Index, Manifest, Outcome, RoleName, Sha256, TargetName};

use crate::current::{Accepted, Current, RefusedUpload, current_and_receipt, digest};
use crate::delivery::reject_delivery;
use crate::hash::reject;
use crate::index::{draft, index, index_below};
use crate::ledger::{self, HeldRemovals, RECORD_FORMAT, RecordedFault, RemovalsAccepted};
use crate::measure;
use crate::parties::{Judged, judge, parties};
use crate::pending::Tip;
use crate::ports::{HEADS_AT_ONCE, Ports, REQUESTS_AT_ONCE, Result, StageError, at_once, some_at_once};

/// After so many lost races the batch goes back to its queue.
const ATTEMPTS: usize = 8;

/// How long a hint waits about a target whose bytes were missing, or whose receipt is: this bounds the rate.
const HINT_DELAY: Duration = Duration::from_secs(5);

/// Where somebody takes numbers ahead again and again, the numbers that are left out grow four times with each, up to this power of four.
const MOST_JUMPS: u32 = 9;

/// The same with the numbers of snapshots: so many doublings of the fences that use them up.
const MOST_FENCES: u32 = 5;

/// What became of a batch.
#[derive(Debug, Default)]
pub struct Rebuilt {
    /// The generation that was created, if any change was still current.
    pub generation: Option<u64>,
    /// The messages, by their place in the batch, that must come again, and why.
    pub failed: BTreeMap<usize, StageError>,
}

/// Folds the changes of a batch of messages into one generation.
///
/// # Errors
/// All messages must come again.
pub async fn rebuild(ports: &Ports, messages: &[Vec<Change>]) -> Result<Rebuilt> {
    let (mut batch, mut is_broken) = (Incoming::new(messages), false);
    for _ in 0..ATTEMPTS {
        let tip = Tip::read(&*ports.store).await?;
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
        let (looked, known) =
            futures::join!(batch.look(ports, &tip, again.as_ref()), Known::read(&*ports.store, &base, &places));
        looked?;
        // A crash up to the creation leaves drafts and pages that nothing refers to.
        let made = match known {
            Ok(known) => Box::pin(next(ports, &mut batch, known, &base, again.as_ref(), next_generation)).await,
            Err(error) => Err(error),
        };
        let made = match made {
            Err(StageError::Missing(..) | StageError::Record(..) | StageError::Document(_))
                if !is_broken && base.generation != tip.published.generation =>
            {
                tracing::error!(
                    generation = base.generation,
                    "what it says is made is not in the ledger: going on without it"
                );
                is_broken = true;
                continue;
            }
            made => made?,
        };
        let Some(next) = made else {
            // Nothing of the batch is current any more: whatever made it so has a message of its own.
            finish(ports, &batch, again.as_ref(), &tip, &base).await?;
            return Ok(Rebuilt { generation: None, failed: batch.failed });
        };
        let generation = next.generation;
        if ledger::create_manifest(&*ports.store, &next).await? == Written::Done {
            tracing::info!(generation, base = next.base, changes = next.changes.len(), "generation created");
            measure::batch(next.changes.len());
            for (upload, name) in next.uploads() {
                tracing::info!(upload, %name, generation, "upload in generation");
            }
            // A crash here: the messages come again and make a fence; refresh nudges sign.
            finish(ports, &batch, again.as_ref(), &tip, &next).await?;
            return Ok(Rebuilt { generation: Some(generation), failed: batch.failed });
        }
    }
    Err(StageError::Contended("rebuild", ATTEMPTS))
}

/// What must be looked at again where the newest generation is void: all that was to be changed since what is published. The next one is
/// based on that.
#[derive(Debug, Default)]
struct Again {
    /// The targets.
    names: BTreeSet<TargetName>,
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
        again
    }

    /// The documents of the next generation take the versions above this one: far enough above those that others took, so that they can't be
    /// met again and again.
    fn first(&self) -> u64 {
        let jump = if self.taken == 0 { 0 } else { 4_u64.pow(self.taken.min(MOST_JUMPS)) };
        self.serial + jump
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
    failed: BTreeMap<usize, StageError>,
    /// The generations up to this one were there before the names were first looked at.
    looked_since: Option<u64>,
    seen: BTreeMap<TargetName, Seen>,
    superseded: BTreeMap<TargetName, BTreeSet<VersionId>>,
    unhashed: BTreeSet<TargetName>,
    /// Files of other parties that were refused.
    refused: Vec<RefusedUpload>,
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
            looked_since: None,
            seen: BTreeMap::new(),
            superseded: BTreeMap::new(),
            unhashed: BTreeSet::new(),
            refused: Vec::new(),
        }
    }

    /// The changes of the messages that haven't failed.
    fn changes(&self) -> impl Iterator<Item = &'a Change> + use<'a, '_> {
        let messages = self.messages.iter().enumerate().filter(|(index, _)| !self.failed.contains_key(index));
        messages.flat_map(|(_, changes)| changes)
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

    /// A look that failed never drops a change: the messages that have it come again, the others go on.
    fn fail(&mut self, name: &TargetName, error: &StageError) {
        tracing::warn!(%name, %error, "look failed");
        self.seen.remove(name);
        for (index, changes) in self.messages.iter().enumerate() {
            if changes.iter().filter_map(name_of).any(|(changed, _)| changed == name) {
                self.failed.entry(index).or_insert_with(|| StageError::Refused(error.to_string()));
            }
        }
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
                Some(Seen { current: Current::Unknown, .. }) | None => {}
            }
        }
        // The same change twice in a batch is one change.
        let mut met = BTreeSet::new();
        edits.retain(|edit| met.insert(edit.name.clone()));
        if let Some(again) = again {
            edits.retain(|edit| !again.unstored.contains(&edit.name));
        }
        (self.superseded, self.unhashed) = (superseded, unhashed);
        (edits, renew)
    }
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
    /// The first of the documents there.
    documents: BTreeMap<Sha256, Draft<Targets>>,
}

impl Known {
    pub async fn read(store: &dyn Store, base: &Manifest, places: &[Place<'_>]) -> Result<Self> {
        let index = index(store, base, places).await?;
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
        Ok(Self { index, documents })
    }
}

/// The next generation, with all that its manifest names stored; `None` where nothing of the batch survives the check.
async fn next(
    ports: &Ports,
    batch: &mut Incoming<'_>,
    mut known: Known,
    base: &Manifest,
    again: Option<&Again>,
    generation: u64,
) -> Result<Option<Manifest>> {
    let (mut edits, mut renew) = batch.survivors(base, &known.index, again);
    let mut bins = base.bins_keys();
    let offline = ports.config.offline_targets;
    if offline && renew.remove(&RoleName::targets()) {
        tracing::error!("targets is due, and people sign it: run `tufline targets next`");
    }
    if offline && base.top.bins.is_none() {
        return Err(StageError::Refused(
            "offline_targets is set, and targets lists targets itself, so nothing can be published: unset it, or begin the repository with bins".into(),
        ));
    }
    // The keys of the bins stand in `targets`: where people sign that, `offline_targets` replaces them.
    if batch.replaces_bins_key() && !offline {
        known.index = index_below(&*ports.store, base, |_| true).await?;
        let newest = ports.signer.newest_key(OnlineRole::Bins).await?;
        if let Some(next) = BinsKeys::next(base, &known.index, &newest) {
            renew.extend(known.index.entries().filter(|(_, entry)| entry.bins.is_some()).map(|(role, _)| role));
            bins = next;
        }
    }
    let judged = others(ports, batch, base, &edits, again).await?;
    if judged.changes_targets && offline {
        return Err(StageError::Refused(
            "a delegation changes targets, and people sign it: unset offline_targets, or remove the delegation".into(),
        ));
    }
    if judged.changes_targets {
        renew.insert(RoleName::targets());
    }
    let store = &*ports.store;
    let mut batch = Batch::new(&renew, &bins, &judged);
    if let Some(again) = again {
        // Whatever becomes of the changes, there must be a generation to go on from.
        batch = batch.numbered(generation, again.first().max(base.serial));
    }
    let policy = |removals| Policy { removals, now: judged.now, ..ports.policy(None) };
    let limit = Some(ports.config.removals);
    match fold(store, base, &known, &edits, batch, policy(limit)).await {
        Err(StageError::Generation(GenerationError::TooManyRemovals { removals, targets })) => {
            if removals_accepted(ports).await? {
                return fold(store, base, &known, &edits, batch, policy(None)).await;
            }
            hold(ports, &edits, removals, targets).await?;
            edits.retain(|edit| edit.edit != Edit::Remove);
            fold(store, base, &known, &edits, batch, policy(limit)).await
        }
        folded => folded,
    }
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
    let owners = uploaded.filter_map(|edit| parties.owner(&edit.name));
    asked.extend(owners.filter(|(_, party)| party.state != PartyState::Removed).map(|(role, _)| role.clone()));
    asked.extend(again.into_iter().flat_map(|again| again.roles.iter().cloned()));
    let mut judged = judge(ports, base, parties, carries_out, &asked).await?;
    batch.refused = std::mem::take(&mut judged.refused);
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
) -> Result<Option<Manifest>> {
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
        match known.documents.get(&entry.draft) {
            Some(document) => Ok(document.clone()),
            None => draft(store, &role, &entry).await,
        }
    });
    let mut reads = stream::iter(reads.collect::<Vec<_>>()).buffered(REQUESTS_AT_ONCE);
    let (mut documents, to_write) = mpsc::channel::<Document>(0);
    // Sending fails only where a write has failed, and then nobody waits for the rest.
    let folded = async move {
        let taken = judged.taken.iter().map(Document::delivered);
        for document in taken.chain(judged.record.iter().map(Document::parties)) {
            let _ = documents.send(document).await;
        }
        while let Some(document) = reads.next().await {
            for draft in folding.fold(&document?)? {
                let _ = documents.send(Document::draft(&draft)).await;
            }
        }
        let Next { manifest, pages } = folding.finish()?;
        for page in &pages {
            let _ = documents.send(Document::page(page)).await;
        }
        Ok::<_, StageError>(manifest)
    };
    let writes = to_write.map(|document| async move { ledger::create_or_find(store, &document).await });
    let written = writes.buffer_unordered(REQUESTS_AT_ONCE).try_collect::<()>();
    let (manifest, ()) = futures::try_join!(folded, written)?;
    Ok(Some(manifest))
}

async fn removals_accepted(ports: &Ports) -> Result<bool> {
    let accepted: Option<RemovalsAccepted> = ledger::read(&*ports.store, &Key::RemovalsAccepted).await?;
    Ok(accepted.is_some_and(|accepted| accepted.until > ports.clock.now()))
}

/// Puts the batch's removals aside for an operator: a record in the ledger, and an alarm.
async fn hold(ports: &Ports, edits: &[TargetEdit], removals: u64, targets: u64) -> Result<()> {
    let names = edits.iter().filter(|edit| edit.edit == Edit::Remove).map(|edit| edit.name.clone()).collect();
    let held = HeldRemovals { format: RECORD_FORMAT, names };
    let key = |bytes: &[u8]| Key::Held(Sha256::of(bytes));
    let bytes =
        tufline_tuf::json::to_vec(&held).map_err(|error| StageError::Record("held".into(), error.to_string()))?;
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
async fn finish(
    ports: &Ports,
    batch: &Incoming<'_>,
    again: Option<&Again>,
    tip: &Tip,
    newest: &Manifest,
) -> Result<()> {
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
    Ok(())
}
