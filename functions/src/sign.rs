//! Sign: signs every document that waits, oldest generation first. The only stage that may use the targets, bins and
//! snapshot keys.

use std::collections::BTreeSet;
use std::time::Duration;

use tough::schema::key::Key as PublicKey;
use tough::schema::{self, Root, Signature};
use tufline_store::{Document, Key, Message, OnlineRole, Written};
use tufline_tuf::parties::PartyDocument;
use tufline_tuf::{
    Draft, Manifest, Parties, RoleEntry, RoleKeys, RoleName, Signed, SignedDocument, generation, trie, verify,
};

use crate::index::draft;
use crate::ledger;
use crate::online::signing_key;
use crate::parties::{self, parties};
use crate::ports::{Ports, Result, StageError, at_once, some_at_once};
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
    let (published, root) = futures::try_join!(ledger::published(store), roots::newest(store))?;
    let after = published.as_ref().map_or(0, |published| published.generation);
    let (waiting, versions) = futures::join!(
        ledger::generations_after(store, after),
        ledger::published_versions(store, &root, published.as_ref())
    );
    let waiting = waiting?;
    if waiting.is_empty() {
        return Ok(());
    }
    // What devices see, and then with each generation.
    let mut versions = versions?;
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
        let parties = parties(store, &manifest).await?;
        // Also where the snapshot is there already: if anything else put it there, or took a role away, publish would ask for
        // the role, and be called again for nothing, without end.
        let signs = manifest.changed.iter().map(|(role, entry)| {
            let (root, manifest) = (&root, &manifest);
            async move { (role, sign_role(ports, root, manifest, role, entry).await) }
        });
        let signs = some_at_once(ports.config.signatures_at_once.get(), signs);
        let deliveries = manifest.deliveries().map(|(role, document)| {
            let parties = &parties;
            async move { (role, copy_delivery(ports, parties, role, document).await) }
        });
        let signs = async {
            let (mut signed, mut copied) = futures::join!(signs, at_once(deliveries));
            signed.append(&mut copied);
            signed
        };
        // Signed meanwhile, though it is stored only when all that it lists is.
        let complete = unsigned.is_empty();
        let snapshot = async {
            if store.exists(&Key::snapshot(generation)).await? {
                return Ok(Snapshot::Stored);
            }
            if !complete {
                return Ok(Snapshot::NotYet);
            }
            let draft = generation::snapshot(&manifest, &versions, &parties);
            let keys = RoleKeys::in_root(&root, &RoleName::snapshot())?;
            let key = signing_key(ports, &keys, OnlineRole::Snapshot).await?;
            let signed = sign_draft(ports, draft.clone(), &keys, OnlineRole::Snapshot, &key).await?;
            Ok::<_, StageError>(Snapshot::Signed(Box::new((draft, keys, signed))))
        };
        let (outcomes, snapshot) = futures::join!(signs, snapshot);
        for (role, outcome) in outcomes {
            match outcome {
                Ok(()) => _ = unsigned.remove(role),
                Err(error) => {
                    tracing::error!(generation, %role, %error, "role not signed");
                    unsigned.insert(role.clone());
                    failure.get_or_insert(error);
                }
            }
        }
        match snapshot? {
            Snapshot::Stored => ready = true,
            Snapshot::Signed(snapshot) if unsigned.is_empty() => {
                let (draft, keys, signed) = *snapshot;
                create(ports, &draft, &keys, &signed).await?;
                tracing::info!(generation, "generation signed");
                for (upload, name) in manifest.uploads() {
                    tracing::info!(upload, %name, generation, "upload signed");
                }
                ready = true;
                any_new = true;
            }
            Snapshot::Signed(..) | Snapshot::NotYet => ready = false,
        }
    }
    if ready || any_new {
        ports.queues.send(&Message::Publish, Duration::ZERO).await?;
    }
    failure.map_or(Ok(()), Err)
}

/// The snapshot of a generation.
enum Snapshot {
    Stored,
    Signed(Box<(Draft<schema::Snapshot>, RoleKeys, Signed<schema::Snapshot>)>),
    /// Something that it lists could not be signed.
    NotYet,
}

/// Makes sure that this document of a role is signed.
async fn sign_role(ports: &Ports, root: &Root, manifest: &Manifest, role: &RoleName, entry: &RoleEntry) -> Result<()> {
    let store = &*ports.store;
    let key = Key::Metadata { role: role.clone(), version: entry.version };
    let (is_signed, draft) = futures::join!(store.exists(&key), draft(store, role, &entry.draft));
    if is_signed? {
        return Ok(());
    }
    let draft = draft?;
    let (keys, online, key) = match trie::parent(role) {
        None => {
            let keys = RoleKeys::in_root(root, role)?;
            let key = signing_key(ports, &keys, OnlineRole::Targets).await?;
            (keys, OnlineRole::Targets, key)
        }
        Some(parent) => {
            let delegations = trie::delegations(&parent, &manifest.bins_keys().listed())?;
            (RoleKeys::in_delegations(&delegations, role)?, OnlineRole::Bins, manifest.bins_key.clone())
        }
    };
    let signed = sign_draft(ports, draft.clone(), &keys, online, &key).await?;
    create(ports, &draft, &keys, &signed).await
}

/// Puts a document that another party signed where devices find it.
async fn copy_delivery(ports: &Ports, parties: &Parties, role: &RoleName, document: &PartyDocument) -> Result<()> {
    let store = &*ports.store;
    let is_newest = parties.documents.get(role) == Some(document);
    if !is_newest || store.exists(&Key::Metadata { role: role.clone(), version: document.version }).await? {
        return Ok(());
    }
    let signed = parties::document(store, parties, role).await?;
    match ledger::create_same(store, &Document::signed(&signed)).await? {
        Written::Done => {}
        // As with our own: the gate refuses it.
        Written::Lost => tracing::error!(%role, document.version, "another document is stored where a party's belongs"),
    }
    Ok(())
}

/// Stores a draft that was signed, unless its file is there already.
async fn create<T: SignedDocument>(ports: &Ports, draft: &Draft<T>, keys: &RoleKeys, signed: &Signed<T>) -> Result<()> {
    let document = Document::signed(signed);
    if ports.store.create(&document).await? == Written::Done {
        return Ok(());
    }
    // Another instance, or an earlier try, was first. Its signatures differ from ours (ECDSA takes a random number each
    // time), what it signed must not. If it does, the file stays, since clients may have it: the gate refuses it, tells,
    // and has the role drafted again under a new version.
    let stored = ports.store.get(document.key()).await?;
    let sound = stored.is_some_and(|stored| {
        verify::<T>(stored.bytes, keys).is_ok_and(|stored: Signed<T>| stored.is_signed_form_of(draft))
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
