//! Shows a generation to devices. Publish and refresh share this.

use tough::schema::{self, Root};
use tufline_store::{OnlineRole, Pointer, Written};
use tufline_tuf::gate::Checked;
use tufline_tuf::{RoleKeys, RoleName, time, verify};

use crate::actions::sign::sign_document;
use crate::error::{Result, StageError};
use crate::ports::Ports;
use crate::state::ledger::Published;
use crate::state::online_keys::signing_key;
use crate::state::{ledger, roots};

/// Shows a generation that passed the gate: replaces `timestamp.json`, if that is still the file in
/// `published`. This write is the publication.
///
/// [`Written::Lost`] may mean that an earlier try of this very write was applied. The caller reads
/// again and then finds it done.
///
/// # Errors
/// [`StageError::ClockBehind`]: the clock is wrong, so the expiry would be wrong too.
pub async fn show_generation(
    ports: &Ports,
    roots: &[Root],
    published: Option<&Published>,
    checked: &Checked,
) -> Result<Written> {
    let now = ports.clock.now();
    if let Some(stored) = published.and_then(|published| published.clock_behind(now)) {
        return Err(StageError::ClockBehind { now, stored });
    }
    let before = match published {
        Some(published) => published.version,
        None => ledger::manifest(&*ports.store, checked.generation()).await?.timestamp_above,
    };
    let version = before + 1;
    let draft =
        checked.timestamp(version, time::after(now, ports.config.expiry.timestamp.seconds()))?;
    let newest = roots.first().ok_or(StageError::NotInitialised)?;
    let keys = RoleKeys::in_root(newest, &RoleName::timestamp())?;
    let key = signing_key(ports, &keys, OnlineRole::Timestamp).await?;
    let signed = sign_document(ports, draft, &keys, OnlineRole::Timestamp, &key).await?;
    for root in roots {
        let keys = RoleKeys::in_root(root, &RoleName::timestamp())?;
        verify::<schema::Timestamp>(signed.bytes().clone(), &keys)
            .map_err(|error| roots::not_under(root, error))?;
    }
    let document = Pointer::timestamp(&signed);
    let written = match published {
        Some(published) => ports.store.replace(&document, published.tag()).await?,
        None => ports.store.create(&document).await?,
    };
    if written == Written::Done {
        tracing::info!(generation = checked.generation(), timestamp = version, "published");
    }
    Ok(written)
}
