//! Removals of many targets at once: held for an operator, who may accept them.

use tufline_store::{Event, Key, Written};
use tufline_tuf::generation::{Edit, TargetEdit};
use tufline_tuf::{Sha256, Time, json, time};

use crate::error::{Result, StageError};
use crate::ports::Ports;
use crate::state::records::{HeldRemovals, RECORD_FORMAT, RemovalsAccepted};
use crate::state::{ledger, records};

/// Whether an operator accepts removals of any number now. What can't be read accepts none, and nobody accepts them for longer than
/// [`records::LONGEST_ACCEPTANCE`] after it was written: so nobody has to take a mistake back.
///
/// Only what he said at `since` or later counts: who said it before meant other removals.
///
/// # Errors
/// The ledger can't be read.
pub async fn removals_accepted(ports: &Ports, since: Time) -> Result<bool> {
    let Some(stored) = ports.store.get(&Key::RemovalsAccepted).await? else { return Ok(false) };
    if stored.modified < since {
        return Ok(false);
    }
    let accepted: RemovalsAccepted = match ledger::parse(&Key::RemovalsAccepted, &stored.bytes) {
        Ok(accepted) => accepted,
        Err(error) => {
            tracing::error!(%error, "no removals are accepted by it; `tufline accept-removals` replaces it");
            return Ok(false);
        }
    };
    let longest = time::after(stored.modified, records::LONGEST_ACCEPTANCE);
    Ok(accepted.until.min(longest) > ports.clock.now())
}

/// Puts the batch's removals aside for an operator: a record in the ledger, and an alarm.
pub(crate) async fn hold_removals(ports: &Ports, edits: &[TargetEdit], removals: u64, targets: u64) -> Result<()> {
    let names = edits.iter().filter(|edit| edit.edit == Edit::Remove).map(|edit| edit.name.clone()).collect();
    let held = HeldRemovals { format: RECORD_FORMAT, names };
    let key = |bytes: &[u8]| Key::Held(Sha256::of(bytes));
    let bytes = json::to_vec(&held).map_err(|error| StageError::Record("held".into(), error.into()))?;
    let reason = format!(
        "{removals} of {targets} targets were removed at once; if that is meant, run `tufline accept-removals`, else upload \
         them again"
    );
    tracing::error!(removals, targets, reason, "removals held");
    if ports.store.create(&ledger::record(key(&bytes), &held)?).await? == Written::Done {
        ports.events.send(&[Event::RemovalsHeld { removals, targets, reason }]).await?;
    }
    Ok(())
}
