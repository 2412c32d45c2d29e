//! Replacing an online key: where that is, and what is to be signed again.
//!
//! The next root lists the new key beside the old one. When every device can know that root the new key signs (`online.rs`), and
//! refresh has signed again what the old one signed. Then the root after that drops the old key: `publish_root` refuses it
//! while anything that devices see doesn't verify without it. No state is kept of all that: it is read off the
//! keys, the roots and the files each time.
//!
//! The key of the bins stands in no root. Refresh finds that a newer one is held, and rebuild replaces it
//! ([`tufline_tuf::bins_keys`]). Where people sign `targets`, the documents that they sign begin and end that
//! ([`crate::offline_targets`]).

use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use tough::schema::key::Key as PublicKey;
use tough::schema::{Root, Snapshot, Targets, Timestamp};
use tufline_store::{Change, Clock, Key, OnlineRole, Signer, Store};
use tufline_tuf::bins_keys::outdated;
use tufline_tuf::root::same_key;
use tufline_tuf::{Config, Index, Manifest, RoleKeys, RoleName, VerifyError, trie, verify_published};

use crate::index::{all, index_below, readable_below};
use crate::ledger::{self, Published};
use crate::online::{signing_key, unsettled_seconds};
use crate::pending::{Pending, Tip};
use crate::ports::{Ports, REQUESTS_AT_ONCE, Result, StageError};
use crate::roots;

/// The replacement of a role's online key.
#[derive(Debug, Clone)]
pub struct Rotation {
    /// The newest key that is held for the role.
    pub newest: PublicKey,
    /// The others that are held.
    pub older: Vec<PublicKey>,
    /// How far it has come.
    pub step: Step,
}

/// How far the replacement of a key has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// There is one key, which devices trust: nothing is being replaced.
    Rested,
    /// The newest root (for the bins: the `targets` that people sign) doesn't list the newest key: people must sign one that does.
    Untrusted,
    /// It lists it, but not for long enough: the key signs after so many seconds.
    Settling(i64),
    /// These are still signed by another key; refresh sees to it.
    Resigning(Vec<Key>),
    /// The newest key has signed all of these, and nothing else is published or waits: people must sign a root (for the bins:
    /// a `targets`) without the others.
    Signed(Vec<Key>),
    /// Devices trust the newest key only, which has signed all of these. The older keys are of no use any more.
    Unused(Vec<Key>),
}

/// The roles whose keys stand in the root, as they are called there.
///
/// # Errors
/// [`StageError::Refused`] for the bins.
pub fn root_role(role: OnlineRole) -> Result<RoleName> {
    match role {
        OnlineRole::Targets => Ok(RoleName::targets()),
        OnlineRole::Snapshot => Ok(RoleName::snapshot()),
        OnlineRole::Timestamp => Ok(RoleName::timestamp()),
        OnlineRole::Bins => Err(StageError::Refused("the key of the bins stands in no root".into())),
    }
}

/// Looks how far the replacement of the key of `role` has come.
///
/// # Errors
/// Requests that failed; [`StageError::NotInitialised`].
pub async fn look(
    store: &dyn Store,
    signer: &dyn Signer,
    clock: &dyn Clock,
    config: &Config,
    role: OnlineRole,
) -> Result<Rotation> {
    let mut older = signer.public_keys(role).await?;
    let newest = older.pop().ok_or(StageError::NotInitialised)?;
    let step = match role {
        OnlineRole::Bins => bins_step(store, config, &newest, &older).await?,
        _ => step(store, clock, role, &newest, &older).await?,
    };
    Ok(Rotation { newest, older, step })
}

async fn bins_step(store: &dyn Store, config: &Config, newest_key: &PublicKey, older: &[PublicKey]) -> Result<Step> {
    let tip = Tip::read(store).await?;
    let (manifest, newest) = (&tip.shown, tip.newest());
    let replaced = |manifest: &Manifest| same_key(&manifest.bins_key, newest_key) && manifest.old_bins_key.is_none();
    if replaced(manifest) && replaced(newest) && older.is_empty() {
        return Ok(Step::Rested);
    }
    let offline = config.offline_targets;
    if offline && newest.old_bins_key.is_none() && !same_key(&newest.bins_key, newest_key) {
        return Ok(Step::Untrusted);
    }
    let index = index_below(store, newest, |_| true).await?;
    let key = |(role, version)| Key::Metadata { role, version };
    let left: Vec<Key> = match newest.old_bins_key {
        Some(_) => outdated(newest, &index).map(key).collect(),
        None if same_key(&newest.bins_key, newest_key) => Vec::new(),
        None => bins(&index).map(key).collect(),
    };
    if !left.is_empty() || (!replaced(newest) && !offline) {
        return Ok(Step::Resigning(left));
    }
    if replaced(newest) && !replaced(manifest) {
        return Ok(Step::Resigning(vec![Key::snapshot(newest.generation)]));
    }
    // What devices see, or will see before people drop the old key.
    let shown = if replaced(newest) { manifest } else { newest };
    let index = index_below(store, shown, |_| true).await?;
    let files: Vec<Key> = bins(&index).map(key).collect();
    let only = bins_keys_of(&shown.bins_key)?;
    let others = signed_by_others(store, OnlineRole::Bins, &only, files.clone()).await?;
    Ok(match (others.is_empty(), replaced(shown)) {
        (false, _) => Step::Resigning(others),
        (true, false) => Step::Signed(files),
        (true, true) => Step::Unused(files),
    })
}

/// All bins, and their versions.
fn bins(index: &Index) -> impl Iterator<Item = (RoleName, u64)> {
    let entries = index.entries().filter(|(role, _)| trie::parent(role).is_some());
    entries.map(|(role, entry)| (role, entry.document.version))
}

/// The keys of any bin, if `key` is the only one.
fn bins_keys_of(key: &PublicKey) -> Result<RoleKeys> {
    let delegations = trie::delegations(&RoleName::targets(), std::slice::from_ref(key))?;
    let any = trie::children(&RoleName::targets()).swap_remove(0);
    Ok(RoleKeys::in_delegations(&delegations, &any)?)
}

async fn step(
    store: &dyn Store,
    clock: &dyn Clock,
    role: OnlineRole,
    newest: &PublicKey,
    older: &[PublicKey],
) -> Result<Step> {
    // The timestamp first, as publish does it.
    let published = ledger::published(store).await?.ok_or(StageError::NotInitialised)?;
    let root = roots::newest(store).await?;
    let keys = RoleKeys::in_root(&root, &root_role(role)?)?;
    let Some(only) = keys.only(newest) else { return Ok(Step::Untrusted) };
    let alone = keys.keys().count() == 1;
    if alone && older.is_empty() {
        return Ok(Step::Rested);
    }
    let left = unsettled_seconds(store, clock, keys.role(), newest).await?;
    if left > 0 && !alone {
        return Ok(Step::Settling(left));
    }
    let files = files(store, role, &published).await?;
    let others = signed_by_others(store, role, &only, files.clone()).await?;
    Ok(match (others.is_empty(), alone) {
        (false, _) => Step::Resigning(others),
        (true, false) => Step::Signed(files),
        (true, true) => Step::Unused(files),
    })
}

/// The role's files that devices see or will see.
async fn files(store: &dyn Store, role: OnlineRole, published: &Published) -> Result<Vec<Key>> {
    if role == OnlineRole::Timestamp {
        return Ok(vec![Key::Timestamp]);
    }
    let pending = Pending::read(store, published.generation).await?;
    let mut manifests = vec![ledger::manifest(store, published.generation).await?];
    manifests.extend(pending.chain().into_iter().cloned());
    let mut files: Vec<Key> = manifests.iter().map(|manifest| file(role, manifest)).collect();
    files.dedup();
    Ok(files)
}

/// The role's file in a generation.
fn file(role: OnlineRole, manifest: &Manifest) -> Key {
    match role {
        OnlineRole::Snapshot => Key::snapshot(manifest.generation),
        _ => Key::Metadata { role: RoleName::targets(), version: manifest.top.document.version },
    }
}

/// Those of `files` that don't verify under `only`. What is not there yet is not signed by anybody.
async fn signed_by_others(store: &dyn Store, role: OnlineRole, only: &RoleKeys, files: Vec<Key>) -> Result<Vec<Key>> {
    let reads = files.into_iter().map(|file| async move { Ok((store.bytes(&file).await?, file)) });
    let signed_by_another = |(bytes, file): (Option<Bytes>, Key)| async move {
        Ok(bytes.is_some_and(|bytes| !is_signed(role, bytes, only)).then_some(file))
    };
    let reads: Vec<_> = reads.collect();
    stream::iter(reads).buffered(REQUESTS_AT_ONCE).try_filter_map(signed_by_another).try_collect().await
}

fn is_signed(role: OnlineRole, bytes: Bytes, only: &RoleKeys) -> bool {
    let verified: std::result::Result<(), VerifyError> = match role {
        OnlineRole::Timestamp => verify_published::<Timestamp>(bytes, only).map(drop),
        OnlineRole::Snapshot => verify_published::<Snapshot>(bytes, only).map(drop),
        OnlineRole::Targets | OnlineRole::Bins => verify_published::<Targets>(bytes, only).map(drop),
    };
    verified.is_ok()
}

/// Whether the root lets several keys sign for `role`, and the published timestamp is signed by another than the one that signs
/// now.
pub(crate) async fn timestamp_is_due(ports: &Ports, root: &Root, published: &Published) -> Result<bool> {
    let Some(only) = only_signing(ports, root, OnlineRole::Timestamp).await? else { return Ok(false) };
    Ok(!is_signed(OnlineRole::Timestamp, published.stored.bytes.clone(), &only))
}

/// What to ask for so that the key that signs now has signed the snapshot and the targets role. What is not signed yet will be.
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
            // A fence has none of its own.
            OnlineRole::Snapshot if newest.is_fence() => file(role, published),
            _ => file(role, newest),
        };
        if signed_by_others(&*ports.store, role, &only, vec![file]).await?.is_empty() {
            continue;
        }
        changes.push(match role {
            OnlineRole::Targets => Change::Renew { role: RoleName::targets(), version: newest.top.document.version },
            _ => Change::Renew { role: RoleName::snapshot(), version: newest.generation },
        });
    }
    Ok(changes)
}

/// What to ask for so that the newest key that is held signs the bins: at most `most` of them at once. `newest` is the newest
/// generation.
pub(crate) async fn bins_renewals(ports: &Ports, newest: &Manifest, most: usize) -> Result<Vec<Change>> {
    // Where people sign `targets`, they begin and end it.
    let offline = ports.config.offline_targets;
    if newest.old_bins_key.is_none() {
        let is_due = !offline && !same_key(&newest.bins_key, &ports.signer.newest_key(OnlineRole::Bins).await?);
        return Ok(is_due.then_some(Change::ReplaceBinsKey).into_iter().collect());
    }
    let (index, unread) = readable_below(&*ports.store, newest, |_| true).await;
    let renew = |(role, version)| Change::Renew { role, version };
    let left: Vec<Change> = outdated(newest, &index).take(most).map(renew).collect();
    if left.is_empty() {
        all(unread)?;
    }
    Ok(if left.is_empty() && !offline { vec![Change::ReplaceBinsKey] } else { left })
}

/// The key that signs for `role` now, where the root trusts others too.
async fn only_signing(ports: &Ports, root: &Root, role: OnlineRole) -> Result<Option<RoleKeys>> {
    let keys = RoleKeys::in_root(root, &root_role(role)?)?;
    if keys.keys().count() == 1 {
        return Ok(None);
    }
    Ok(keys.only(&signing_key(ports, &keys, role).await?))
}
