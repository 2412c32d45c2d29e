//! Removals of many targets at once. Rebuild holds them until an operator accepts them.

use tufline_store::{Event, Key, Written};
use tufline_tuf::generation::{Edit, TargetEdit};
use tufline_tuf::{Sha256, Time, json, time};

use crate::error::{Result, StageError};
use crate::ports::Ports;
use crate::state::records::{HeldRemovals, RECORD_FORMAT, RemovalsAccepted};
use crate::state::{ledger, records};

/// Whether an operator accepts removals of any number now.
///
/// An acceptance that cannot be read accepts nothing. An acceptance ends
/// [`records::LONGEST_ACCEPTANCE`] after it was written at the latest, so an operator's mistake
/// ends by itself. One written before `since` does not count: it was about other removals.
///
/// # Errors
/// The ledger cannot be read.
pub async fn removals_accepted(ports: &Ports, since: Time) -> Result<bool> {
    let Some(stored) = ports.store.get(&Key::RemovalsAccepted).await? else { return Ok(false) };
    if stored.modified < since {
        return Ok(false);
    }
    let accepted: RemovalsAccepted = match ledger::parse(&Key::RemovalsAccepted, &stored.bytes) {
        Ok(accepted) => accepted,
        Err(error) => {
            tracing::error!(%error, "acceptance ignored; `tufline accept-removals` replaces it");
            return Ok(false);
        }
    };
    let longest = time::after(stored.modified, records::LONGEST_ACCEPTANCE);
    Ok(accepted.until.min(longest) > ports.clock.now())
}

/// Holds the batch's removals for an operator: writes a record to the ledger and raises the alarm.
pub(crate) async fn hold_removals(
    ports: &Ports,
    edits: &[TargetEdit],
    removals: u64,
    targets: u64,
) -> Result<()> {
    let names = edits
        .iter()
        .filter(|edit| edit.edit == Edit::Remove)
        .map(|edit| edit.name.clone())
        .collect();
    let held = HeldRemovals { format: RECORD_FORMAT, names };
    let key = |bytes: &[u8]| Key::Held(Sha256::of(bytes));
    let bytes =
        json::to_vec(&held).map_err(|error| StageError::Record("held".into(), error.into()))?;
    let reason = format!(
        "{removals} of {targets} targets were removed at once; if that is meant, run `tufline \
         accept-removals`, else upload the targets again"
    );
    tracing::error!(removals, targets, reason, "removals held");
    if ports.store.create(&ledger::record(key(&bytes), &held)?).await? == Written::Done {
        ports.events.send(&[Event::RemovalsHeld { removals, targets, reason }]).await?;
    }
    Ok(())
}
