//! Sign: signs the newest generation that waits. The only stage that may use the targets, bins and snapshot keys.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tough::schema::key::Key as PublicKey;
use tough::schema::{Root, Signature};
use tufline_store::{Document, Key, Message, OnlineRole, Written};
use tufline_tuf::generation::Versions;
use tufline_tuf::parties::PartyDocument;
use tufline_tuf::{Draft, Manifest, RoleEntry, RoleKeys, RoleName, Signed, SignedDocument, generation, trie, verify};

use crate::compute::compute;
use crate::index::draft;
use crate::ledger;
use crate::online::signing_key;
use crate::parties::{self, parties};
use crate::ports::{Ports, Result, StageError, at_once, some_at_once};
use crate::roots;

/// Signs what waits: the newest generation, with all that changed since what devices see. The generations before it are passed over, with
/// their documents that have newer ones: nobody would see them. They are signed, newest first, where that one can't be signed or was
/// refused.
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
        ledger::manifests_after(store, after),
        ledger::published_versions(store, &root, published.as_ref())
    );
    let waiting = waiting?;
    if waiting.is_empty() {
        return Ok(());
    }
    let mut signing = Signing { ports, root: &root, published: versions?, tried: BTreeMap::new(), failure: None };
    let oldest = waiting.iter().position(|manifest| !manifest.is_fence());
    let (mut newest, mut any_new) = (None, false);
    for (place, manifest) in waiting.iter().enumerate().rev().filter(|(_, manifest)| !manifest.is_fence()) {
        let outcome = signing.generation(waiting.get(..=place).unwrap_or_default(), manifest).await?;
        newest.get_or_insert(outcome);
        any_new |= outcome == Outcome::New;
        let is_signed = outcome != Outcome::NotYet;
        if is_signed && (Some(place) == oldest || !store.exists(&Key::Refused(manifest.generation)).await?) {
            break;
        }
    }
    // All are fences: these need no signature, but publish tells what they answer. The newest was signed before: the call for
    // publish may have been lost. A call for nothing would be answered by one from publish, without end.
    let stored = newest == Some(Outcome::Stored) && signing.failure.is_none();
    if any_new || stored || newest.is_none() {
        ports.queues.send(&Message::Publish, Duration::ZERO).await?;
    }
    signing.failure.map_or(Ok(()), Err)
}

/// What became of a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// It is signed now.
    New,
    /// It was signed before.
    Stored,
    /// Something that its snapshot lists could not be signed.
    NotYet,
}

/// What one run of sign knows.
struct Signing<'a> {
    ports: &'a Ports,
    root: &'a Root,
    /// The versions that devices see.
    published: Versions,
    /// The documents that were tried, by role and version, and whether they are signed.
    tried: BTreeMap<(RoleName, u64), bool>,
    /// The first.
    failure: Option<StageError>,
}

impl Signing<'_> {
    /// Makes sure that a generation is signed: of each role that changed in `since`, all generations after what devices see up to
    /// this one, the newest document, and then the snapshot.
    async fn generation(&mut self, since: &[Manifest], manifest: &Manifest) -> Result<Outcome> {
        let (ports, root, store) = (self.ports, self.root, &*self.ports.store);
        let generation = manifest.generation;
        let (mut versions, mut changed) = (self.published.clone(), BTreeMap::new());
        for earlier in since {
            generation::advance(&mut versions, earlier);
            changed.extend(earlier.changed.iter().map(|(role, entry)| (role, (earlier, entry))));
        }
        let parties = parties(store, manifest).await?;
        let delivered = since.iter().flat_map(|earlier| earlier.deliveries().map(move |delivery| (earlier, delivery)));
        let deliveries: BTreeMap<&RoleName, (&Manifest, &PartyDocument)> = delivered
            .filter(|(_, (role, document))| parties.documents.get(role) == Some(document))
            .map(|(earlier, (role, document))| (role, (earlier, document)))
            .collect();
        let own = changed.iter().map(|(role, (_, entry))| ((*role).clone(), entry.version));
        let others = deliveries.iter().map(|(role, (_, document))| ((*role).clone(), document.version));
        let needed: BTreeSet<(RoleName, u64)> = own.chain(others).collect();
        if needed.iter().any(|document| self.tried.get(document) == Some(&false)) {
            return Ok(Outcome::NotYet);
        }
        // Also where the snapshot is there already: if anything else put it there, or took a role away, publish would ask for
        // the role, and be called again for nothing, without end.
        let tried = &self.tried;
        let is_new = |role: &RoleName, version| !tried.contains_key(&(role.clone(), version));
        let signs = changed.iter().filter(|(role, (_, entry))| is_new(role, entry.version));
        let signs = signs.map(|(role, (manifest, entry))| async move {
            (((*role).clone(), entry.version), sign_role(ports, root, manifest, role, entry).await)
        });
        let signs = some_at_once(ports.config.signatures_at_once.get(), signs);
        let copies = deliveries.iter().filter(|(role, (_, document))| is_new(role, document.version));
        let copies = copies.map(|(role, (manifest, document))| async move {
            (((*role).clone(), document.version), copy_delivery(ports, manifest, role, document).await)
        });
        let signs = async {
            let (mut tried, copies) = futures::join!(signs, at_once(copies));
            tried.extend(copies);
            tried
        };
        // Signed meanwhile, though it is stored only when all that it lists is.
        let snapshot = async {
            if store.exists(&Key::snapshot(generation)).await? {
                return Ok(None);
            }
            let draft = generation::snapshot(manifest, &versions, &parties);
            let keys = RoleKeys::in_root(root, &RoleName::snapshot())?;
            let key = signing_key(ports, &keys, OnlineRole::Snapshot).await?;
            let signed = sign_draft(ports, draft, &keys, OnlineRole::Snapshot, &key).await?;
            Ok::<_, StageError>(Some((keys, signed)))
        };
        let (outcomes, snapshot) = futures::join!(signs, snapshot);
        for ((role, version), outcome) in outcomes {
            let is_signed = outcome.is_ok();
            if let Err(error) = outcome {
                tracing::error!(generation, %role, %error, "role not signed");
                self.failure.get_or_insert(error);
            }
            self.tried.insert((role, version), is_signed);
        }
        if needed.iter().any(|document| self.tried.get(document) != Some(&true)) {
            return Ok(Outcome::NotYet);
        }
        let Some((keys, signed)) = snapshot? else { return Ok(Outcome::Stored) };
        create(ports, &keys, &signed).await?;
        tracing::info!(generation, "generation signed");
        for (upload, name) in since.iter().flat_map(Manifest::uploads) {
            tracing::info!(upload, %name, generation, "upload signed");
        }
        Ok(Outcome::New)
    }
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
    let signed = sign_draft(ports, draft, &keys, online, &key).await?;
    create(ports, &keys, &signed).await
}

/// Puts a document that another party signed where devices find it. The generation that took it in says whose signature counts: the party
/// may have been removed since.
async fn copy_delivery(ports: &Ports, manifest: &Manifest, role: &RoleName, document: &PartyDocument) -> Result<()> {
    let store = &*ports.store;
    if store.exists(&Key::Metadata { role: role.clone(), version: document.version }).await? {
        return Ok(());
    }
    let parties = parties(store, manifest).await?;
    let signed = parties::document(store, &parties, role).await?;
    match ledger::create_same(store, &Document::signed(&signed)).await? {
        Written::Done => {}
        // As with our own: the gate refuses it.
        Written::Lost => tracing::error!(%role, document.version, "another document is stored where a party's belongs"),
    }
    Ok(())
}

/// Stores a document that was signed, unless its file is there already.
async fn create<T: SignedDocument>(ports: &Ports, keys: &RoleKeys, signed: &Signed<T>) -> Result<()> {
    let document = Document::signed(signed);
    if ports.store.create(&document).await? == Written::Done {
        return Ok(());
    }
    // Another instance, or an earlier try, was first. Its signatures differ from ours (ECDSA takes a random number each
    // time), what it signed must not. If it does, the file stays, since clients may have it: the gate refuses it, tells,
    // and has the role drafted again under a new version.
    let stored = ports.store.get(document.key()).await?;
    let sound = stored.is_some_and(|stored| {
        verify::<T>(stored.bytes, keys).is_ok_and(|stored: Signed<T>| stored.document() == signed.document())
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
pub(crate) async fn sign_draft<T: SignedDocument + 'static>(
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
