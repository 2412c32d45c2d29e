//! Sends events about what was published, at least once each.
//!
//! `announced.json` says up to which generation events were sent. Any run that finds it behind
//! sends the rest, then moves it. So the events follow from what is published, and no event depends
//! on the run that published surviving.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tufline_store::{
    Change, Event, Hint, Key, Message, PublishedTarget, Store, Stored, VersionId, Written,
};
use tufline_tuf::{Manifest, Outcome, Sha256, TargetName};

use crate::concurrency::REQUESTS_AT_ONCE;
use crate::error::Result;
use crate::measure;
use crate::ports::Ports;
use crate::state::ledger;
use crate::state::pending::{Pending, read_short};
use crate::state::records::{Announced, PassedOver, RECORD_FORMAT};
use crate::state::roots::IgnoredRoot;

/// How many generations one run announces at most. Hash looks again at what older ones changed.
const MOST_TOLD: u64 = 1000;

/// How many changes one run announces at most, since they are held in memory.
const MOST_CHANGES_TOLD: usize = 200_000;

/// How many passed-over generations one run reads, at most. The next run goes on.
const PASSED_OVER_AT_ONCE: usize = 1000;
/// After about how many looks a run reads no more passed-over generations.
const LOOKS_AT_ONCE: usize = 50_000;

/// For how many generations a run sends the events again where nobody can tell up to which one they
/// were sent.
const TOLD_AGAIN: u64 = 16;

/// Reads up to which generation events were sent. Where the record cannot be read, the answer is
/// [`TOLD_AGAIN`] generations before `published`.
async fn announced(ports: &Ports, published: u64) -> Result<(Announced, Option<Stored>)> {
    let pointer = ports.store.get(&Key::Announced).await?;
    let up_to = |generation| Announced {
        format: RECORD_FORMAT,
        generation,
        passed_over: None,
        ignored_roots: BTreeMap::new(),
    };
    let told = if let Some(stored) = &pointer {
        ledger::parse(&Key::Announced, &stored.bytes).unwrap_or_else(|error| {
            tracing::error!(%error, "announced.json ignored; look at who wrote it");
            up_to(published.saturating_sub(TOLD_AGAIN))
        })
    } else {
        let first = ledger::first_generation(&*ports.store).await?;
        up_to(first.map_or(0, |first| first.saturating_sub(1)))
    };
    Ok((told, pointer))
}

/// Writes the pointer. If this loses the race, another instance sent the same events too.
async fn remember(ports: &Ports, announced: &Announced, pointer: Option<&Stored>) -> Result<()> {
    let record = ledger::pointer(Key::Announced, announced)?;
    let (Written::Done | Written::Lost) = match pointer {
        Some(stored) => ports.store.replace(&record, &stored.tag).await?,
        None => ports.store.create(&record).await?,
    };
    Ok(())
}

/// Sends an event for each of these roots that no event was sent for yet.
pub async fn announce_ignored(
    ports: &Ports,
    ignored: &[IgnoredRoot],
    published: u64,
) -> Result<()> {
    let (mut announced, pointer) = announced(ports, published).await?;
    let lie: BTreeMap<u64, Sha256> =
        ignored.iter().map(|root| (root.version, root.sha256)).collect();
    if announced.ignored_roots == lie {
        return Ok(());
    }
    let untold = ignored
        .iter()
        .filter(|root| announced.ignored_roots.get(&root.version) != Some(&root.sha256));
    let events: Vec<Event> = untold
        .map(|IgnoredRoot { version, sha256, reason }| Event::RootIgnored {
            version: *version,
            sha256: *sha256,
            reason: reason.clone(),
        })
        .collect();
    if !events.is_empty() {
        ports.events.send(&events).await?;
    }
    // A crash here sends the events twice.
    announced.ignored_roots = lie;
    remember(ports, &announced, pointer.as_ref()).await
}

/// Sends the events of all published generations, and of the fences directly above them: a fence
/// answers changes that make no difference to what is published.
///
/// Returns the generation up to which everything is announced.
///
/// *Invariant*: whatever `announced.json` says, each run announces everything published from now
/// on, and takes a bounded time. A pointer ahead of what exists counts as wrong. What lies too far
/// back is not announced but looked at again, over many runs.
pub async fn announce(ports: &Ports) -> Result<u64> {
    let store = &*ports.store;
    let Some(published) = ledger::published(store).await? else { return Ok(0) };
    let published = published.generation;
    let (announced, pointer) = announced(ports, published).await?;
    let pending = Pending::read(store, published).await?;
    let fences: Vec<&Manifest> =
        pending.chain().into_iter().take_while(|manifest| manifest.is_fence()).collect();
    let settled = fences.last().map_or(published, |fence| fence.generation);
    // Nobody can have announced a generation that does not exist.
    let is_true = announced.generation <= settled;
    let said = if is_true { announced.generation } else { published.saturating_sub(TOLD_AGAIN) };
    let told = said.max(published.saturating_sub(MOST_TOLD));
    let mut manifests = published_since(store, published, told).await?;
    manifests.extend(fences.into_iter().filter(|fence| fence.generation > told).cloned());
    let newest = manifests.last().map_or(told, |manifest| manifest.generation);
    // The published generation and its bases are announced here. All other generations in between
    // were passed over, and hash looks again at the names they changed.
    let seen: BTreeSet<u64> = manifests.iter().map(|manifest| manifest.generation).collect();
    let mut passed_over = announced
        .passed_over
        .filter(|passed| passed.after < passed.up_to && passed.up_to <= settled);
    if newest - said > seen.len() as u64 {
        passed_over = Some(PassedOver {
            after: passed_over.map_or(said, |passed| passed.after.min(said)),
            up_to: newest,
        });
    }
    let left = match passed_over {
        Some(passed) => look_at_passed_over(ports, passed, &seen).await?,
        None => None,
    };
    if manifests.is_empty() && left == announced.passed_over && newest == announced.generation {
        return Ok(newest);
    }
    let events = events(published, &manifests);
    if !events.is_empty() {
        ports.events.send(&events).await?;
    }
    measure::published(&manifests, ports.clock.now());
    for manifest in &manifests {
        for (upload, name) in manifest.uploads() {
            tracing::info!(upload, %name, generation = manifest.generation, "upload published");
        }
    }
    // A crash here sends the events twice.
    let announced = Announced { generation: newest, passed_over: left, ..announced };
    remember(ports, &announced, pointer.as_ref()).await?;
    Ok(newest)
}

/// The published generation and those that it is based on, down to the one after `told`, oldest
/// first.
async fn published_since(store: &dyn Store, published: u64, told: u64) -> Result<Vec<Manifest>> {
    let (mut manifests, mut next, mut changes) = (Vec::new(), published, 0);
    while next > told && changes < MOST_CHANGES_TOLD {
        match ledger::manifest(store, next).await {
            // A base must be older, or this loop could run in a circle.
            Ok(manifest) if manifest.base < next => {
                next = manifest.base;
                changes += manifest.changes.len();
                manifests.push(manifest);
            }
            Err(error) if error.is_request() => return Err(error),
            Ok(_) | Err(_) => break,
        }
    }
    manifests.reverse();
    Ok(manifests)
}

/// Has hash look at the names that passed-over generations changed, leaving out the generations in
/// `seen`. Returns those still left to do.
async fn look_at_passed_over(
    ports: &Ports,
    passed: PassedOver,
    seen: &BTreeSet<u64>,
) -> Result<Option<PassedOver>> {
    let (store, mut after, mut looks) = (&*ports.store, passed.after, 0);
    let numbers: Vec<u64> = (passed.after + 1..=passed.up_to).take(PASSED_OVER_AT_ONCE).collect();
    for some in numbers.chunks(REQUESTS_AT_ONCE) {
        let unseen = some.iter().filter(|number| !seen.contains(number));
        let short =
            read_short(store, unseen.map(|number| (*number, Key::Manifest(*number)))).await?;
        for (number, bytes) in short {
            let bytes = match bytes {
                Some(bytes) if bytes.is_empty() => store.bytes(&Key::Manifest(number)).await?,
                bytes => bytes,
            };
            // A manifest that cannot be read answered nothing.
            if let Some(manifest) =
                bytes.and_then(|bytes| ledger::parse_manifest(number, &bytes).ok())
            {
                looks += manifest.changes.len();
                send_looks(ports, manifest).await?;
            }
            after = number;
            if looks > LOOKS_AT_ONCE {
                return Ok(
                    Some(PassedOver { after, ..passed }).filter(|left| left.after < left.up_to)
                );
            }
        }
        after = some.last().copied().unwrap_or(after);
    }
    // A crash before the pointer moves: hash looks at the same names twice.
    Ok(Some(PassedOver { after, ..passed }).filter(|left| left.after < left.up_to))
}

async fn send_looks(ports: &Ports, manifest: Manifest) -> Result<()> {
    let deliveries =
        manifest.deliveries().map(|(role, _)| Change::Delivery { role: role.clone() }).collect();
    let hints = manifest.changes.into_iter().map(|change| Hint {
        name: change.name.as_str().into(),
        removed: change.outcome == Outcome::Removed,
        version: change.version.map(VersionId),
    });
    for message in Message::uploads(hints.collect()).into_iter().chain(Message::changes(deliveries))
    {
        ports.queues.send(&message, Duration::ZERO).await?;
    }
    Ok(())
}

/// What became of each target over these generations. The last change counts: it superseded the
/// earlier uploads.
fn events(generation: u64, manifests: &[Manifest]) -> Vec<Event> {
    let mut last: BTreeMap<&TargetName, (Option<&String>, &Outcome)> = BTreeMap::new();
    let mut events = Vec::new();
    // Rebuild itself announces the uploads that it rejects. Their targets stay as they were.
    let changes = manifests.iter().flat_map(|manifest| &manifest.changes);
    for change in changes.filter(|change| {
        !matches!(change.outcome, Outcome::Rejected(_)) || change.version.is_none()
    }) {
        let before = last.insert(&change.name, (change.version.as_ref(), &change.outcome));
        if let Some((Some(version), Outcome::Set(_))) = before
            && change.version.as_ref() != Some(version)
        {
            let (name, version) = (change.name.as_str().to_owned(), VersionId(version.clone()));
            events.push(Event::UploadSuperseded { name, version });
        }
    }
    let (mut targets, mut removed) = (Vec::new(), Vec::new());
    for (name, (version, outcome)) in last {
        match outcome {
            Outcome::Set(content) => targets.push(PublishedTarget {
                name: name.clone(),
                version: version.cloned().map(VersionId),
                sha256: content.sha256,
                length: content.length,
            }),
            Outcome::Removed | Outcome::Rejected(_) => removed.push(name.clone()),
            Outcome::Delegated(role) => {
                events.extend(version.map(|version| Event::UploadDelegated {
                    name: name.as_str().to_owned(),
                    version: VersionId(version.clone()),
                    role: role.clone(),
                }));
            }
        }
    }
    let party_changes = manifests
        .iter()
        .flat_map(|manifest| manifest.party_changes.iter().map(move |it| (manifest, it)));
    for (manifest, (role, change)) in party_changes {
        events.push(Event::DelegationChanged {
            generation: manifest.generation,
            role: role.clone(),
            state: change.state,
            document: change.document.as_ref().map(|document| document.version),
            version: change.upload.clone().map(VersionId),
        });
    }
    events.extend(Event::published(generation, &targets, &removed));
    events
}
