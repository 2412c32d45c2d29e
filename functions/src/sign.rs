//! Sign: signs every document that waits, oldest generation first. The only stage that may use the targets, bins and
//! snapshot keys.

use std::collections::BTreeSet;
use std::time::Duration;

use tough::schema::{Root, Signature};
use tufline_store::{Document, Key, Message, OnlineRole, Written};
use tufline_tuf::{Draft, Manifest, RoleKeys, RoleName, Signed, SignedDocument, generation, trie, verify};

use crate::ledger;
use crate::ports::{Ports, Result, StageError, at_once};
use crate::rebuild::draft;
use crate::roots;

/// Signs what waits.
///
/// Every created file is final, so any number of instances may run at once, and a crash between any two files is continued
/// by the next run.
///
/// # Errors
/// The first failure, after all that could be signed was signed.
pub async fn sign(ports: &Ports) -> Result<()> {
    let published = ledger::published(&*ports.store).await?;
    let root = roots::newest(&*ports.store).await?;
    let published_generation = published.as_ref().map_or(0, |published| published.generation);
    let waiting = ledger::generations_after(&*ports.store, published_generation).await?;
    let mut signed: BTreeSet<(RoleName, u64)> = BTreeSet::new();
    if published.is_some() && !waiting.is_empty() {
        signed.extend(versions(&ledger::manifest(&*ports.store, published_generation).await?));
    }
    // Publish has work if the newest generation is signed, or any was just now, or if all are fences: these need no
    // signature, but publish tells what they answer. A call for nothing would be answered by one from publish, without end.
    let mut ready = !waiting.is_empty();
    let (mut failure, mut any_new) = (None, false);
    for generation in waiting {
        let manifest = ledger::manifest(&*ports.store, generation).await?;
        if manifest.is_fence() {
            continue;
        }
        // Also where the snapshot is there already: if anything else put it there, or took a role away, publish would ask for
        // the role, and be called again for nothing, without end.
        let signs = manifest.changed.iter().map(|role| {
            let (root, manifest) = (&root, &manifest);
            async move { (role, sign_role(ports, root, manifest, role).await) }
        });
        for (role, outcome) in at_once(signs).await {
            match outcome {
                Ok(version) => _ = signed.insert((role.clone(), version)),
                Err(error) => {
                    tracing::error!(generation, %role, %error, "role not signed");
                    failure.get_or_insert(error);
                }
            }
        }
        if ports.store.exists(&Key::snapshot(generation)).await? {
            ready = true;
        } else if versions(&manifest).all(|version| signed.contains(&version)) {
            let snapshot = generation::snapshot(&manifest);
            let keys = RoleKeys::in_root(&root, &RoleName::snapshot())?;
            create(ports, snapshot, &keys, OnlineRole::Snapshot).await?;
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

fn versions(manifest: &Manifest) -> impl Iterator<Item = (RoleName, u64)> + '_ {
    manifest.roles.iter().map(|(role, entry)| (role.clone(), entry.version))
}

async fn sign_role(ports: &Ports, root: &Root, manifest: &Manifest, role: &RoleName) -> Result<u64> {
    let entry = manifest.roles.get(role);
    let entry = entry.ok_or_else(|| StageError::Missing(role.to_string(), "its manifest does not list it"))?;
    if !ports.store.exists(&Key::Metadata { role: role.clone(), version: entry.version }).await? {
        let draft = draft(ports, role, &entry.draft).await?;
        match trie::parent(role) {
            None => create(ports, draft, &RoleKeys::in_root(root, role)?, OnlineRole::Targets).await?,
            Some(parent) => {
                let key = manifest.bins_key.as_ref();
                let key =
                    key.ok_or_else(|| StageError::Missing(role.to_string(), "its manifest names no key for it"))?;
                let keys = RoleKeys::in_delegations(&trie::delegations(&parent, key)?, role)?;
                create(ports, draft, &keys, OnlineRole::Bins).await?;
            }
        }
    }
    Ok(entry.version)
}

/// Signs a draft and stores it, unless its file is there already.
async fn create<T: SignedDocument>(ports: &Ports, draft: Draft<T>, keys: &RoleKeys, key: OnlineRole) -> Result<()> {
    let signed = sign_draft(ports, draft.clone(), keys, key).await?;
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

/// Signs a draft with an online key and verifies the result under `keys`.
///
/// # Errors
/// [`StageError::UntrustedKey`] where `keys` doesn't list the online key.
pub(crate) async fn sign_draft<T: SignedDocument>(
    ports: &Ports,
    draft: Draft<T>,
    keys: &RoleKeys,
    key: OnlineRole,
) -> Result<Signed<T>> {
    let public_key = ports.signer.public_key(key).await?;
    let id = keys.id_of(&public_key).ok_or_else(|| StageError::UntrustedKey(keys.role().to_string()))?;
    let sig = ports.signer.sign(key, &draft.message()?).await?;
    let signature = Signature { keyid: id.clone(), sig: sig.into() };
    Ok(draft.sign(vec![signature], keys)?)
}
