//! Sign: signs every document that waits, oldest generation first. The only stage that may use the targets, bins and
//! snapshot keys.

use std::collections::BTreeSet;
use std::time::Duration;

use tough::schema::key::Key as PublicKey;
use tough::schema::{Root, Signature};
use tufline_store::{Document, Key, Message, OnlineRole, Written};
use tufline_tuf::{Draft, Manifest, RoleEntry, RoleKeys, RoleName, Signed, SignedDocument, generation, trie, verify};

use crate::index::draft;
use crate::ledger;
use crate::online::signing_key;
use crate::ports::{Ports, Result, StageError, some_at_once};
use crate::roots;

/// Signs what waits.
///
/// Every created file is final, so any number of instances may run at once, and a crash between any two files is continued
/// by the next run.
///
/// # Errors
/// The first failure, after all that could be signed was signed.
pub async fn sign(ports: &Ports) -> Result<()> {
    let store = &*ports.store;
    let published = ledger::published(store).await?;
    let root = roots::newest(store).await?;
    let waiting =
        ledger::generations_after(store, published.as_ref().map_or(0, |published| published.generation)).await?;
    if waiting.is_empty() {
        return Ok(());
    }
    // What devices see, and then with each generation.
    let mut versions = ledger::published_versions(store, &root, published.as_ref()).await?;
    let mut unsigned: BTreeSet<RoleName> = BTreeSet::new();
    // Publish has work if the newest generation is signed, or any was just now, or if all are fences: these need no
    // signature, but publish tells what they answer. A call for nothing would be answered by one from publish, without end.
    let mut ready = true;
    let (mut failure, mut any_new) = (None, false);
    for generation in waiting {
        let manifest = ledger::manifest(store, generation).await?;
        generation::advance(&mut versions, &manifest);
        if manifest.is_fence() {
            continue;
        }
        // Also where the snapshot is there already: if anything else put it there, or took a role away, publish would ask for
        // the role, and be called again for nothing, without end.
        let signs = manifest.changed.iter().map(|(role, entry)| {
            let (root, manifest) = (&root, &manifest);
            async move { (role, sign_role(ports, root, manifest, role, entry).await) }
        });
        for (role, outcome) in some_at_once(ports.config.signatures_at_once.get(), signs).await {
            match outcome {
                Ok(()) => _ = unsigned.remove(role),
                Err(error) => {
                    tracing::error!(generation, %role, %error, "role not signed");
                    unsigned.insert(role.clone());
                    failure.get_or_insert(error);
                }
            }
        }
        if store.exists(&Key::snapshot(generation)).await? {
            ready = true;
        } else if unsigned.is_empty() {
            let snapshot = generation::snapshot(&manifest, &versions);
            let keys = RoleKeys::in_root(&root, &RoleName::snapshot())?;
            let key = signing_key(ports, &keys, OnlineRole::Snapshot).await?;
            create(ports, snapshot, &keys, OnlineRole::Snapshot, &key).await?;
            tracing::info!(generation, "generation signed");
            for (upload, name) in manifest.uploads() {
                tracing::info!(upload, %name, generation, "upload signed");
            }
            ready = true;
            any_new = true;
        } else {
            ready = false;
        }
    }
    if ready || any_new {
        ports.queues.send(&Message::Publish, Duration::ZERO).await?;
    }
    failure.map_or(Ok(()), Err)
}

/// Makes sure that this document of a role is signed.
async fn sign_role(ports: &Ports, root: &Root, manifest: &Manifest, role: &RoleName, entry: &RoleEntry) -> Result<()> {
    let store = &*ports.store;
    if store.exists(&Key::Metadata { role: role.clone(), version: entry.version }).await? {
        return Ok(());
    }
    let draft = draft(store, role, &entry.draft).await?;
    match trie::parent(role) {
        None => {
            let keys = RoleKeys::in_root(root, role)?;
            let key = signing_key(ports, &keys, OnlineRole::Targets).await?;
            create(ports, draft, &keys, OnlineRole::Targets, &key).await
        }
        Some(parent) => {
            let delegations = trie::delegations(&parent, &manifest.bins_keys().listed())?;
            let keys = RoleKeys::in_delegations(&delegations, role)?;
            create(ports, draft, &keys, OnlineRole::Bins, &manifest.bins_key).await
        }
    }
}

/// Signs a draft with `key` and stores it, unless its file is there already.
async fn create<T: SignedDocument>(
    ports: &Ports,
    draft: Draft<T>,
    keys: &RoleKeys,
    role: OnlineRole,
    key: &PublicKey,
) -> Result<()> {
    let signed = sign_draft(ports, draft.clone(), keys, role, key).await?;
    let document = Document::signed(&signed);
    if ports.store.create(&document).await? == Written::Done {
        return Ok(());
    }
    // Another instance, or an earlier try, was first. Its signatures differ from ours (ECDSA takes a random number each
    // time), what it signed must not. If it does, the file stays, since clients may have it: the gate refuses it, tells,
    // and has the role drafted again under a new version.
    let stored = ports.store.get(document.key()).await?;
    let sound = stored.is_some_and(|stored| {
        verify::<T>(stored.bytes, keys).is_ok_and(|stored: Signed<T>| stored.is_signed_form_of(&draft))
    });
    if !sound {
        tracing::error!(key = %document.key(), "another document is stored where this one belongs");
    }
    Ok(())
}

/// Signs a draft with `key`, an online key of `role`, and verifies the result under `keys`.
///
/// # Errors
/// [`StageError::UntrustedKey`] where `keys` doesn't list it.
pub(crate) async fn sign_draft<T: SignedDocument>(
    ports: &Ports,
    draft: Draft<T>,
    keys: &RoleKeys,
    role: OnlineRole,
    key: &PublicKey,
) -> Result<Signed<T>> {
    let id = keys.id_of(key).ok_or_else(|| StageError::UntrustedKey(keys.role().to_string()))?;
    let sig = ports.signer.sign(role, key, &draft.message()?).await?;
    let signature = Signature { keyid: id.clone(), sig: sig.into() };
    Ok(draft.sign(vec![signature], keys)?)
}
