//! Decides which of a role's online keys signs. Usually there is one; while a key is being replaced
//! there are two.

use tough::schema::key::Key as PublicKey;
use tufline_store::{Clock, Key, OnlineRole, Store};
use tufline_tuf::root::LONGEST_HIDDEN_SECONDS;
use tufline_tuf::{RoleKeys, RoleName, root, time};

use crate::error::{Result, StageError};
use crate::ports::Ports;
use crate::state::roots;

/// How long a root must have listed a new key before the key signs, in seconds. Until then, a cache
/// may have told a device that there is no newer root, and the device may take a while to ask for
/// the other files.
pub const SETTLING_SECONDS: i64 = LONGEST_HIDDEN_SECONDS + 25;

/// The key of `role` that signs now. Of the keys that `keys` trusts, that is the newest one that
/// every device can know, or else the oldest.
///
/// # Errors
/// [`StageError::UntrustedKey`] if `keys` lists none of the signer's keys.
pub(crate) async fn signing_key(
    ports: &Ports,
    keys: &RoleKeys,
    role: OnlineRole,
) -> Result<PublicKey> {
    let mut trusted = ports.signer.public_keys(role).await?;
    trusted.retain(|key| keys.id_of(key).is_some());
    let untrusted = || StageError::UntrustedKey(keys.role().to_string());
    loop {
        let newest = trusted.pop().ok_or_else(untrusted)?;
        // The oldest key may always sign: what is published verifies under it, or under one that
        // the signer no longer holds.
        if trusted.is_empty()
            || unsettled_seconds(&*ports.store, &*ports.clock, keys.role(), &newest).await? <= 0
        {
            return Ok(newest);
        }
    }
}

/// For how many more seconds `key` must wait before it may sign; 0 or less if it may. The wait
/// lasts for [`SETTLING_SECONDS`] from the publication of the oldest root since which every root
/// has listed the key for `role`.
///
/// # Errors
/// A request failed.
pub async fn unsettled_seconds(
    store: &dyn Store,
    clock: &dyn Clock,
    role: &RoleName,
    key: &PublicKey,
) -> Result<i64> {
    let mut left = SETTLING_SECONDS;
    let newest = roots::newest(store).await?.version.get();
    for version in (1..=newest).rev() {
        let Some(stored) = store.get(&Key::root(version)).await? else { break };
        let root = root::read(&stored.bytes, version)?;
        if RoleKeys::in_root(root.document(), role)?.id_of(key).is_none() {
            break;
        }
        left = SETTLING_SECONDS - time::seconds_between(stored.modified, clock.now());
        if left <= 0 {
            break;
        }
    }
    Ok(left)
}
