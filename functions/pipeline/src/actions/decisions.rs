//! Carries operators' decisions about delegations into a generation.

use std::collections::{BTreeMap, BTreeSet};

use tufline_store::{Key, Store};
use tufline_tuf::delegations::{Decision, PartyEdit};
use tufline_tuf::{Manifest, Pattern, RoleName};

use crate::actions::intake::Intake;
use crate::concurrency::at_once;
use crate::error::{Result, StageError};
use crate::state::index::{read_draft, read_index_below};
use crate::state::ledger;

/// Carries out the operators' decisions after those of `base`, at most [`MOST_DECISIONS`] of them.
///
/// It waives a delegation that would hide targets uploaded since the decision. It also waives a
/// decision that cannot be read: nobody can delete that one, and it would block all later decisions
/// and every upload with them.
pub(crate) async fn carry_out(
    store: &dyn Store,
    base: &Manifest,
    judged: &mut Intake,
) -> Result<()> {
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
    // A decision that cannot be carried out hides nothing.
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
    let decided: Vec<Decision> = decided
        .into_iter()
        .filter(|(number, _)| !waived.contains(number))
        .map(|(_, decision)| decision)
        .collect();
    let is_full = newest - base.decisions == MOST_DECISIONS;
    judged.has_rest = is_full && store.exists(&Key::Decision(newest.saturating_add(1))).await?;
    judged.decide(&decided, newest, &waived)
}

/// How many decisions one generation carries out at most; the next generations take the rest. The
/// limit keeps a writer of decisions from forcing a generation that nobody can judge in time.
pub(crate) const MOST_DECISIONS: u64 = 64;

/// The decisions after number `after`: at most [`MOST_DECISIONS`], none above `last`, and only up
/// to the first gap. Each comes with its number, or with the reason why it cannot be read. Usually
/// there is none or one.
pub(crate) async fn decisions(
    store: &dyn Store,
    after: u64,
    last: u64,
) -> Result<Vec<(u64, Result<Decision>)>> {
    let read = |number: u64| async move {
        (number, ledger::read::<Decision>(store, &Key::Decision(number)).await)
    };
    let (first, last) = (after.saturating_add(1), last.min(after.saturating_add(MOST_DECISIONS)));
    let mut read_so_far = Vec::new();
    for some in [first..=first, first.saturating_add(1)..=last] {
        let mut read =
            at_once(some.filter(|number| *number > after && *number <= last).map(read)).await;
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

/// Refuses a delegation that would hide targets of the repository.
pub(crate) async fn expect_possible(
    store: &dyn Store,
    base: &Manifest,
    role: &RoleName,
    edit: &PartyEdit,
) -> Result<()> {
    let PartyEdit::Create { paths, .. } = edit else { return Ok(()) };
    hiding(store, base, &[(0, role, paths)])
        .await?
        .into_iter()
        .next()
        .map_or(Ok(()), |(_, error)| Err(error))
}

/// Those of these delegations, by number, whose paths match the repository's own targets, and why
/// each is refused: devices would no longer find those targets. Each document is read once for all
/// delegations.
async fn hiding(
    store: &dyn Store,
    base: &Manifest,
    created: &[(u64, &RoleName, &[Pattern])],
) -> Result<BTreeMap<u64, StageError>> {
    if created.is_empty() {
        return Ok(BTreeMap::new());
    }
    let index = read_index_below(store, base, |_| true).await?;
    let reads = index.entries().map(|(bin, entry)| async move {
        let document = read_draft(store, &bin, &entry.document).await?;
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
        let why = StageError::refused(format!(
            "{role} refused: its paths match {first} and {others} other published targets, which \
             devices would no longer find: remove these targets first"
        ));
        Some((*number, why))
    });
    Ok(why.collect())
}
