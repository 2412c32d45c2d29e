//! What an operator does with delegations to other parties: a generation of its own, made like any other.

use std::collections::{BTreeMap, BTreeSet};

use tufline_store::{Store, Written};
use tufline_tuf::delivery::{Rules, settle};
use tufline_tuf::index::Place;
use tufline_tuf::parties::{PartyChange, PartyEdit, PartyState};
use tufline_tuf::{Config, Manifest, Parties, Pattern, RoleName, Time};

use crate::index::{draft, index_below};
use crate::ledger;
use crate::parties::{Judged, included, parties};
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
    let policy = policy(config, None, now);
    for _ in 0..ATTEMPTS {
        let (_, base) = ledger::newest(store).await?;
        let before = parties(store, &base).await?;
        let refused = |error: tufline_tuf::parties::BadDelegation| StageError::Refused(error.to_string());
        let next = before.edit(role, edit.clone()).map_err(refused)?;
        match edit {
            PartyEdit::Create { paths, .. } => expect_no_targets(store, &base, role, paths).await?,
            PartyEdit::AddKey { .. } | PartyEdit::RemoveKey { .. } => {
                expect_verified(store, &next, role, now).await?;
            }
            PartyEdit::Remove { .. } => {}
        }
        let state = next.parties.get(role).map_or(PartyState::Removed, |party| party.state);
        let change = PartyChange { state, document: None, upload: None };
        let mut judged = Judged::unchanged(&base, before);
        judged.change(next, BTreeMap::from([(role.clone(), change)]))?;
        let top = RoleName::targets();
        let renew = if judged.changes_targets { BTreeSet::from([top.clone()]) } else { BTreeSet::new() };
        let known = Known::read(store, &base, &[Place::Role(&top)]).await?;
        let batch = Batch { renew: &renew, bins: &base.bins_keys(), judged: &judged, adopted: None };
        let Some(manifest) = fold(store, &base, &known, &[], batch, policy).await? else { return Ok(base.generation) };
        let generation = manifest.generation;
        // A crash after this: refresh asks sign for it.
        if ledger::create_manifest(store, &manifest).await? == Written::Done {
            return Ok(generation);
        }
    }
    Err(StageError::Contended("the change of a delegation", ATTEMPTS))
}

/// Refuses names that the repository itself has targets under: devices would no longer find them.
async fn expect_no_targets(store: &dyn Store, base: &Manifest, role: &RoleName, paths: &[Pattern]) -> Result<()> {
    let index = index_below(store, base, |_| true).await?;
    let reads = index.entries().map(|(bin, entry)| async move {
        let document = draft(store, &bin, &entry.document.draft).await?;
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
