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
use tufline_tuf::generation::{self, Edit, Folding, GenerationError, Next, Policy, TargetEdit};
use tufline_tuf::index::Place;
use tufline_tuf::parties::PartyState;
use tufline_tuf::{AddressedDraft, BinsKeys, Content, Draft, Index, Manifest, Outcome, RoleName, Sha256, TargetName};

use crate::current::{Accepted, Current, RefusedUpload, current_and_receipt, digest};
use crate::delivery::reject_delivery;
use crate::hash::reject;
use crate::index::{draft, extend, index, index_below};
use crate::ledger::{self, HeldRemovals, Published, RECORD_FORMAT, RemovalsAccepted};
use crate::measure;
use crate::parties::{Judged, judge, parties};
use crate::ports::{HEADS_AT_ONCE, Ports, REQUESTS_AT_ONCE, Result, StageError, at_once, some_at_once};

/// After so many lost races the batch goes back to its queue.
const ATTEMPTS: usize = 8;

/// How long a hint about a reverted target waits: what the gate refused once it may refuse again, and this bounds the rate.
const REVERT_DELAY: Duration = Duration::from_secs(5);

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
    let mut batch = Incoming::new(messages);
    for _ in 0..ATTEMPTS {
        let (published, base) = ledger::newest(&*ports.store).await?;
        let places = batch.places();
        let (looked, known) = futures::join!(batch.look(ports, &base), Known::read(&*ports.store, &base, &places));
        looked?;
        // A crash up to the creation leaves drafts and pages that nothing refers to.
        let Some(next) = next(ports, &mut batch, known?, &published, &base).await? else {
            // Nothing of the batch is current any more: whatever made it so has a message of its own.
            finish(ports, &batch, &published, &base).await?;
            return Ok(Rebuilt { generation: None, failed: batch.failed });
        };
        let generation = next.generation;
        if ledger::create_manifest(&*ports.store, &next).await? == Written::Done {
            tracing::info!(generation, changes = next.changes.len(), "generation created");
            measure::batch(next.changes.len());
            for (upload, name) in next.uploads() {
                tracing::info!(upload, %name, generation, "upload in generation");
            }
            // A crash here: the messages come again and make a fence; refresh nudges sign.
            finish(ports, &batch, &published, &next).await?;
            return Ok(Rebuilt { generation: Some(generation), failed: batch.failed });
        }
    }
    Err(StageError::Contended("rebuild", ATTEMPTS))
}

/// A batch of messages and what is known of the names in it.
struct Incoming<'a> {
    messages: &'a [Vec<Change>],
    failed: BTreeMap<usize, StageError>,
    /// The generation of the first attempt's base.
    first_base: Option<u64>,
    seen: BTreeMap<TargetName, Seen>,
    reverted: BTreeSet<TargetName>,
    superseded: BTreeMap<TargetName, BTreeSet<VersionId>>,
    unhashed: BTreeSet<TargetName>,
    /// Uploads of reverted targets.
    unanswered: BTreeSet<(TargetName, VersionId)>,
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
            first_base: None,
            seen: BTreeMap::new(),
            reverted: BTreeSet::new(),
            superseded: BTreeMap::new(),
            unhashed: BTreeSet::new(),
            unanswered: BTreeSet::new(),
            refused: Vec::new(),
        }
    }

    /// The changes of the messages that haven't failed.
    fn changes(&self) -> impl Iterator<Item = &'a Change> + use<'a, '_> {
        let messages = self.messages.iter().enumerate().filter(|(index, _)| !self.failed.contains_key(index));
        messages.flat_map(|(_, changes)| changes)
    }

    /// HEADs the names of the batch, after `base` was read: all of them at first, later only those that generations since
    /// the first base touched (else a large batch would never win).
    async fn look(&mut self, ports: &Ports, base: &Manifest) -> Result<()> {
        let first_base = *self.first_base.get_or_insert(base.generation);
        let mut touched = BTreeSet::new();
        for generation in first_base + 1..=base.generation {
            let manifest = ledger::manifest(&*ports.store, generation).await?;
            touched.extend(manifest.changes.into_iter().map(|change| change.name));
        }
        // By name, the version that is expected there, which is the last one told of.
        let names: BTreeMap<&TargetName, Option<&VersionId>> = self.changes().filter_map(name_of).collect();
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
    fn places(&self) -> Vec<Place<'a>> {
        let place = |change: &'a Change| match change {
            Change::Set { name, .. } | Change::Remove { name, .. } => Some(Place::Name(name)),
            Change::Renew { role, .. } => Some(Place::Role(role)),
            Change::Revert { .. } | Change::ReplaceBinsKey | Change::Delivery { .. } => None,
        };
        self.changes().filter_map(place).collect()
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
    fn survivors(&mut self, base: &Manifest, index: &Index) -> (Vec<TargetEdit>, BTreeSet<RoleName>) {
        let (mut edits, mut renew, mut reverted) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
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
                Change::Revert { names } => reverted.extend(names.iter().cloned()),
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
                Change::ReplaceBinsKey | Change::Delivery { .. } => {}
            }
        }
        // The same change twice in a batch is one change.
        let mut met = BTreeSet::new();
        edits.retain(|edit| met.insert(edit.name.clone()));
        // A revert wins over what came with it; the upload that loses is looked at again.
        let (lost, edits): (Vec<TargetEdit>, _) = edits.into_iter().partition(|edit| reverted.contains(&edit.name));
        let lost = lost.into_iter().filter(|edit| matches!(edit.edit, Edit::Set(_)));
        self.unanswered = lost.filter_map(|edit| Some((edit.name, VersionId(edit.version?)))).collect();
        (self.reverted, self.superseded, self.unhashed) = (reverted, superseded, unhashed);
        (edits, renew)
    }
}

/// The target that a change is about, and the version that was uploaded.
fn name_of(change: &Change) -> Option<(&TargetName, Option<&VersionId>)> {
    match change {
        Change::Set { name, version } => Some((name, Some(version))),
        Change::Remove { name, .. } => Some((name, None)),
        Change::Revert { .. } | Change::Renew { .. } | Change::ReplaceBinsKey | Change::Delivery { .. } => None,
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
        let reads =
            roles.iter().take(REQUESTS_AT_ONCE).filter_map(|role| Some((role, index.entry(role)?.document.draft)));
        let reads = reads.map(|(role, digest)| async move { Some((digest, draft(store, role, &digest).await.ok()?)) });
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
    published: &Published,
    base: &Manifest,
) -> Result<Option<Manifest>> {
    let (mut edits, mut renew) = batch.survivors(base, &known.index);
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
    let judged = others(ports, batch, published, base, &edits).await?;
    if judged.changes_targets && offline {
        return Err(StageError::Refused(
            "a delegation changes targets, and people sign it: unset offline_targets, or remove the delegation".into(),
        ));
    }
    if judged.changes_targets {
        renew.insert(RoleName::targets());
    }
    let reverts = reverts(ports, batch, published, base).await?;
    let places: Vec<Place<'_>> = reverts.iter().map(|edit| Place::Name(&edit.name)).collect();
    extend(&*ports.store, &mut known.index, &places).await?;
    edits.extend(reverts);
    let limit = Some(ports.config.removals);
    let store = &*ports.store;
    let batch = Batch { renew: &renew, bins: &bins, judged: &judged, adopted: None };
    match fold(store, base, &known, &edits, batch, ports.policy(limit)).await {
        Err(StageError::Generation(GenerationError::TooManyRemovals { removals, targets })) => {
            if removals_accepted(ports).await? {
                return fold(store, base, &known, &edits, batch, ports.policy(None)).await;
            }
            hold(ports, &edits, removals, targets).await?;
            edits.retain(|edit| edit.edit != Edit::Remove);
            fold(store, base, &known, &edits, batch, ports.policy(limit)).await
        }
        folded => folded,
    }
}

/// What the batch makes of other parties: their files that it tells of are looked at, and those of a party of which something was
/// uploaded, since they may have waited for it.
async fn others(
    ports: &Ports,
    batch: &mut Incoming<'_>,
    published: &Published,
    base: &Manifest,
    edits: &[TargetEdit],
) -> Result<Judged> {
    let parties = parties(&*ports.store, base).await?;
    let mut asked: BTreeSet<RoleName> = batch
        .changes()
        .filter_map(|change| if let Change::Delivery { role } = change { Some(role.clone()) } else { None })
        .collect();
    let uploaded = edits.iter().filter(|edit| matches!(edit.edit, Edit::Set(_)));
    let owners = uploaded.filter_map(|edit| parties.owner(&edit.name));
    asked.extend(owners.filter(|(_, party)| party.state != PartyState::Removed).map(|(role, _)| role.clone()));
    let mut refused = BTreeMap::new();
    for change in batch.changes() {
        if let Change::Renew { role, version } = change
            && parties.documents.contains_key(role)
        {
            refused.insert(role.clone(), *version);
        }
    }
    if asked.is_empty() && refused.is_empty() {
        return Ok(Judged::unchanged(base, parties));
    }
    let mut judged = judge(ports, base, parties, published.generation, &asked, &refused).await?;
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
}

/// Folds the edits into the documents on the way to their names: each is read, changed and stored by itself, so that no more
/// of them are in memory than requests are under way. The index in `known` has the pages on the way to all of them.
pub(crate) async fn fold(
    store: &dyn Store,
    base: &Manifest,
    known: &Known,
    edits: &[TargetEdit],
    batch: Batch<'_>,
    policy: Policy<'_>,
) -> Result<Option<Manifest>> {
    let Batch { renew, bins, judged, adopted } = batch;
    let same_bins_keys = *bins == base.bins_keys();
    if edits.is_empty() && renew.is_empty() && same_bins_keys && judged.others.changes.is_empty() && adopted.is_none() {
        return Ok(None);
    }
    let mut folding = Folding::new(base, known.index.clone(), edits, renew, bins.clone(), &judged.others, policy)?;
    if let Some(targets) = adopted {
        folding.adopt(targets);
    }
    let reads = folding.wanted()?.into_iter().map(|(role, digest)| async move {
        match known.documents.get(&digest) {
            Some(document) => Ok(document.clone()),
            None => draft(store, &role, &digest).await,
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

/// What the batch's reverted targets are in what is published now. Also notes which of their uploads the generations that
/// wait have answered so far: these must be answered again.
async fn reverts(
    ports: &Ports,
    batch: &mut Incoming<'_>,
    published: &Published,
    base: &Manifest,
) -> Result<Vec<TargetEdit>> {
    if batch.reverted.is_empty() {
        return Ok(Vec::new());
    }
    for generation in published.generation + 1..=base.generation {
        let manifest = ledger::manifest(&*ports.store, generation).await?;
        let set = manifest.changes.into_iter().filter(|change| matches!(change.outcome, Outcome::Set(_)));
        let set = set.filter(|change| batch.reverted.contains(&change.name));
        batch.unanswered.extend(set.filter_map(|change| Some((change.name, VersionId(change.version?)))));
    }
    let manifest = ledger::manifest(&*ports.store, published.generation).await?;
    let places: Vec<Place<'_>> = batch.reverted.iter().map(Place::Name).collect();
    let index = index(&*ports.store, &manifest, &places).await?;
    let leaf = |name: &TargetName| index.leaf(name).map_err(|(role, _)| GenerationError::Unread(role));
    let leaves: BTreeSet<RoleName> =
        batch.reverted.iter().map(leaf).collect::<std::result::Result<_, GenerationError>>()?;
    let reads = leaves.into_iter().map(|role| {
        let entry = index.entry(&role);
        async move {
            let entry = entry.ok_or_else(|| GenerationError::Missing(role.clone()))?;
            let document = draft(&*ports.store, &role, &entry.document.draft).await?;
            Ok::<_, StageError>((role, document))
        }
    });
    let documents: BTreeMap<RoleName, Draft<Targets>> = at_once(reads).await.into_iter().collect::<Result<_>>()?;
    let revert = |name: &TargetName| {
        let document = documents.get(&leaf(name)?).map(Draft::document);
        let content = document.and_then(|document| generation::content_of(document, name));
        Ok(TargetEdit { name: name.clone(), version: None, uploaded: None, edit: Edit::Revert(content) })
    };
    batch.reverted.iter().map(revert).collect()
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

/// Tells of what was dropped or refused, looks again at what was reverted, and nudges sign if anything waits there.
async fn finish(ports: &Ports, batch: &Incoming<'_>, published: &Published, newest: &Manifest) -> Result<()> {
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
    let again = batch.reverted.iter().chain(&batch.unhashed);
    let again = again.map(|name| Hint { name: name.as_str().into(), removed: true, version: None });
    let unanswered = batch.unanswered.iter();
    let unanswered = unanswered.map(|(name, version)| Hint {
        name: name.as_str().into(),
        removed: false,
        version: Some(version.clone()),
    });
    let hints = again.chain(unanswered).collect();
    for message in Message::uploads(hints) {
        ports.queues.send(&message, REVERT_DELAY).await?;
    }
    if newest.generation > published.generation {
        ports.queues.send(&Message::Sign, Duration::ZERO).await?;
    }
    Ok(())
}
