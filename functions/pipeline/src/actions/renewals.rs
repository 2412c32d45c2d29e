//! Finds what must be signed again because another online key signs now.

use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use tough::schema::{Root, Snapshot, Targets, Timestamp};
use tufline_store::{Change, Key, OnlineRole, Store};
use tufline_tuf::generation::outdated_bins;
use tufline_tuf::root::same_key;
use tufline_tuf::{Manifest, RoleKeys, RoleName, VerifyError, verify_published};

use crate::concurrency::REQUESTS_AT_ONCE;
use crate::error::{Result, StageError};
use crate::ports::Ports;
use crate::state::index::{expect_read, readable_below};
use crate::state::ledger::Published;
use crate::state::online_keys::signing_key;

/// The name in the root of a role whose online keys the root lists.
///
/// # Errors
/// [`StageError::Refused`] for the bins: the `targets` role lists their keys.
pub fn root_role(role: OnlineRole) -> Result<RoleName> {
    match role {
        OnlineRole::Targets => Ok(RoleName::targets()),
        OnlineRole::Snapshot => Ok(RoleName::snapshot()),
        OnlineRole::Timestamp => Ok(RoleName::timestamp()),
        OnlineRole::Bins => Err(StageError::refused("no root lists the key of the bins")),
    }
}

/// The role's file in a generation.
pub(crate) fn file(role: OnlineRole, manifest: &Manifest) -> Key {
    match role {
        OnlineRole::Snapshot => Key::snapshot(manifest.generation),
        _ => Key::Metadata { role: RoleName::targets(), version: manifest.top.document.version },
    }
}

/// Those of `files` that do not verify under `only`. A file that does not exist yet is left out.
pub(crate) async fn signed_by_others(
    store: &dyn Store,
    role: OnlineRole,
    only: &RoleKeys,
    files: Vec<Key>,
) -> Result<Vec<Key>> {
    let reads = files.into_iter().map(|file| async move { Ok((store.bytes(&file).await?, file)) });
    let signed_by_another = |(bytes, file): (Option<Bytes>, Key)| async move {
        Ok(bytes.is_some_and(|bytes| !is_signed(role, bytes, only)).then_some(file))
    };
    let reads: Vec<_> = reads.collect();
    stream::iter(reads)
        .buffered(REQUESTS_AT_ONCE)
        .try_filter_map(signed_by_another)
        .try_collect()
        .await
}

pub(crate) fn is_signed(role: OnlineRole, bytes: Bytes, only: &RoleKeys) -> bool {
    let verified: std::result::Result<(), VerifyError> = match role {
        OnlineRole::Timestamp => verify_published::<Timestamp>(bytes, only).map(drop),
        OnlineRole::Snapshot => verify_published::<Snapshot>(bytes, only).map(drop),
        OnlineRole::Targets | OnlineRole::Bins => {
            verify_published::<Targets>(bytes, only).map(drop)
        }
    };
    verified.is_ok()
}

/// Whether the published timestamp must be signed again: the root lists several keys for the role,
/// and another one signs now.
pub(crate) async fn timestamp_is_due(
    ports: &Ports,
    root: &Root,
    published: &Published,
) -> Result<bool> {
    let Some(only) = only_signing(ports, root, OnlineRole::Timestamp).await? else {
        return Ok(false);
    };
    Ok(!is_signed(OnlineRole::Timestamp, published.stored.bytes.clone(), &only))
}

/// The changes that make the current key sign the snapshot and the targets role. Files that are not
/// signed yet need none.
pub(crate) async fn renewals(
    ports: &Ports,
    root: &Root,
    published: &Manifest,
    newest: &Manifest,
) -> Result<Vec<Change>> {
    let mut changes = Vec::new();
    let offline = ports.config.offline_targets;
    for role in [OnlineRole::Targets, OnlineRole::Snapshot] {
        if offline && role == OnlineRole::Targets {
            continue;
        }
        let Some(only) = only_signing(ports, root, role).await? else { continue };
        let file = match role {
            // A fence has no snapshot of its own.
            OnlineRole::Snapshot if newest.is_fence() => file(role, published),
            _ => file(role, newest),
        };
        if signed_by_others(&*ports.store, role, &only, vec![file]).await?.is_empty() {
            continue;
        }
        changes.push(match role {
            OnlineRole::Targets => {
                Change::Renew { role: RoleName::targets(), version: newest.top.document.version }
            }
            _ => Change::Renew { role: RoleName::snapshot(), version: newest.generation },
        });
    }
    Ok(changes)
}

/// The changes that make the newest key sign the bins: at most `most` of them. `newest` is the
/// newest generation.
pub(crate) async fn bins_renewals(
    ports: &Ports,
    newest: &Manifest,
    most: usize,
) -> Result<Vec<Change>> {
    // Where people sign `targets`, they start and end the replacement of the key.
    let offline = ports.config.offline_targets;
    if newest.old_bins_key.is_none() {
        let is_due = !offline
            && !same_key(&newest.bins_key, &ports.signer.newest_key(OnlineRole::Bins).await?);
        return Ok(is_due.then_some(Change::ReplaceBinsKey).into_iter().collect());
    }
    let (index, unread) = readable_below(&*ports.store, newest, |_| true).await;
    let renew = |(role, version)| Change::Renew { role, version };
    let left: Vec<Change> = outdated_bins(newest, &index).take(most).map(renew).collect();
    if left.is_empty() {
        expect_read(unread)?;
    }
    Ok(if left.is_empty() && !offline { vec![Change::ReplaceBinsKey] } else { left })
}

/// The key that signs for `role` now; `None` if the root lists only one key for it.
async fn only_signing(ports: &Ports, root: &Root, role: OnlineRole) -> Result<Option<RoleKeys>> {
    let keys = RoleKeys::in_root(root, &root_role(role)?)?;
    if keys.keys().count() == 1 {
        return Ok(None);
    }
    Ok(keys.only(&signing_key(ports, &keys, role).await?))
}
