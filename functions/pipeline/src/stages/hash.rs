//! Hash: checks uploads by policy, hashes them and copies them to blobs.
//!
//! A message is a hint to look at a name. What hash does depends only on what is current there now,
//! so duplicate, late and reordered messages are harmless.
//!
//! Large uploads take longer than the others may wait. Hash passes them on to a queue of their own,
//! where it treats them the same, in as many runs as needed ([`Turn`]).
//!
//! *Invariant*: a run sends a message for the next run only if it has read and stored, or copied,
//! more than there was before. A run that gains nothing fails: its own message comes again a few
//! times, and then becomes a dead letter. So every run achieves something, however many there are.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tufline_store::{Change, Event, Head, Hint, Message, VersionId};
use tufline_tuf::TargetName;

use crate::actions::reject::reject;
pub use crate::actions::store_blob::Turn;
use crate::actions::store_blob::{BlobStep, store_blob};
use crate::concurrency::at_once;
use crate::error::{Result, StageError};
use crate::ports::Ports;
use crate::state::current::{Current, RejectedVersion, current_and_receipt};

/// Looks at every hint, and sends the resulting changes to rebuild.
///
/// Returns, for each hint, why it failed, so that its message must come again; `None` where it is
/// done.
pub async fn hash(ports: &Ports, turn: Turn, hints: &[Hint]) -> Vec<Option<Arc<StageError>>> {
    // Several hints about one name need only one look.
    let mut by_name: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, hint) in hints.iter().enumerate() {
        by_name.entry(&hint.name).or_default().push(index);
    }
    let looks = by_name.into_iter().map(|(name, indices)| async move {
        let about: Vec<&Hint> = indices.iter().filter_map(|index| hints.get(*index)).collect();
        (name, look(ports, turn, name, &about).await, indices)
    });
    let looked = at_once(looks).await;

    let mut failures: Vec<Option<Arc<StageError>>> = vec![None; hints.len()];
    let (mut messages, mut changes, mut events, mut done) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (name, look, indices) in looked {
        match look {
            Ok(found) => {
                messages.extend(found.go_on.map(Message::Large));
                changes.extend(found.change);
                events.extend(found.events);
                done.extend(indices);
            }
            Err(error) => {
                tracing::debug!(name, %error, "hint failed");
                fail(&mut failures, &indices, error);
            }
        }
    }
    messages.extend(Message::changes(changes));
    // A crash before the changes are sent: the hints come again and find the receipts. A crash
    // after that: the changes are sent twice.
    if let Err(error) = send(ports, &messages, &events).await {
        tracing::warn!(%error, "changes not sent");
        fail(&mut failures, &done, error);
    }
    failures
}

fn fail(failures: &mut [Option<Arc<StageError>>], indices: &[usize], error: StageError) {
    let error = Arc::new(error);
    for index in indices {
        if let Some(slot) = failures.get_mut(*index) {
            *slot = Some(Arc::clone(&error));
        }
    }
}

async fn send(ports: &Ports, messages: &[Message], events: &[Event]) -> Result<()> {
    for message in messages {
        ports.queues.send(message, Duration::ZERO).await?;
    }
    if !events.is_empty() {
        ports.events.send(events).await?;
    }
    Ok(())
}

/// The result of a look at a name.
#[derive(Default)]
struct Findings {
    change: Option<Change>,
    /// The large upload that another run must start or go on with.
    go_on: Option<Hint>,
    events: Vec<Event>,
}

async fn look(ports: &Ports, turn: Turn, raw: &str, hints: &[&Hint]) -> Result<Findings> {
    let mut found = Findings::default();
    let name = match raw.parse::<TargetName>() {
        Ok(name) => name,
        Err(rejection) => {
            if let Head::Object(upload) = ports.uploads.head(raw).await? {
                reject(ports, &RejectedVersion { upload, rejection }).await?;
            }
            return Ok(found);
        }
    };
    let expected = hints.iter().rev().find_map(|hint| hint.version.as_ref());
    let (current, rejected, receipt) = current_and_receipt(ports, &name, expected).await?;
    for upload in &rejected {
        reject(ports, upload).await?;
    }
    let removed = hints.iter().any(|hint| hint.removed);
    let mut current_version = None;
    match current {
        Current::Object(accepted) => {
            current_version = Some(accepted.version.clone());
            match store_blob(ports, turn, &accepted, receipt).await? {
                BlobStep::Done => {
                    tracing::info!(upload = %accepted.version, %name, "upload hashed");
                    found.change = Some(Change::Set { name, version: accepted.version });
                }
                BlobStep::GoOn => {
                    // The hint says "created", whatever kind of hint led here: a later removal has
                    // a message of its own.
                    found.go_on = Some(Hint {
                        name: raw.to_owned(),
                        removed: false,
                        version: Some(accepted.version),
                    });
                }
                BlobStep::LeftToAnother => {}
            }
        }
        Current::Gone { marker } if removed => found.change = Some(Change::Remove { name, marker }),
        // Gone after a creation: the removal has a message of its own. Unknown: the published
        // target stays.
        Current::Gone { .. } | Current::Unknown => {}
    }
    let rejected: Vec<&VersionId> =
        rejected.iter().filter_map(|rejected| rejected.upload.version.as_ref()).collect();
    for hint in hints.iter().filter(|hint| !hint.removed) {
        if let Some(version) = &hint.version
            && Some(version) != current_version.as_ref()
            && !rejected.contains(&version)
        {
            found
                .events
                .push(Event::UploadSuperseded { name: raw.to_owned(), version: version.clone() });
        }
    }
    Ok(found)
}
