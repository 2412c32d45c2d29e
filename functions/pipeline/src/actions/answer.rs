//! Answers each change of a batch, once the batch is in a generation or dropped.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tufline_store::{Change, Event, Hint, Message};
use tufline_tuf::{Manifest, Outcome};

use crate::actions::change_batch::{ChangeBatch, Looked};
use crate::actions::redo::Redo;
use crate::actions::reject::{reject, reject_delivery};
use crate::error::{Result, StageError};
use crate::ports::Ports;
use crate::state::current::{Current, RejectedVersion};
use crate::state::pending::Tip;

/// How long a hint waits when it is about a target whose bytes or receipt are missing. The delay
/// limits the rate of such hints.
const HINT_DELAY: Duration = Duration::from_secs(5);

/// Sends the events for uploads that were superseded or rejected, has hash look at names without
/// bytes or receipt, and nudges sign if a generation waits there. Returns the messages that must
/// come again, by their place in the batch.
pub(crate) async fn answer(
    ports: &Ports,
    batch: &ChangeBatch<'_>,
    redo: Option<&Redo>,
    tip: &Tip,
    newest: &Manifest,
) -> Result<BTreeMap<usize, Arc<StageError>>> {
    // A crash after this: the messages come again, and so do the changes sent here.
    let (failed, mut unhandled) = batch.leftovers();
    // A crash before these are sent: hash looks at them once the generation is announced
    // (`announce.rs`).
    let later = redo.into_iter().flat_map(|redo| &redo.later);
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
        .map(|(name, version)| Event::UploadSuperseded {
            name: name.as_str().into(),
            version: version.clone(),
        })
        .collect();
    if !superseded.is_empty() {
        ports.events.send(&superseded).await?;
    }
    for change in &newest.changes {
        if let (Outcome::Rejected(rejection), Some(version)) = (&change.outcome, &change.version)
            && let Some(Looked { current: Current::Object(accepted), .. }) =
                batch.seen.get(&change.name)
            && accepted.version.0 == *version
        {
            let (upload, rejection) = (accepted.upload.clone(), rejection.clone());
            reject(ports, &RejectedVersion { upload, rejection }).await?;
        }
    }
    for rejected in &batch.rejected {
        reject_delivery(ports, rejected).await?;
    }
    let unstored = redo.into_iter().flat_map(|redo| &redo.unstored);
    let hints = unstored.chain(&batch.unhashed);
    let hints = hints.map(|name| Hint { name: name.as_str().into(), removed: true, version: None });
    // Targets that a document lost because clients read them differently: hash says why, and looks
    // for an older upload.
    let dropped =
        newest.changes.iter().filter_map(|change| match (&change.outcome, &change.version) {
            (Outcome::Rejected(rejection), None) => Some((&change.name, rejection)),
            _ => None,
        });
    let dropped = dropped.map(|(name, rejection)| {
        tracing::error!(%name, %rejection, "target left out");
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
