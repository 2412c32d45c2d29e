//! Composes the next generation: what a batch of changes makes of its base.

use std::collections::BTreeSet;
use std::sync::Arc;

use tufline_store::{Change, OnlineRole};
use tufline_tuf::delegations::PartyState;
use tufline_tuf::generation::{Edit, GenerationError, Policy, TargetEdit};
use tufline_tuf::{BinsKeys, Manifest, RoleName, Time, trie};

use crate::actions::change_batch::ChangeBatch;
use crate::actions::intake::Intake;
use crate::actions::make_generation::{Additions, KnownBase, Unfolded, make_generation};
use crate::actions::redo::{Redo, Start};
use crate::actions::removals::{hold_removals, removals_accepted};
use crate::actions::take_deliveries::take_deliveries;
use crate::error::{Result, StageError};
use crate::ports::Ports;
use crate::state::index::{Unread, expect_read, readable_below};
use crate::state::parties::read_parties;
use crate::state::pending::Tip;

/// The outcome of composing a batch.
pub(crate) enum Composed {
    /// The next generation, with everything that its manifest names already stored; `None` if none
    /// of the changes is current any more.
    Next(Option<Box<Manifest>>),
    /// A waiting generation needs something that cannot be read. Rebuild can start again from what
    /// is published.
    Lost,
}

/// Composes the next generation, without the changes that need something unreadable: these come
/// again.
///
/// On the first try, an unreadable page or document of a waiting generation gives
/// [`Composed::Lost`]: rebuild then goes on from what is published.
pub(crate) async fn compose_what_can_be(
    ports: &Ports,
    batch: &mut ChangeBatch<'_>,
    known: &mut KnownBase,
    start: &Start,
    tip: &Tip,
    is_first_try: bool,
) -> Result<Composed> {
    let base = &start.base;
    let can_be_made_again = |unread: &Unread| is_first_try && is_of_pending(tip, base, unread);
    let unread = std::mem::take(&mut known.unread);
    if can_be_made_again(&unread) {
        return Ok(Composed::Lost);
    }
    batch.fail_roles(&known.index, &unread);
    loop {
        match Box::pin(compose(ports, batch, known, start)).await {
            Ok(next) => return Ok(Composed::Next(next.map(Box::new))),
            Err(Unfolded::Unread { all: unread, .. }) if can_be_made_again(&unread) => {
                return Ok(Composed::Lost);
            }
            // Each turn marks at least one more change as failed, so the loop ends.
            Err(Unfolded::Unread { first, all: unread }) => {
                if !batch.fail_roles(&known.index, &unread) {
                    return Err(first.into());
                }
            }
            Err(Unfolded::Failed(error)) => {
                let is_published = base.generation == tip.published.generation;
                return if error.is_damage() && is_first_try && !is_published {
                    Ok(Composed::Lost)
                } else {
                    Err(error)
                };
            }
        }
    }
}

/// Composes the next generation and stores everything that its manifest names. `None` where no
/// change of the batch survives the check.
async fn compose(
    ports: &Ports,
    batch: &mut ChangeBatch<'_>,
    known: &mut KnownBase,
    start: &Start,
) -> std::result::Result<Option<Manifest>, Unfolded> {
    let Start { base, generation, redo } = start;
    let redo = redo.as_ref();
    let (mut edits, mut renew) = batch.survivors(base, &known.index, redo);
    let mut bins = base.bins_keys();
    let offline = ports.config.offline_targets;
    if offline && renew.remove(&RoleName::targets()) {
        tracing::error!("the targets role is due and people sign it: run `tufline targets next`");
    }
    if offline && base.top.bins.is_none() {
        return Err(Unfolded::Failed(StageError::refused(
            "offline_targets is set, but the targets role lists targets itself, so nothing can be \
             published: unset it, or start the repository with bins",
        )));
    }
    // The targets role lists the keys of the bins. Where people sign that role, the operation
    // `offline_targets` replaces the keys.
    if batch.replaces_bins_key() && !offline {
        match next_bins_key(ports, base, known).await {
            Ok(Some((next, delegating))) => {
                renew.extend(delegating);
                bins = next;
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, "the bins' key cannot be replaced now");
                batch.fail_where(&Arc::new(error), |change| *change == Change::ReplaceBinsKey);
            }
        }
    }
    let judged = take_in_parties(ports, batch, base, &edits, redo).await?;
    if judged.changes_targets && offline {
        return Err(Unfolded::Failed(StageError::refused(
            "a delegation changes the targets role, which people sign: unset offline_targets, or \
             remove the delegation",
        )));
    }
    if judged.changes_targets {
        renew.insert(RoleName::targets());
    }
    let store = &*ports.store;
    let mut batch = Additions::new(&renew, &bins, &judged);
    if let Some(redo) = redo {
        // Whatever becomes of the changes, rebuild needs a sound generation to go on from.
        batch = batch.numbered(*generation, redo.first(judged.now).max(base.serial));
    }
    let policy = |removals| Policy { removals, now: judged.now, ..ports.policy(None) };
    let limit = Some(ports.config.removals);
    match make_generation(store, base, known, &edits, batch, policy(limit)).await {
        Err(Unfolded::Failed(StageError::Generation(GenerationError::TooManyRemovals {
            removals,
            targets,
        }))) => {
            if removals_accepted(ports, Time::MIN).await? {
                return make_generation(store, base, known, &edits, batch, policy(None)).await;
            }
            hold_removals(ports, &edits, removals, targets).await?;
            edits.retain(|edit| edit.edit != Edit::Remove);
            make_generation(store, base, known, &edits, batch, policy(limit)).await
        }
        folded => folded,
    }
}

/// If a key of the bins must be replaced: the bins' keys after `base`, and the roles that list
/// them.
async fn next_bins_key(
    ports: &Ports,
    base: &Manifest,
    known: &mut KnownBase,
) -> Result<Option<(BinsKeys, Vec<RoleName>)>> {
    let (index, unread) = readable_below(&*ports.store, base, |_| true).await;
    expect_read(unread)?;
    let newest = ports.signer.newest_key(OnlineRole::Bins).await?;
    let next = BinsKeys::next(base, &index, &newest);
    let delegating =
        index.entries().filter(|(_, entry)| entry.bins.is_some()).map(|(role, _)| role);
    let next = next.map(|next| (next, delegating.collect()));
    known.index = index;
    Ok(next)
}

/// Finds what the batch changes about other parties. It looks at the deliveries that the batch
/// names, and at those of every party that has an upload in the batch: its delivery may have waited
/// for that upload.
async fn take_in_parties(
    ports: &Ports,
    batch: &mut ChangeBatch<'_>,
    base: &Manifest,
    edits: &[TargetEdit],
    redo: Option<&Redo>,
) -> Result<Intake> {
    let parties = read_parties(&*ports.store, base).await?;
    let carries_out = redo.is_some() || batch.changes().any(|change| *change == Change::Decision);
    let mut asked: BTreeSet<RoleName> = batch
        .changes()
        .filter_map(
            |change| if let Change::Delivery { role } = change { Some(role.clone()) } else { None },
        )
        .collect();
    let uploaded = edits.iter().filter(|edit| matches!(edit.edit, Edit::Set(_)));
    let owners = uploaded.filter_map(|edit| Some((&edit.name, parties.owner(&edit.name)?)));
    for (name, (role, _)) in owners.filter(|(_, (_, party))| party.state != PartyState::Removed) {
        asked.insert(role.clone());
        batch.owned.insert(name.clone());
    }
    asked.extend(redo.into_iter().flat_map(|redo| redo.roles.iter().cloned()));
    let mut judged = take_deliveries(ports, base, parties, carries_out, &asked).await;
    batch.rejected = std::mem::take(&mut judged.rejected);
    batch.undecided = judged.has_rest;
    if let Some(error) = judged.undecided.take() {
        tracing::warn!(%error, "decisions cannot be carried out now");
        batch.fail_where(&error, |change| *change == Change::Decision);
    }
    for (role, error) in std::mem::take(&mut judged.unread) {
        if !error.is_unfinished() {
            tracing::warn!(%role, %error, "deliveries not readable: they are looked at again");
        }
        let asks =
            |change: &Change| matches!(change, Change::Delivery { role: asked } if *asked == role);
        if !batch.fail_where(&Arc::new(StageError::Of(role.to_string(), error)), asks) {
            batch.unseen.insert(role);
        }
    }
    Ok(judged)
}

/// Whether something in `unread` was made after the published generation, on the way to `base`.
/// Only then does it help to start from what is published, since otherwise it is missing there too.
fn is_of_pending(tip: &Tip, base: &Manifest, unread: &Unread) -> bool {
    let made = tip.pending.readable().filter(|manifest| manifest.generation <= base.generation);
    let made: BTreeSet<&RoleName> = made.flat_map(|manifest| manifest.changed.keys()).collect();
    // A page changes whenever a role below it changes.
    let is_below = |role: &RoleName, above: &RoleName| {
        trie::prefix(role)
            .zip(trie::prefix(above))
            .is_some_and(|(role, above)| role.starts_with(above))
    };
    unread.keys().any(|lost| made.iter().any(|role| is_below(role, lost)))
}
