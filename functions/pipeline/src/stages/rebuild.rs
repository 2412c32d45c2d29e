//! Rebuild: folds a batch of changes into the next generation.
//!
//! One order in every attempt: read the newest manifest (the base), then HEAD every name, then create `base + 1`. Whoever
//! creates it first wins; the others begin again on the new base. A HEAD made before the base was read proves nothing,
//! since a newer attempt may have looked and won in between.
//!
//! *Invariant*: what can't be looked at or read makes those changes come again that need it, and no others: of a message that
//! has both the former go on as a message of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tufline_store::{Change, Event, Message, Written};
use tufline_tuf::{Manifest, RoleName, trie};

use crate::actions::answer::answer;
use crate::actions::change_batch::ChangeBatch;
use crate::actions::compose::compose;
use crate::actions::intake::Intake;
use crate::actions::make_generation::{Additions, KnownBase, Unfolded, make_generation};
use crate::actions::redo::Redo;
use crate::error::{Result, StageError};
use crate::measure;
use crate::ports::Ports;
use crate::state::index::{Unread, expect_read};
use crate::state::ledger;
use crate::state::parties::read_parties;
use crate::state::pending::Tip;

/// After so many lost races the batch goes back to its queue.
const ATTEMPTS: usize = 8;

/// The same with the numbers of snapshots: so many doublings of the fences that use them up.
const MOST_FENCES: u32 = 5;

/// How long changes wait while so many generations wait to be shown that no more should be made.
const FULL_DELAY: Duration = Duration::from_secs(30);

/// What became of a batch.
#[derive(Debug, Default)]
pub struct Rebuilt {
    /// The generation that was created, if any change was still current.
    pub generation: Option<u64>,
    /// The messages, by their place in the batch, that must come again, and why.
    pub failed: BTreeMap<usize, Arc<StageError>>,
    /// Why roles could not be renewed: refresh asks for that again as long as it is due.
    pub unrenewed: Vec<Arc<StageError>>,
}

/// Folds the changes of a batch of messages into one generation.
///
/// # Errors
/// All messages must come again.
pub async fn rebuild(ports: &Ports, messages: &[Vec<Change>]) -> Result<Rebuilt> {
    let (mut batch, mut is_broken) = (ChangeBatch::new(messages), false);
    for _ in 0..ATTEMPTS {
        let tip = Tip::read(&*ports.store).await?;
        if tip.pending.is_full(ports.clock.now()) {
            tracing::warn!("changes wait until sign and publish have caught up");
            for message in Message::changes(batch.all().map(|(_, change)| change.clone()).collect()) {
                ports.queues.send(&message, FULL_DELAY).await?;
            }
            return Ok(Rebuilt::default());
        }
        let again = (is_broken || !tip.pending.is_sound()).then(|| Redo::of(&tip));
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
            KnownBase::read_what_can_be(&*ports.store, &base, &places)
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
            match Box::pin(compose(ports, &mut batch, &mut known, &base, again.as_ref(), next_generation)).await {
                Ok(next) => {
                    made = next;
                    break;
                }
                Err(Unfolded::Unread(unread)) if is_made(&unread) => is_lost = true,
                // Each turn fails at least one change more, so this ends.
                Err(Unfolded::Unread(unread)) => {
                    if !batch.fail_roles(&known.index, &unread) {
                        expect_read(unread)?;
                    }
                }
                Err(Unfolded::Failed(error))
                    if error.is_damage() && !is_broken && base.generation != tip.published.generation =>
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
            let failed = answer(ports, &batch, again.as_ref(), &tip, &base).await?;
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
            let failed = answer(ports, &batch, again.as_ref(), &tip, &next).await?;
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
    again: &Redo,
    mut base: Manifest,
    generation: &mut u64,
) -> Result<Option<Manifest>> {
    for _ in 1..2_u64.pow(again.taken_snapshots.min(MOST_FENCES)) {
        let known = KnownBase::read(&*ports.store, &base, &[]).await?;
        let judged = Intake::unchanged(&base, read_parties(&*ports.store, &base).await?, ports.clock.now());
        let (nothing, bins) = (BTreeSet::new(), base.bins_keys());
        let batch = Additions::new(&nothing, &bins, &judged).numbered(*generation, base.serial);
        let Some(fence) = make_generation(&*ports.store, &base, &known, &[], batch, ports.policy(None)).await? else {
            continue;
        };
        if ledger::create_manifest(&*ports.store, &fence).await? == Written::Lost {
            return Ok(None);
        }
        *generation += 1;
        base = fence;
    }
    Ok(Some(base))
}
