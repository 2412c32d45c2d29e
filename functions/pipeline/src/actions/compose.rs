//! What a batch of changes makes of its base: the next generation, with all that its manifest names.

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

/// What became of a batch.
pub(crate) enum Composed {
    /// The next generation, or nothing: none of the changes is current any more.
    Next(Option<Box<Manifest>>),
    /// What was made since what is published can't be read: it can be made again, from what is published.
    Lost,
}

/// The next generation, without the changes that need what can't be read: these come again.
///
/// `is_first_try`: what is based on generations that are not published yet may be given up for what is published.
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
            Err(Unfolded::Unread { all: unread, .. }) if can_be_made_again(&unread) => return Ok(Composed::Lost),
            // Each turn fails at least one change more, so this ends.
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

/// The next generation, with all that its manifest names stored; `None` where nothing of the batch survives the check.
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
        tracing::error!("targets is due, and people sign it: run `tufline targets next`");
    }
    if offline && base.top.bins.is_none() {
        return Err(Unfolded::Failed(StageError::refused(
            "offline_targets is set, and targets lists targets itself, so nothing can be published: unset it, or begin the repository with bins",
        )));
    }
    // The keys of the bins stand in `targets`: where people sign that, `offline_targets` replaces them.
    if batch.replaces_bins_key() && !offline {
        match next_bins_key(ports, base, known).await {
            Ok(Some((next, delegating))) => {
                renew.extend(delegating);
                bins = next;
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, "the bins' key can't be replaced now");
                batch.fail_where(&Arc::new(error), |change| *change == Change::ReplaceBinsKey);
            }
        }
    }
    let judged = take_in_parties(ports, batch, base, &edits, redo).await?;
    if judged.changes_targets && offline {
        return Err(Unfolded::Failed(StageError::refused(
            "a delegation changes targets, and people sign it: unset offline_targets, or remove the delegation",
        )));
    }
    if judged.changes_targets {
        renew.insert(RoleName::targets());
    }
    let store = &*ports.store;
    let mut batch = Additions::new(&renew, &bins, &judged);
    if let Some(redo) = redo {
        // Whatever becomes of the changes, there must be a generation to go on from.
        batch = batch.numbered(*generation, redo.first(judged.now).max(base.serial));
    }
    let policy = |removals| Policy { removals, now: judged.now, ..ports.policy(None) };
    let limit = Some(ports.config.removals);
    match make_generation(store, base, known, &edits, batch, policy(limit)).await {
        Err(Unfolded::Failed(StageError::Generation(GenerationError::TooManyRemovals { removals, targets }))) => {
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

/// The keys of the bins after `base` where one is to be replaced, and the roles that list them.
async fn next_bins_key(
    ports: &Ports,
    base: &Manifest,
    known: &mut KnownBase,
) -> Result<Option<(BinsKeys, Vec<RoleName>)>> {
    let (index, unread) = readable_below(&*ports.store, base, |_| true).await;
    expect_read(unread)?;
    let newest = ports.signer.newest_key(OnlineRole::Bins).await?;
    let next = BinsKeys::next(base, &index, &newest);
    let delegating = index.entries().filter(|(_, entry)| entry.bins.is_some()).map(|(role, _)| role);
    let next = next.map(|next| (next, delegating.collect()));
    known.index = index;
    Ok(next)
}

/// What the batch makes of other parties: their files that it tells of are looked at, and those of a party of which something was
/// uploaded, since they may have waited for it.
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
        .filter_map(|change| if let Change::Delivery { role } = change { Some(role.clone()) } else { None })
        .collect();
    let uploaded = edits.iter().filter(|edit| matches!(edit.edit, Edit::Set(_)));
    let owners = uploaded.filter_map(|edit| Some((&edit.name, parties.owner(&edit.name)?)));
    for (name, (role, _)) in owners.filter(|(_, (_, party))| party.state != PartyState::Removed) {
        asked.insert(role.clone());
        batch.owned.insert(name.clone());
    }
    asked.extend(redo.into_iter().flat_map(|redo| redo.roles.iter().cloned()));
    let mut judged = take_deliveries(ports, base, parties, carries_out, &asked).await;
    batch.refused = std::mem::take(&mut judged.refused);
    batch.undecided = judged.has_rest;
    if let Some(error) = judged.undecided.take() {
        tracing::warn!(%error, "decisions not carried out now");
        batch.fail_where(&error, |change| *change == Change::Decision);
    }
    for (role, error) in std::mem::take(&mut judged.unread) {
        if !error.is_unfinished() {
            tracing::warn!(%role, %error, "files not readable, they are looked at again");
        }
        let asks = |change: &Change| matches!(change, Change::Delivery { role: asked } if *asked == role);
        if !batch.fail_where(&Arc::new(StageError::Of(role.to_string(), error)), asks) {
            batch.unseen.insert(role);
        }
    }
    Ok(judged)
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
