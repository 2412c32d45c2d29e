//! Events about what was published, at least once each.
//!
//! `announced.json` says up to which generation events were sent. Whoever finds it behind sends the rest, then moves it:
//! events follow from what is published, never from having been the one who published it.

use std::collections::BTreeMap;

use tufline_store::{Event, Key, PublishedTarget, Stored, VersionId, Written};
use tufline_tuf::{Manifest, Outcome, TargetName};

use crate::ledger::{self, Announced, RECORD_FORMAT};
use crate::measure;
use crate::ports::{Ports, Result, at_once};

/// Up to which generation events were sent.
async fn announced(ports: &Ports) -> Result<(u64, Option<Stored>)> {
    let pointer = ports.store.get(&Key::Announced).await?;
    let told = match &pointer {
        Some(stored) => ledger::parse::<Announced>(&Key::Announced, &stored.bytes)?.generation,
        None => ledger::first_generation(&*ports.store).await?.map_or(0, |first| first.saturating_sub(1)),
    };
    Ok((told, pointer))
}

/// Sends the events of all generations that are published, and of the fences directly above: these answer changes that
/// make no difference to what is published.
///
/// Answers up to which generation all is told.
pub async fn announce(ports: &Ports) -> Result<u64> {
    let store = &*ports.store;
    let (told, pointer) = announced(ports).await?;
    let Some(published) = ledger::published(store).await? else { return Ok(told) };
    let published_since = (told + 1..=published.generation).map(|generation| ledger::manifest(store, generation));
    let mut manifests: Vec<Manifest> = at_once(published_since).await.into_iter().collect::<Result<_>>()?;
    manifests.sort_by_key(|manifest| manifest.generation);
    for generation in ledger::generations_after(store, told.max(published.generation)).await? {
        let manifest = ledger::manifest(store, generation).await?;
        if !manifest.is_fence() {
            break;
        }
        manifests.push(manifest);
    }
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
    let next = Announced { format: RECORD_FORMAT, generation: newest };
    let record = ledger::record(Key::Announced, &next)?;
    let written = match &pointer {
        Some(stored) => store.replace(&record, &stored.tag).await?,
        None => store.create(&record).await?,
    };
    match written {
        // Losing means that another instance told them too.
        Written::Done | Written::Lost => Ok(newest),
    }
}

/// What became of each target over these generations: its last change counts, earlier uploads were superseded.
fn events(generation: u64, manifests: &[Manifest]) -> Vec<Event> {
    let mut last: BTreeMap<&TargetName, (Option<&String>, &Outcome)> = BTreeMap::new();
    let mut events = Vec::new();
    // Rebuild told of what it refused; the target stays what it was.
    let changes = manifests.iter().flat_map(|manifest| &manifest.changes);
    for change in changes.filter(|change| !matches!(change.outcome, Outcome::Refused(_))) {
        let before = last.insert(&change.name, (change.version.as_ref(), &change.outcome));
        if let Some((Some(version), Outcome::Set(_))) = before
            && change.version.as_ref() != Some(version)
            && change.outcome != Outcome::Reverted
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
            Outcome::Removed => removed.push(name.clone()),
            Outcome::Delegated(role) => events.extend(version.map(|version| Event::UploadDelegated {
                name: name.as_str().to_owned(),
                version: VersionId(version.clone()),
                role: role.clone(),
            })),
            Outcome::Reverted | Outcome::Refused(_) => {}
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
