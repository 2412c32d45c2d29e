//! What an operator does with delegations to other parties: a decision, which is recorded where only operators can write, and a generation that
//! carries it out, made like any other.

use std::collections::BTreeSet;

use tufline_store::{Key, Store, Written};
use tufline_tuf::delivery::{Rules, settle};
use tufline_tuf::generation::Others;
use tufline_tuf::index::Place;
use tufline_tuf::parties::{Decision, PARTIES_FORMAT, PartyEdit, PartyState};
use tufline_tuf::{Config, Manifest, Parties, Pattern, RoleName, Time};

use crate::index::{draft, index_below};
use crate::ledger;
use crate::parties::{Judged, included, parties};
use crate::pending::Tip;
use crate::ports::{Result, StageError, at_once, policy};
use crate::rebuild::{Batch, Known, fold};

/// After so many lost races the operator is told; uploads go on meanwhile.
const ATTEMPTS: usize = 100;

/// Changes what is delegated to `role`; answers the generation that does so. Somebody must ask sign for it then.
///
/// # Errors
/// [`StageError::Refused`]: nothing was written.
pub async fn change(store: &dyn Store, config: &Config, now: Time, role: &RoleName, edit: &PartyEdit) -> Result<u64> {
    if config.offline_targets && !matches!(edit, PartyEdit::Remove { .. }) {
        return Err(StageError::Refused(format!(
            "{role} refused: people sign the targets role here (offline_targets), and what a party delivers may change it at any time"
        )));
    }
    let number = decide(store, now, role, edit).await?;
    for _ in 0..ATTEMPTS {
        let tip = Tip::read(store).await?;
        let base = tip.base()?;
        if base.decisions >= number {
            return carried_out(store, base, role, edit).await;
        }
        let mut judged = Judged::unchanged(base, parties(store, base).await?, now);
        carry_out(store, base, &mut judged).await?;
        let mut refusal = None;
        if judged.others.waived.contains(&number) {
            refusal = expect_possible(store, base, role, edit).await.err();
        }
        let top = RoleName::targets();
        let renew = if judged.changes_targets { BTreeSet::from([top.clone()]) } else { BTreeSet::new() };
        let known = Known::read(store, base, &[Place::Role(&top)]).await?;
        let (bins, policy) = (base.bins_keys(), policy(config, None, now));
        let batch = Batch::new(&renew, &bins, &judged);
        let Some(manifest) = fold(store, base, &known, &[], batch, policy).await? else { return Ok(base.generation) };
        let generation = manifest.generation;
        // A crash after this: refresh asks sign for it.
        if ledger::create_manifest(store, &manifest).await? == Written::Done {
            return refusal.map_or(Ok(generation), Err);
        }
    }
    Err(StageError::Contended("the change of a delegation", ATTEMPTS))
}

/// Records the decision, if it can be carried out; answers its number. Whoever makes a generation from then on carries it out, so a crash behind
/// it is harmless.
async fn decide(store: &dyn Store, now: Time, role: &RoleName, edit: &PartyEdit) -> Result<u64> {
    for _ in 0..ATTEMPTS {
        let tip = Tip::read(store).await?;
        let base = tip.base()?;
        let mut judged = Judged::unchanged(base, parties(store, base).await?, now);
        carry_out(store, base, &mut judged).await?;
        let Others { parties: before, decisions, .. } = judged.others;
        let refused = |error: tufline_tuf::parties::BadDelegation| StageError::Refused(error.to_string());
        let next = before.edit(role, edit.clone()).map_err(refused)?;
        match edit {
            PartyEdit::Create { .. } | PartyEdit::Remove { .. } => expect_possible(store, base, role, edit).await?,
            PartyEdit::AddKey { .. } | PartyEdit::RemoveKey { .. } => {
                expect_verified(store, &next, role, now).await?;
            }
        }
        let number = decisions + 1;
        let decision = Decision { format: PARTIES_FORMAT, role: role.clone(), edit: edit.clone() };
        if store.create(&ledger::record(Key::Decision(number), &decision)?).await? == Written::Done {
            return Ok(number);
        }
    }
    Err(StageError::Contended("the decision about a delegation", ATTEMPTS))
}

/// Carries out what operators decided since `base`. A delegation that would hide targets, which came since it was decided, is waived; and so
/// is what can't be read, since nobody can take it away: it would hold up all others, and every upload with them.
pub(crate) async fn carry_out(store: &dyn Store, base: &Manifest, judged: &mut Judged) -> Result<()> {
    let (mut decisions, mut waived) = (Vec::new(), BTreeSet::new());
    let mut number = base.decisions;
    loop {
        let key = Key::Decision(number + 1);
        let read = match ledger::read::<Decision>(store, &key).await {
            Ok(None) => break,
            Ok(Some(decision)) => {
                expect_possible(store, base, &decision.role, &decision.edit).await.map(|()| decisions.push(decision))
            }
            Err(error) => Err(error),
        };
        number += 1;
        match read {
            Ok(()) => {}
            Err(error @ (StageError::Refused(_) | StageError::Record(..))) => {
                tracing::error!(number, %error, "decision waived");
                waived.insert(number);
            }
            Err(error) => return Err(error),
        }
    }
    if number == base.decisions { Ok(()) } else { judged.decide(&decisions, number, &waived) }
}

/// The generation that carried out a decision, or why it did not.
async fn carried_out(store: &dyn Store, newest: &Manifest, role: &RoleName, edit: &PartyEdit) -> Result<u64> {
    let found = parties(store, newest).await?;
    let is_there = found.parties.get(role).is_some_and(|party| party.state != PartyState::Removed);
    match edit {
        PartyEdit::Create { .. } if !is_there => expect_possible(store, newest, role, edit).await?,
        PartyEdit::Remove { .. } if is_there => {
            return Err(StageError::Refused(format!(
                "{role} was decided to be removed, and is there: look at who else decides, and remove it again"
            )));
        }
        _ => {}
    }
    Ok(newest.generation)
}

/// Refuses a delegation that would hide targets.
async fn expect_possible(store: &dyn Store, base: &Manifest, role: &RoleName, edit: &PartyEdit) -> Result<()> {
    if let PartyEdit::Create { paths, .. } = edit {
        expect_no_targets(store, base, role, paths).await?;
    }
    Ok(())
}

/// Refuses names that the repository itself has targets under: devices would no longer find them.
async fn expect_no_targets(store: &dyn Store, base: &Manifest, role: &RoleName, paths: &[Pattern]) -> Result<()> {
    let index = index_below(store, base, |_| true).await?;
    let reads = index.entries().map(|(bin, entry)| async move {
        let document = draft(store, &bin, &entry.document).await?;
        let names = document.document().targets.keys().map(|name| name.raw().to_owned());
        let reserved = |name: &String| paths.iter().any(|path| path.reserves(name));
        Ok::<_, StageError>(names.filter(reserved).collect::<Vec<String>>())
    });
    let found = at_once(reads).await.into_iter().collect::<Result<Vec<_>>>()?;
    let found: BTreeSet<String> = found.into_iter().flatten().collect();
    let Some(first) = found.first() else { return Ok(()) };
    let others = found.len() - 1;
    Err(StageError::Refused(format!(
        "{role} refused: {first} and {others} other published targets are among its names, and devices would no longer find them: remove them first"
    )))
}

/// Refuses keys under which what the party delivered doesn't verify.
async fn expect_verified(store: &dyn Store, next: &Parties, role: &RoleName, now: Time) -> Result<()> {
    let Some(party) = next.parties.get(role).filter(|party| party.state == PartyState::Listed) else { return Ok(()) };
    let found = included(store, next, role).await?;
    let rules = Rules { nested: true, now };
    if settle(role, party, &next.documents, &found.files, rules).documents.is_some() {
        return Ok(());
    }
    Err(StageError::Refused(format!(
        "{role} refused: its published document isn't signed by enough of the keys that would be left; have it signed by them first, as a \
         new version"
    )))
}
