//! Which of a role's online keys signs. There is one, mostly; while a role's key is replaced there are two.

use tough::schema::key::Key as PublicKey;
use tufline_store::{Clock, Key, OnlineRole, Store};
use tufline_tuf::root::LONGEST_HIDDEN_SECONDS;
use tufline_tuf::{RoleKeys, RoleName, root, time};

use crate::error::{Result, StageError};
use crate::ports::Ports;
use crate::state::roots;

/// A device may have been told that there is no newer root by a cache, and then take its time until it asks for the rest: a key
/// that a new root adds signs nothing before that root has been there for so long.
pub const SETTLING_SECONDS: i64 = LONGEST_HIDDEN_SECONDS + 25;

/// The key of `role` that signs, of those that `keys` trusts: the newest that every device can know of. Else the oldest.
///
/// # Errors
/// [`StageError::UntrustedKey`] where `keys` lists none of them.
pub(crate) async fn signing_key(ports: &Ports, keys: &RoleKeys, role: OnlineRole) -> Result<PublicKey> {
    let mut trusted = ports.signer.public_keys(role).await?;
    trusted.retain(|key| keys.id_of(key).is_some());
    let untrusted = || StageError::UntrustedKey(keys.role().to_string());
    loop {
        let newest = trusted.pop().ok_or_else(untrusted)?;
        // The oldest may always: what is published verifies under it, or under one that is no longer held.
        if trusted.is_empty() || unsettled_seconds(&*ports.store, &*ports.clock, keys.role(), &newest).await? <= 0 {
            return Ok(newest);
        }
    }
}

/// For how many seconds `key` must still wait, which the newest root lists for `role`: [`SETTLING_SECONDS`] from when the
/// oldest root was published since which all of them list it.
///
/// # Errors
/// Requests that failed.
pub async fn unsettled_seconds(store: &dyn Store, clock: &dyn Clock, role: &RoleName, key: &PublicKey) -> Result<i64> {
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
