//! Events about what was published, at least once each.
//!
//! `announced.json` says up to which generation events were sent. Whoever finds it behind sends the rest, then moves it:
//! events follow from what is published, never from having been the one who published it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tufline_store::{Change, Event, Hint, Key, Message, PublishedTarget, Stored, VersionId, Written};
use tufline_tuf::{Manifest, Outcome, Sha256, TargetName};

use crate::ledger::{self, Announced, RECORD_FORMAT};
use crate::measure;
use crate::pending::Pending;
use crate::ports::{Ports, Result, StageError, at_once};
use crate::roots::IgnoredRoot;

/// Up to which generation events were sent.
async fn announced(ports: &Ports) -> Result<(Announced, Option<Stored>)> {
    let pointer = ports.store.get(&Key::Announced).await?;
    let told = if let Some(stored) = &pointer {
        ledger::parse(&Key::Announced, &stored.bytes)?
    } else {
        let first = ledger::first_generation(&*ports.store).await?;
        let generation = first.map_or(0, |first| first.saturating_sub(1));
        Announced { format: RECORD_FORMAT, generation, ignored_roots: BTreeMap::new() }
    };
    Ok((told, pointer))
}

/// Moves the pointer. Losing means that another instance told the same too.
async fn remember(ports: &Ports, announced: &Announced, pointer: Option<&Stored>) -> Result<()> {
    let record = ledger::record(Key::Announced, announced)?;
    let (Written::Done | Written::Lost) = match pointer {
        Some(stored) => ports.store.replace(&record, &stored.tag).await?,
        None => ports.store.create(&record).await?,
    };
    Ok(())
}

/// Sends an event for each of these that none was sent for yet.
pub async fn announce_ignored(ports: &Ports, ignored: &[IgnoredRoot]) -> Result<()> {
    let (mut announced, pointer) = announced(ports).await?;
    let lie: BTreeMap<u64, Sha256> = ignored.iter().map(|root| (root.version, root.sha256)).collect();
    if announced.ignored_roots == lie {
        return Ok(());
    }
    let untold = ignored.iter().filter(|root| announced.ignored_roots.get(&root.version) != Some(&root.sha256));
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

/// Sends the events of all generations that are published, and of the fences directly above: these answer changes that
/// make no difference to what is published.
///
/// Answers up to which generation all is told.
pub async fn announce(ports: &Ports) -> Result<u64> {
    let store = &*ports.store;
    let (announced, pointer) = announced(ports).await?;
    let told = announced.generation;
    let Some(published) = ledger::published(store).await? else { return Ok(told) };
    let since = (told + 1..=published.generation).map(|generation| async move {
        match ledger::manifest(store, generation).await {
            Ok(manifest) => Ok(Some(manifest)),
            Err(error @ StageError::Store(_)) => Err(error),
            // What can't be read was passed over.
            Err(_) => Ok(None),
        }
    });
    let since: Vec<Option<Manifest>> = at_once(since).await.into_iter().collect::<Result<_>>()?;
    let mut since: BTreeMap<u64, Manifest> =
        since.into_iter().flatten().map(|manifest| (manifest.generation, manifest)).collect();
    // Those that what is published is based on; the others were passed over, and what they answered is looked at again.
    let (mut manifests, mut next) = (Vec::new(), published.generation);
    while let Some(manifest) = since.remove(&next) {
        next = manifest.base;
        manifests.push(manifest);
    }
    manifests.reverse();
    let pending = Pending::read(store, published.generation).await?;
    let fences = pending.chain().into_iter().take_while(|manifest| manifest.is_fence());
    manifests.extend(fences.filter(|fence| fence.generation > told).cloned());
    let newest = manifests.last().map_or(told, |manifest| manifest.generation);
    let among = |generation: u64| manifests.iter().any(|manifest| manifest.generation == generation);
    let void = pending.readable().filter(|void| void.generation > told && void.generation < newest);
    let void = void.filter(|void| !among(void.generation)).cloned();
    look_at(ports, since.into_values().chain(void)).await?;
    let Some(newest) = manifests.last().map(|manifest| manifest.generation) else { return Ok(told) };
    let events = events(published.generation, &manifests);
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
    remember(ports, &Announced { generation: newest, ..announced }, pointer.as_ref()).await?;
    Ok(newest)
}

/// Has hash look at all that these generations would have answered.
async fn look_at(ports: &Ports, passed_over: impl Iterator<Item = Manifest>) -> Result<()> {
    let (mut hints, mut roles) = (Vec::new(), BTreeSet::new());
    for manifest in passed_over {
        roles.extend(manifest.deliveries().map(|(role, _)| role.clone()));
        hints.extend(manifest.changes.into_iter().map(|change| Hint {
            name: change.name.as_str().into(),
            removed: change.outcome == Outcome::Removed,
            version: change.version.map(VersionId),
        }));
    }
    let deliveries = roles.into_iter().map(|role| Change::Delivery { role }).collect();
    for message in Message::uploads(hints).into_iter().chain(Message::changes(deliveries)) {
        ports.queues.send(&message, Duration::ZERO).await?;
    }
    Ok(())
}

/// What became of each target over these generations: its last change counts, earlier uploads were superseded.
fn events(generation: u64, manifests: &[Manifest]) -> Vec<Event> {
    let mut last: BTreeMap<&TargetName, (Option<&String>, &Outcome)> = BTreeMap::new();
    let mut events = Vec::new();
    // Rebuild told of the uploads that it refused; their targets stay what they were.
    let changes = manifests.iter().flat_map(|manifest| &manifest.changes);
    for change in changes.filter(|change| !matches!(change.outcome, Outcome::Refused(_)) || change.version.is_none()) {
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
            Outcome::Removed | Outcome::Refused(_) => removed.push(name.clone()),
            Outcome::Delegated(role) => events.extend(version.map(|version| Event::UploadDelegated {
                name: name.as_str().to_owned(),
                version: VersionId(version.clone()),
                role: role.clone(),
            })),
        }
    }
    let party_changes =
        manifests.iter().flat_map(|manifest| manifest.party_changes.iter().map(move |it| (manifest, it)));
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
