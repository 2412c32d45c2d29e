//! Rebuild: folds a batch of changes into the next generation.
//!
//! Every attempt keeps one order: read the newest manifest (the base), then HEAD every name, then
//! create `base + 1`. The run that creates it first wins; the others start again from the new base.
//! A HEAD made before the base was read proves nothing, since a newer attempt may have looked and
//! won in between.
//!
//! *Invariant*: if something cannot be looked at or read, only the changes that need it come again.
//! Those of a message whose other changes succeed come again as a message of their own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tufline_store::{Change, Message, Written};
use tufline_tuf::Manifest;

use crate::actions::answer::answer;
use crate::actions::change_batch::ChangeBatch;
use crate::actions::compose::{Composed, compose_what_can_be};
use crate::actions::make_generation::KnownBase;
use crate::actions::redo::Start;
use crate::error::{Result, StageError};
use crate::measure;
use crate::ports::Ports;
use crate::state::ledger;
use crate::state::pending::Tip;

/// How many races a run loses before the batch goes back to its queue.
const ATTEMPTS: usize = 8;

/// How long changes wait if so many generations wait to be shown that rebuild should make no more.
const FULL_DELAY: Duration = Duration::from_secs(30);

/// The outcome of a batch.
#[derive(Debug, Default)]
pub struct Rebuilt {
    /// The generation that was created; `None` if no change was still current.
    pub generation: Option<u64>,
    /// The messages that must come again and why, by their place in the batch.
    pub failed: BTreeMap<usize, Arc<StageError>>,
    /// Why roles were not renewed. Their messages do not come again: refresh asks for each renewal
    /// while it is due.
    pub unrenewed: Vec<Arc<StageError>>,
}

/// Folds the changes of a batch of messages into one generation.
///
/// # Errors
/// The whole batch failed: all messages must come again.
pub async fn rebuild(ports: &Ports, messages: &[Vec<Change>]) -> Result<Rebuilt> {
    let (mut batch, mut from_published) = (ChangeBatch::new(messages), false);
    for _ in 0..ATTEMPTS {
        // First the base: the newest generation or, if something newer than the published one is
        // void, the published one.
        let tip = Tip::read(&*ports.store).await?;
        if tip.pending.is_full(ports.clock.now()) {
            return put_off(ports, &batch).await;
        }
        let Some(start) = Start::find(ports, &tip, from_published).await? else { continue };

        // Then a HEAD of every name. Meanwhile the base's documents are read.
        let places = batch.places(start.redo.as_ref());
        let (looked, mut known) = futures::join!(
            batch.look(ports, &tip, start.redo.as_ref()),
            KnownBase::read_what_can_be(&*ports.store, &start.base, &places)
        );
        looked?;
        if start.redo.is_none() && batch.is_stuck(&tip) {
            tracing::warn!(
                "nobody can tell what a waiting target should be: going on from what is published"
            );
            from_published = true;
            continue;
        }

        // Then the next generation. A crash before its creation leaves drafts and pages that
        // nothing refers to.
        let next = match compose_what_can_be(
            ports,
            &mut batch,
            &mut known,
            &start,
            &tip,
            !from_published,
        )
        .await?
        {
            Composed::Next(next) => next,
            Composed::Lost => {
                let generation = start.base.generation;
                tracing::error!(
                    generation,
                    "the ledger lacks a part of this generation: going on from what is published"
                );
                batch.failed.clear();
                from_published = true;
                continue;
            }
        };

        // The run that creates it first wins.
        if let Some(next) = &next {
            if ledger::create_manifest(&*ports.store, next).await? == Written::Lost {
                continue;
            }
            tell_of(next);
        }
        // A crash here: the messages come again and make a fence, and refresh nudges sign. If
        // nothing of the batch is current any more, a newer change replaced it, and that has a
        // message of its own.
        let newest = next.as_deref().unwrap_or(&start.base);
        let failed = answer(ports, &batch, start.redo.as_ref(), &tip, newest).await?;
        return Ok(Rebuilt {
            generation: next.map(|next| next.generation),
            failed,
            unrenewed: batch.unrenewed(),
        });
    }
    Err(StageError::Contended("rebuild", ATTEMPTS))
}

/// Sends the changes again with a delay, so that sign and publish can catch up.
async fn put_off(ports: &Ports, batch: &ChangeBatch<'_>) -> Result<Rebuilt> {
    tracing::warn!("changes wait until sign and publish have caught up");
    for message in Message::changes(batch.all().map(|(_, change)| change.clone()).collect()) {
        ports.queues.send(&message, FULL_DELAY).await?;
    }
    Ok(Rebuilt::default())
}

fn tell_of(made: &Manifest) {
    let generation = made.generation;
    tracing::info!(
        generation,
        base = made.base,
        changes = made.changes.len(),
        "generation created"
    );
    measure::batch(made.changes.len());
    for (upload, name) in made.uploads() {
        tracing::info!(upload, %name, generation, "upload in generation");
    }
}
