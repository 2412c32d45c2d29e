//! What operators do with delegations to other parties. An operator records a decision, where only
//! operators can write. A generation then carries it out.

use std::collections::BTreeSet;

use tufline_store::{Key, Store, Written};
use tufline_tuf::delegations::{Decision, PARTIES_FORMAT, PartyEdit, PartyState};
use tufline_tuf::delivery::{DeliveryRules, judge_files};
use tufline_tuf::generation::Others;
use tufline_tuf::index::Place;
use tufline_tuf::{Config, Manifest, Parties, RoleName, Time};

use crate::actions::decisions::{MOST_DECISIONS, carry_out, expect_possible};
use crate::actions::intake::Intake;
use crate::actions::make_generation::{Additions, KnownBase, make_generation};
use crate::error::{Result, StageError};
use crate::ports::policy;
use crate::state::ledger;
use crate::state::parties::{included, read_parties};
use crate::state::pending::Tip;

/// How many races an operation loses before it gives up and tells the operator. Uploads go on
/// meanwhile.
const ATTEMPTS: usize = 100;

/// Changes what is delegated to `role`. Returns the generation that does so; the caller must then
/// enqueue `Message::Sign`.
///
/// # Errors
/// [`StageError::Refused`]: nothing was written, or the decision was waived because it came to hide
/// targets.
pub async fn change(
    store: &dyn Store,
    config: &Config,
    now: Time,
    role: &RoleName,
    edit: &PartyEdit,
) -> Result<u64> {
    if config.offline_targets && !matches!(edit, PartyEdit::Remove { .. }) {
        return Err(StageError::refused(format!(
            "{role} refused: people sign the targets role here (offline_targets), but a party's \
             delivery may change that role at any time"
        )));
    }
    let number = decide(store, now, role, edit).await?;
    for _ in 0..ATTEMPTS {
        let tip = Tip::read(store).await?;
        let base = tip.base()?;
        if base.decisions >= number {
            return carried_out(store, base, role, edit).await;
        }
        let mut judged = Intake::unchanged(base, read_parties(store, base).await?, now);
        carry_out(store, base, &mut judged).await?;
        let mut refusal = None;
        if judged.others.waived.contains(&number) {
            refusal = expect_possible(store, base, role, edit).await.err();
        }
        let top = RoleName::targets();
        let renew =
            if judged.changes_targets { BTreeSet::from([top.clone()]) } else { BTreeSet::new() };
        let known = KnownBase::read(store, base, &[Place::Role(&top)]).await?;
        let (bins, policy) = (base.bins_keys(), policy(config, None, now));
        let batch = Additions::new(&renew, &bins, &judged);
        let Some(manifest) = make_generation(store, base, &known, &[], batch, policy).await? else {
            return Ok(base.generation);
        };
        let generation = manifest.generation;
        // A crash after this: refresh sends sign's message.
        if ledger::create_manifest(store, &manifest).await? == Written::Done
            && manifest.decisions >= number
        {
            return refusal.map_or(Ok(generation), Err);
        }
    }
    Err(StageError::Contended("the change of a delegation", ATTEMPTS))
}

/// Records the decision, if it can be carried out, and returns its number. Every later generation
/// carries it out, so a crash after this is harmless.
async fn decide(store: &dyn Store, now: Time, role: &RoleName, edit: &PartyEdit) -> Result<u64> {
    for _ in 0..ATTEMPTS {
        let tip = Tip::read(store).await?;
        let base = tip.base()?;
        let mut judged = Intake::unchanged(base, read_parties(store, base).await?, now);
        carry_out(store, base, &mut judged).await?;
        if judged.has_rest {
            let why =
                format!("{role}: more than {MOST_DECISIONS} decisions wait; try again in a minute");
            return Err(StageError::refused(why));
        }
        let Others { parties: before, decisions, .. } = judged.others;
        let refused = |error: tufline_tuf::delegations::BadDelegation| {
            StageError::refused_for(error.to_string(), error)
        };
        let next = before.edit(role, edit.clone()).map_err(refused)?;
        match edit {
            PartyEdit::Create { .. } | PartyEdit::Remove { .. } => {
                expect_possible(store, base, role, edit).await?;
            }
            PartyEdit::AddKey { .. } | PartyEdit::RemoveKey { .. } => {
                expect_verified(store, &next, role, now).await?;
            }
        }
        let number = decisions.saturating_add(1);
        let decision = Decision { format: PARTIES_FORMAT, role: role.clone(), edit: edit.clone() };
        if store.create(&ledger::record(Key::Decision(number), &decision)?).await? == Written::Done
        {
            return Ok(number);
        }
    }
    Err(StageError::Contended("the decision about a delegation", ATTEMPTS))
}

/// The generation that carried out a decision, or the reason why none did.
async fn carried_out(
    store: &dyn Store,
    newest: &Manifest,
    role: &RoleName,
    edit: &PartyEdit,
) -> Result<u64> {
    let found = read_parties(store, newest).await?;
    let is_there = found.parties.get(role).is_some_and(|party| party.state != PartyState::Removed);
    match edit {
        PartyEdit::Create { .. } if !is_there => expect_possible(store, newest, role, edit).await?,
        PartyEdit::Remove { .. } if is_there => {
            return Err(StageError::refused(format!(
                "{role} is still there, though its removal was decided: look at who else decides, \
                 and remove it again"
            )));
        }
        _ => {}
    }
    Ok(newest.generation)
}

/// Refuses keys under which the party's delivered documents would no longer verify.
async fn expect_verified(
    store: &dyn Store,
    next: &Parties,
    role: &RoleName,
    now: Time,
) -> Result<()> {
    let Some(party) = next.parties.get(role).filter(|party| party.state == PartyState::Listed)
    else {
        return Ok(());
    };
    let found = included(store, next, role).await?;
    let rules = DeliveryRules { nested: true, now };
    if judge_files(role, party, &next.documents, &found.files, rules).documents.is_some() {
        return Ok(());
    }
    Err(StageError::refused(format!(
        "{role} refused: too few of the keys that would be left have signed its published \
         document; have these sign a new version first"
    )))
}
