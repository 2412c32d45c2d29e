//! Signs one document with an online key, and stores it.

use std::collections::BTreeSet;

use tough::schema::key::Key as PublicKey;
use tough::schema::{Root, Signature, Targets};
use tufline_store::{Document, Key, OnlineRole, Store, Written};
use tufline_tuf::delegations::PartyDocument;
use tufline_tuf::{
    Draft, Manifest, Parties, RoleDocument, RoleKeys, RoleName, Signed, trie, verify,
};

use crate::compute::compute;
use crate::concurrency::at_once;
use crate::error::{Result, StageError};
use crate::ports::Ports;
use crate::state::online_keys::signing_key;
use crate::state::{ledger, parties};

/// Whether a generation's snapshot and these documents, which it lists, are all stored. The
/// snapshot alone proves nothing: if somebody else wrote it, or deleted a role, publish would call
/// sign for that role without end.
pub(crate) async fn is_signed(
    store: &dyn Store,
    generation: u64,
    documents: BTreeSet<(RoleName, u64)>,
) -> Result<bool> {
    if !store.exists(&Key::snapshot(generation)).await? {
        return Ok(false);
    }
    let looks = documents.into_iter().map(|(role, version)| async move {
        let key = Key::Metadata { role, version };
        store.exists(&key).await
    });
    let there = at_once(looks).await.into_iter().collect::<std::result::Result<Vec<bool>, _>>()?;
    Ok(there.into_iter().all(|is_there| is_there))
}

/// Makes sure that a role's document, which `manifest` made, is signed.
pub(crate) async fn sign_role(
    ports: &Ports,
    root: &Root,
    manifest: &Manifest,
    draft: Draft<Targets>,
) -> Result<()> {
    let (store, role) = (&*ports.store, draft.role().clone());
    if store
        .exists(&Key::Metadata { role: role.clone(), version: draft.document().version.get() })
        .await?
    {
        return Ok(());
    }
    let (keys, online, key) = match trie::parent(&role) {
        None => {
            let keys = RoleKeys::in_root(root, &role)?;
            let key = signing_key(ports, &keys, OnlineRole::Targets).await?;
            (keys, OnlineRole::Targets, key)
        }
        Some(parent) => {
            let delegations = trie::delegations(&parent, &manifest.bins_keys().listed())?;
            (
                RoleKeys::in_delegations(&delegations, &role)?,
                OnlineRole::Bins,
                manifest.bins_key.clone(),
            )
        }
    };
    let signed = sign_document(ports, draft, &keys, online, &key).await?;
    create_signed(ports, &keys, &signed).await
}

/// Stores a document that another party signed where devices find it. It is verified under the
/// parties of the generation that took it in, since the party may have been removed later.
pub(crate) async fn copy_delivery(
    ports: &Ports,
    parties: &Parties,
    role: &RoleName,
    document: &PartyDocument,
) -> Result<()> {
    let store = &*ports.store;
    if store.exists(&Key::Metadata { role: role.clone(), version: document.version }).await? {
        return Ok(());
    }
    let signed = parties::read_document(store, parties, role).await?;
    match ledger::create_same(store, &Document::signed(&signed)).await? {
        Written::Done => {}
        // As with our own documents, the gate refuses the stored one.
        Written::Lost => {
            tracing::error!(%role, document.version, "another document is stored where a party's belongs");
        }
    }
    Ok(())
}

/// Stores a signed document, unless its file exists already.
pub(crate) async fn create_signed<T: RoleDocument>(
    ports: &Ports,
    keys: &RoleKeys,
    signed: &Signed<T>,
) -> Result<()> {
    let document = Document::signed(signed);
    if ports.store.create(&document).await? == Written::Done {
        return Ok(());
    }
    // Another instance, or an earlier try, was first. Its signatures may differ from ours, since
    // ECDSA takes a random number each time, but the signed part must not. If it does, the file
    // stays, since clients may have it. The gate refuses the file, announces that, and has the role
    // drafted again under a new version.
    let stored = ports.store.get(document.key()).await?;
    let sound = stored.is_some_and(|stored| {
        verify::<T>(stored.bytes, keys)
            .is_ok_and(|stored: Signed<T>| stored.document() == signed.document())
    });
    if !sound {
        tracing::error!(key = %document.key(), "another document is stored where this one belongs");
    }
    Ok(())
}

/// Signs a draft with `key`, an online key of `role`, and verifies the result under `keys`.
///
/// # Errors
/// [`StageError::UntrustedKey`] if `keys` does not list `key`.
pub(crate) async fn sign_document<T: RoleDocument + 'static>(
    ports: &Ports,
    draft: Draft<T>,
    keys: &RoleKeys,
    role: OnlineRole,
    key: &PublicKey,
) -> Result<Signed<T>> {
    let id = keys.id_of(key).ok_or_else(|| StageError::UntrustedKey(keys.role().to_string()))?;
    let prepared = compute(|| draft.prepare()).await?;
    let sig = ports.signer.sign(role, key, prepared.message()).await?;
    let (signature, keys) = (Signature { keyid: id.clone(), sig: sig.into() }, keys.clone());
    Ok(compute(move || prepared.sign(vec![signature], &keys)).await?)
}
