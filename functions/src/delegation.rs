//! What an operator does with delegations to other parties: a decision, which is recorded where only operators can write, and a generation that
//! carries it out, made like any other.

use std::collections::{BTreeMap, BTreeSet};

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
        if ledger::create_manifest(store, &manifest).await? == Written::Done && manifest.decisions >= number {
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
        if judged.has_rest {
            let why =
                format!("{role}: more than {MOST_DECISIONS} decisions wait to be carried out; try again in a minute");
            return Err(StageError::Refused(why));
        }
        let Others { parties: before, decisions, .. } = judged.others;
        let refused = |error: tufline_tuf::parties::BadDelegation| StageError::Refused(error.to_string());
        let next = before.edit(role, edit.clone()).map_err(refused)?;
        match edit {
            PartyEdit::Create { .. } | PartyEdit::Remove { .. } => expect_possible(store, base, role, edit).await?,
            PartyEdit::AddKey { .. } | PartyEdit::RemoveKey { .. } => {
                expect_verified(store, &next, role, now).await?;
            }
        }
        let number = decisions.saturating_add(1);
        let decision = Decision { format: PARTIES_FORMAT, role: role.clone(), edit: edit.clone() };
        if store.create(&ledger::record(Key::Decision(number), &decision)?).await? == Written::Done {
            return Ok(number);
        }
    }
    Err(StageError::Contended("the decision about a delegation", ATTEMPTS))
}

/// Carries out what operators decided since `base`, [`MOST_DECISIONS`] of it. A delegation that would hide targets, which came since it was
/// decided, is waived; and so is what can't be read, since nobody can take it away: it would hold up all others, and every upload with them.
pub(crate) async fn carry_out(store: &dyn Store, base: &Manifest, judged: &mut Judged) -> Result<()> {
    let found = decisions(store, base.decisions, u64::MAX).await?;
    let newest = base.decisions.saturating_add(found.len() as u64);
    let (mut decided, mut waived) = (Vec::new(), BTreeSet::new());
    for (number, decision) in found {
        match decision {
            Ok(decision) => decided.push((number, decision)),
            Err(error) => {
                tracing::error!(number, %error, "decision waived");
                waived.insert(number);
            }
        }
    }
    if newest == base.decisions {
        return Ok(());
    }
    // What can't be carried out hides nothing.
    let (mut parties, mut created) = (judged.others.parties.clone(), Vec::new());
    for (number, Decision { role, edit, .. }) in &decided {
        let Ok(next) = parties.edit(role, edit.clone()) else { continue };
        parties = next;
        if let PartyEdit::Create { paths, .. } = edit {
            created.push((*number, role, paths.as_slice()));
        }
    }
    for (number, error) in hiding(store, base, &created).await? {
        tracing::error!(number, %error, "decision waived");
        waived.insert(number);
    }
    let decided: Vec<Decision> =
        decided.into_iter().filter(|(number, _)| !waived.contains(number)).map(|(_, decision)| decision).collect();
    let is_full = newest - base.decisions == MOST_DECISIONS;
    judged.has_rest = is_full && store.exists(&Key::Decision(newest.saturating_add(1))).await?;
    judged.decide(&decided, newest, &waived)
}

/// A generation carries out so many decisions at most, and the next ones the rest: whoever may write them must not make one that nobody can
/// judge in time.
pub(crate) const MOST_DECISIONS: u64 = 64;

/// The decisions after that of number `after`, [`MOST_DECISIONS`] of them and none after `last`, up to the first that is missing; each with its
/// number, or why it can't be read. Mostly there is none, or one.
pub(crate) async fn decisions(store: &dyn Store, after: u64, last: u64) -> Result<Vec<(u64, Result<Decision>)>> {
    let read = |number: u64| async move { (number, ledger::read::<Decision>(store, &Key::Decision(number)).await) };
    let (first, last) = (after.saturating_add(1), last.min(after.saturating_add(MOST_DECISIONS)));
    let mut read_so_far = Vec::new();
    for some in [first..=first, first.saturating_add(1)..=last] {
        let mut read = at_once(some.filter(|number| *number > after && *number <= last).map(read)).await;
        read.sort_by_key(|(number, _)| *number);
        for (number, decision) in read {
            match decision {
                Ok(None) => return Ok(read_so_far),
                Ok(Some(decision)) => read_so_far.push((number, Ok(decision))),
                Err(error @ StageError::Record(..)) => read_so_far.push((number, Err(error))),
                Err(error) => return Err(error),
            }
        }
    }
    Ok(read_so_far)
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
    let PartyEdit::Create { paths, .. } = edit else { return Ok(()) };
    hiding(store, base, &[(0, role, paths)]).await?.into_iter().next().map_or(Ok(()), |(_, error)| Err(error))
}

/// Those of these delegations, by their numbers, that name what the repository itself has targets under, and why they are refused: devices would
/// no longer find them. Each document is read once for all of them.
async fn hiding(
    store: &dyn Store,
    base: &Manifest,
    created: &[(u64, &RoleName, &[Pattern])],
) -> Result<BTreeMap<u64, StageError>> {
    if created.is_empty() {
        return Ok(BTreeMap::new());
    }
    let index = index_below(store, base, |_| true).await?;
    let reads = index.entries().map(|(bin, entry)| async move {
        let document = draft(store, &bin, &entry.document).await?;
        let names = || document.document().targets.keys().map(tough::TargetName::raw);
        let found = created.iter().filter_map(|(number, _, paths)| {
            let hidden = || names().filter(|name| paths.iter().any(|path| path.reserves(name)));
            Some((*number, (hidden().min()?.to_owned(), hidden().count())))
        });
        Ok::<_, StageError>(found.collect::<Vec<(u64, (String, usize))>>())
    });
    let mut hidden: BTreeMap<u64, (String, usize)> = BTreeMap::new();
    for found in at_once(reads).await {
        for (number, (first, count)) in found? {
            let (least, sum) = hidden.entry(number).or_insert_with(|| (first.clone(), 0));
            *sum += count;
            if first < *least {
                *least = first;
            }
        }
    }
    let why = created.iter().filter_map(|(number, role, _)| {
        let (first, count) = hidden.get(number)?;
        let others = count - 1;
        let why = StageError::Refused(format!(
            "{role} refused: {first} and {others} other published targets are among its names, and devices would no longer find them: remove them first"
        ));
        Some((*number, why))
    });
    Ok(why.collect())
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
