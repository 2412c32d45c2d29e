//! Sign: signs the newest generation that waits and that it finds right. The only stage that may use the targets, bins and snapshot keys.
//!
//! *Invariant*: a key signs only what this stage itself made of what is published, by changes that the uploads justify ([`crate::judge`]); what
//! rebuild drafted is compared with that, and not read. Only the first generation, before which nothing is published, is signed as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::channel::mpsc;
use futures::stream::StreamExt;
use futures::{SinkExt, future};
use tough::schema::key::Key as PublicKey;
use tough::schema::{Root, Signature, Targets};
use tufline_store::{Document, Key, Message, OnlineRole, Store, Written};
use tufline_tuf::generation::Versions;
use tufline_tuf::parties::PartyDocument;
use tufline_tuf::replay::Replayed;
use tufline_tuf::{Draft, Manifest, Parties, RoleKeys, RoleName, Signed, SignedDocument, generation, trie, verify};

use crate::compute::compute;
use crate::index::draft;
use crate::judge::{Judged, Objection, Shown, Trial, documents, parties_of, pass};
use crate::ledger::{self, Published};
use crate::online::signing_key;
use crate::parties::{self, parties};
use crate::pending::Pending;
use crate::ports::{HEADS_AT_ONCE, Ports, REQUESTS_AT_ONCE, Result, StageError, at_once, some_at_once};
use crate::refuse::{look_again, refuse};
use crate::roots;

/// Signs what waits: the newest generation, with all that changed since what devices see. The generations before it are passed over, with
/// their documents that have newer ones: nobody would see them. They are signed, newest first, where there is something against that one, or
/// it can't be signed.
///
/// Every created file is final, so any number of instances may run at once, and a crash between any two files is continued
/// by the next run.
///
/// # Errors
/// The first failure, after all that could be signed was signed.
pub async fn sign(ports: &Ports) -> Result<()> {
    let store = &*ports.store;
    let (published, root) = futures::try_join!(ledger::published(store), roots::newest(store))?;
    let pending = Pending::read(store, published.as_ref().map_or(0, |published| published.generation)).await?;
    let mut chain = pending.chain();
    if chain.is_empty() {
        return Ok(());
    }
    let mut signing = Signing { ports, root: &root, failure: None };
    let Some(published) = published else {
        let outcome = signing.first(&chain).await?;
        return signing.end(Some(outcome)).await;
    };
    let seen = Seen::read(ports, &root, &published).await?;
    let (shown, mut newest) = (seen.shown(), None);
    let is_shortened = ports.deadline.shorten(published.generation, &mut chain, ports.clock.now());
    // Fences need no signature, but publish tells what they answer.
    while let Some(candidate) = chain.iter().rposition(|manifest| !manifest.is_fence()) {
        chain.truncate(candidate + 1);
        let judged = match Box::pin(signing.generation(&shown, &chain)).await {
            Ok(judged) => judged,
            Err(error @ StageError::OutOfTime { .. }) => return Err(error),
            Err(error) => {
                tracing::error!(generation = candidate_number(&chain), %error, "generation not signed");
                signing.failure.get_or_insert(error);
                Ok(Outcome::NotYet)
            }
        };
        match judged {
            Ok(outcome) => {
                newest.get_or_insert(outcome);
                if outcome != Outcome::NotYet {
                    break;
                }
                chain.pop();
            }
            Err(Objection::Refused(refused)) => {
                refuse(ports, &refused).await?;
                newest.get_or_insert(Outcome::NotYet);
                chain.retain(|manifest| manifest.generation < refused.generation);
            }
            Err(Objection::PassedOver { names, otherwise }) => {
                look_again(ports, pending.next() - 1, &names, otherwise).await?;
                newest.get_or_insert(Outcome::NotYet);
                chain.pop();
            }
        }
    }
    if is_shortened {
        ports.deadline.forget();
        // The messages of those that wait may be gone.
        ports.queues.send(&Message::Sign, Duration::ZERO).await?;
    }
    signing.end(newest).await
}

fn candidate_number(chain: &[&Manifest]) -> u64 {
    chain.last().map_or(0, |candidate| candidate.generation)
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

/// What devices see.
struct Seen {
    manifest: Manifest,
    parties: Parties,
    versions: Versions,
}

impl Seen {
    async fn read(ports: &Ports, root: &Root, published: &Published) -> Result<Self> {
        let store = &*ports.store;
        let (manifest, versions) = futures::try_join!(
            ledger::manifest(store, published.generation),
            ledger::published_versions(store, root, Some(published))
        )?;
        let parties = parties(store, &manifest).await?;
        Ok(Self { manifest, parties, versions })
    }

    fn shown(&self) -> Shown<'_> {
        Shown { manifest: &self.manifest, parties: &self.parties, versions: &self.versions }
    }
}

/// One run of sign.
struct Signing<'a> {
    ports: &'a Ports,
    root: &'a Root,
    /// The first.
    failure: Option<StageError>,
}

impl Signing<'_> {
    /// Calls publish where there is something for it: the call before may have been lost. A call for nothing would be answered by one from
    /// publish, without end.
    async fn end(self, newest: Option<Outcome>) -> Result<()> {
        let stored = newest == Some(Outcome::Stored) && self.failure.is_none();
        if newest == Some(Outcome::New) || stored || newest.is_none() {
            self.ports.queues.send(&Message::Publish, Duration::ZERO).await?;
        }
        self.failure.map_or(Ok(()), Err)
    }

    /// Makes sure that the last generation of `chain` is signed: of each role that changed in it the newest document, and then the snapshot.
    async fn generation(&mut self, shown: &Shown<'_>, chain: &[&Manifest]) -> Judged<Outcome> {
        let (ports, root, store) = (self.ports, self.root, &*self.ports.store);
        let Some(candidate) = chain.last() else { return Ok(Ok(Outcome::NotYet)) };
        let parties = pass!(parties_of(ports, shown, chain).await?);
        let Some(own) = parties.last() else { return Ok(Ok(Outcome::NotYet)) };
        let mut versions = shown.versions.clone();
        for manifest in chain {
            generation::advance(&mut versions, manifest);
        }
        let deliveries: BTreeMap<&RoleName, (&Parties, &PartyDocument)> = (chain.iter().zip(&parties))
            .flat_map(|(manifest, parties)| {
                manifest.deliveries().map(move |(role, document)| (role, (parties, document)))
            })
            .filter(|(role, (_, document))| own.documents.get(role) == Some(document))
            .collect();
        let ours = chain.iter().flat_map(|manifest| manifest.changed.keys());
        let ours = ours.filter_map(|role| Some((role.clone(), *versions.get(role)?)));
        let theirs = deliveries.iter().map(|(role, (_, document))| ((*role).clone(), document.version));
        if is_signed(store, candidate.generation, ours.chain(theirs).collect()).await? {
            return Ok(Ok(Outcome::Stored));
        }
        let waiting: Vec<(&Manifest, &Parties)> = chain.iter().copied().zip(&parties).collect();
        let mut trial = pass!(Trial::open(ports, shown, &waiting).await?);
        pass!(trial.adopt(ports, &RoleKeys::in_root(root, &RoleName::targets())?, candidate.generation).await?);
        let (mut to_sign, replayed) = mpsc::channel(0);
        let mut published = documents(store, trial.wanted());
        let replaying = async move {
            let mut folded = Vec::new();
            let last = loop {
                let document = published.next().await.transpose()?;
                let is_last = document.is_none();
                match document.map(|document| trial.fold(&document)).transpose() {
                    Ok(replayed) => folded.extend(replayed.into_iter().flatten()),
                    Err(refused) => break Err(refused.into()),
                }
                // Together, so that many looks are under way, and few documents wait for them.
                if !is_last && trial.unjustified() < HEADS_AT_ONCE && folded.len() < REQUESTS_AT_ONCE {
                    continue;
                }
                if let Err(objection) = trial.justify(ports).await? {
                    break Err(objection);
                }
                for document in folded.drain(..) {
                    let _ = to_sign.send(document).await;
                }
                if is_last {
                    break Ok(());
                }
            };
            Ok::<_, StageError>(last.map(|()| trial))
        };
        let signs = replayed.map(|replayed: Replayed| {
            let by = chain.get(replayed.by).copied();
            async move {
                let manifest = by.ok_or(StageError::NotInitialised)?;
                sign_role(ports, root, manifest, replayed.draft.into_record()).await
            }
        });
        let signs = signs.buffer_unordered(ports.config.signatures_at_once.get()).collect::<Vec<Result<()>>>();
        let copies = deliveries.iter().map(|(role, (parties, document))| copy_delivery(ports, parties, role, document));
        let (trial, signs, copies) = future::join3(replaying, signs, at_once(copies)).await;
        let trial = pass!(trial?);
        pass!(trial.finish(ports, candidate.generation).await?);
        let mut failed = false;
        for outcome in signs.into_iter().chain(copies) {
            if let Err(error) = outcome {
                tracing::error!(generation = candidate.generation, %error, "role not signed");
                self.failure.get_or_insert(error);
                failed = true;
            }
        }
        if failed {
            return Ok(Ok(Outcome::NotYet));
        }
        self.snapshot(candidate, &versions, own).await?;
        for (upload, name) in chain.iter().flat_map(|manifest| manifest.uploads()) {
            tracing::info!(upload, %name, generation = candidate.generation, "upload signed");
        }
        Ok(Ok(Outcome::New))
    }

    /// The first generation, or that of an import: nothing is there that it could follow from, and no device to be deceived.
    async fn first(&mut self, chain: &[&Manifest]) -> Result<Outcome> {
        let (ports, root, store) = (self.ports, self.root, &*self.ports.store);
        let Some(manifest) = chain.last() else { return Ok(Outcome::NotYet) };
        let mut versions = Versions::new();
        generation::advance(&mut versions, manifest);
        let signs = manifest.changed.iter().map(|(role, entry)| async move {
            sign_role(ports, root, manifest, draft(store, role, entry).await?).await
        });
        for outcome in some_at_once(ports.config.signatures_at_once.get(), signs).await {
            if let Err(error) = outcome {
                self.failure.get_or_insert(error);
            }
        }
        if self.failure.is_some() {
            return Ok(Outcome::NotYet);
        }
        self.snapshot(manifest, &versions, &Parties::default()).await?;
        Ok(Outcome::New)
    }

    /// Signs the snapshot of a generation all of whose documents are there.
    async fn snapshot(&self, manifest: &Manifest, versions: &Versions, parties: &Parties) -> Result<()> {
        let draft = generation::snapshot(manifest, versions, parties);
        let keys = RoleKeys::in_root(self.root, &RoleName::snapshot())?;
        let key = signing_key(self.ports, &keys, OnlineRole::Snapshot).await?;
        let signed = sign_draft(self.ports, draft, &keys, OnlineRole::Snapshot, &key).await?;
        create(self.ports, &keys, &signed).await?;
        tracing::info!(generation = manifest.generation, "generation signed");
        Ok(())
    }
}

/// Whether a generation's snapshot is there, and these documents that it lists. Also these: if anything else put the snapshot there, or took a
/// role away, publish would ask for the role, and be called again for nothing, without end.
async fn is_signed(store: &dyn Store, generation: u64, documents: BTreeSet<(RoleName, u64)>) -> Result<bool> {
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

/// Makes sure that this document of a role, which `manifest` made, is signed.
async fn sign_role(ports: &Ports, root: &Root, manifest: &Manifest, draft: Draft<Targets>) -> Result<()> {
    let (store, role) = (&*ports.store, draft.role().clone());
    if store.exists(&Key::Metadata { role: role.clone(), version: draft.document().version.get() }).await? {
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
            (RoleKeys::in_delegations(&delegations, &role)?, OnlineRole::Bins, manifest.bins_key.clone())
        }
    };
    let signed = sign_draft(ports, draft, &keys, online, &key).await?;
    create(ports, &keys, &signed).await
}

/// Puts a document that another party signed where devices find it. The generation that took it in says whose signature counts: the party
/// may have been removed since.
async fn copy_delivery(ports: &Ports, parties: &Parties, role: &RoleName, document: &PartyDocument) -> Result<()> {
    let store = &*ports.store;
    if store.exists(&Key::Metadata { role: role.clone(), version: document.version }).await? {
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
