//! Replaces an online key: looks how far that has got, and what must be signed again.
//!
//! The next root lists the new key beside the old one. Once every device can know that root, the
//! new key signs (`online_keys.rs`), and refresh has everything signed again that the old key
//! signed. The root after that drops the old key; `publish_root` refuses it while anything that
//! devices see does not verify without that key. No state is kept: each look derives it from the
//! keys, the roots and the files.
//!
//! No root lists the key of the bins. Refresh notices a newer key, and rebuild replaces the old one
//! ([`tufline_tuf::BinsKeys`]). Where people sign `targets`, the documents that they sign start
//! and end the replacement (`offline_targets.rs`).

use tough::schema::key::Key as PublicKey;
use tufline_store::{Clock, Key, OnlineRole, Signer, Store};
use tufline_tuf::generation::outdated_bins;
use tufline_tuf::root::same_key;
use tufline_tuf::{Config, Index, Manifest, RoleKeys, RoleName, trie};

pub use crate::actions::renewals::root_role;
use crate::actions::renewals::{file, signed_by_others};
use crate::error::{Result, StageError};
use crate::state::index::read_index_below;
use crate::state::ledger::Published;
use crate::state::online_keys::unsettled_seconds;
use crate::state::pending::{Pending, Tip};
use crate::state::{ledger, roots};

/// The replacement of a role's online key.
#[derive(Debug, Clone)]
pub struct Rotation {
    /// The newest key that the signer holds for the role.
    pub newest: PublicKey,
    /// The other keys that it holds.
    pub older: Vec<PublicKey>,
    /// How far the replacement has got.
    pub step: Step,
}

/// How far the replacement of a key has got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// There is one key, which devices trust. No replacement is under way.
    Rested,
    /// The newest root (for the bins: the `targets` document that people sign) does not list the
    /// newest key. People must sign one that does.
    Untrusted,
    /// The root lists the newest key, but has not done so for long enough. The key signs after this
    /// many seconds.
    Settling(i64),
    /// Another key signed these files. Refresh has them signed again.
    Resigning(Vec<Key>),
    /// The newest key has signed all these files, and no others are published or waiting. People
    /// must sign a root (for the bins: a `targets` document) without the older keys.
    Signed(Vec<Key>),
    /// Devices trust only the newest key, which has signed all these files. The older keys are of
    /// no use any more.
    Unused(Vec<Key>),
}

/// Looks how far the replacement of the key of `role` has got.
///
/// # Errors
/// A request failed; [`StageError::NotInitialised`] if there is no repository yet.
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

async fn bins_step(
    store: &dyn Store,
    config: &Config,
    newest_key: &PublicKey,
    older: &[PublicKey],
) -> Result<Step> {
    let tip = Tip::read(store).await?;
    let (manifest, newest) = (&tip.shown, tip.newest());
    let replaced = |manifest: &Manifest| {
        same_key(&manifest.bins_key, newest_key) && manifest.old_bins_key.is_none()
    };
    if replaced(manifest) && replaced(newest) && older.is_empty() {
        return Ok(Step::Rested);
    }
    let offline = config.offline_targets;
    if offline && newest.old_bins_key.is_none() && !same_key(&newest.bins_key, newest_key) {
        return Ok(Step::Untrusted);
    }
    let index = read_index_below(store, newest, |_| true).await?;
    let key = |(role, version)| Key::Metadata { role, version };
    let left: Vec<Key> = match newest.old_bins_key {
        Some(_) => outdated_bins(newest, &index).map(key).collect(),
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
    let index = read_index_below(store, shown, |_| true).await?;
    let files: Vec<Key> = bins(&index).map(key).collect();
    let only = bins_keys_of(&shown.bins_key)?;
    let others = signed_by_others(store, OnlineRole::Bins, &only, files.clone()).await?;
    Ok(match (others.is_empty(), replaced(shown)) {
        (false, _) => Step::Resigning(others),
        (true, false) => Step::Signed(files),
        (true, true) => Step::Unused(files),
    })
}

/// All bins, with their versions.
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
    // It reads the timestamp first, as publish does.
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
