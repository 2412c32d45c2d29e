//! Sign: signs the newest waiting generation that it finds right. It is the only stage that may use
//! the targets, bins and snapshot keys.
//!
//! *Invariant*: a key signs only what this stage itself derived from what is published, by changes
//! that the uploads justify (`actions/judge.rs`). Rebuild's drafts are compared with that, never
//! signed as they are. The one exception is the first generation, before anything is published.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::channel::mpsc;
use futures::stream::StreamExt;
use futures::{SinkExt, future};
use tough::schema::Root;
use tufline_store::{ErrorKind, Message, OnlineRole};
use tufline_tuf::delegations::PartyDocument;
use tufline_tuf::generation::Versions;
use tufline_tuf::replay::Replayed;
use tufline_tuf::{Manifest, Parties, RoleKeys, RoleName, generation};

use crate::actions::judge::{Judgement, Objection, ShownState, Trial, documents, parties_of, pass};
use crate::actions::refuse::{look_again, refuse};
use crate::actions::sign::{copy_delivery, create_signed, is_signed, sign_document, sign_role};
use crate::concurrency::{HEADS_AT_ONCE, REQUESTS_AT_ONCE, at_once, some_at_once};
use crate::error::{Result, StageError};
use crate::ports::Ports;
use crate::state::index::read_draft;
use crate::state::online_keys::signing_key;
use crate::state::pending::Pending;
use crate::state::{ledger, roots};

/// Signs the newest waiting generation: every role that changed since the published one, in its
/// newest version, and the snapshot. Older generations are passed over, since no device would see
/// them. If there is an objection to the newest one, or it cannot be signed, the next older one is
/// tried.
///
/// Every file that sign creates is final. So any number of instances may run at once, and after a
/// crash between two files the next run goes on.
///
/// # Errors
/// The first failure, after everything that could be signed was signed.
pub async fn sign(ports: &Ports) -> Result<()> {
    let store = &*ports.store;
    let (published, root) = futures::try_join!(ledger::published(store), roots::newest(store))?;
    let pending =
        Pending::read(store, published.as_ref().map_or(0, |published| published.generation))
            .await?;
    let mut chain = pending.chain();
    if chain.is_empty() {
        return Ok(());
    }
    let mut signing = Signing { ports, root: &root, failure: None };
    let Some(published) = published else {
        let outcome = signing.first(&chain).await?;
        return signing.end(Some(outcome)).await;
    };
    let shown = ShownState::read(store, &root, &published).await?;
    let mut newest = None;
    let is_shortened = ports.deadline.shorten(published.generation, &mut chain, ports.clock.now());
    // Fences need no signature; publish announces what they answer.
    while let Some(candidate) = chain.iter().rposition(|manifest| !manifest.is_fence()) {
        chain.truncate(candidate + 1);
        let judged = match Box::pin(signing.generation(&shown, &chain)).await {
            Ok(judged) => judged,
            Err(error @ StageError::OutOfTime { .. }) => return Err(error),
            Err(error) => {
                tracing::error!(generation = candidate_number(&chain), kind = %error.kind(), %error, "generation not signed");
                signing.failure.get_or_insert(error);
                Ok(SignatureState::NotYet)
            }
        };
        match judged {
            Ok(outcome) => {
                newest.get_or_insert(outcome);
                if outcome != SignatureState::NotYet {
                    break;
                }
                chain.pop();
            }
            Err(Objection::Refused(refused)) => {
                refuse(ports, &refused).await?;
                newest.get_or_insert(SignatureState::NotYet);
                chain.retain(|manifest| manifest.generation < refused.generation);
            }
            Err(Objection::PassedOver { names, otherwise }) => {
                look_again(ports, pending.next() - 1, &names, otherwise).await?;
                newest.get_or_insert(SignatureState::NotYet);
                chain.pop();
            }
        }
    }
    if is_shortened {
        ports.deadline.forget();
        // The messages of the newer generations may be used up already.
        ports.queues.send(&Message::Sign, Duration::ZERO).await?;
    }
    signing.end(newest).await
}

fn candidate_number(chain: &[&Manifest]) -> u64 {
    chain.last().map_or(0, |candidate| candidate.generation)
}

/// The outcome for one generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SignatureState {
    /// This run signed it.
    New,
    /// It was signed before.
    Stored,
    /// Something that its snapshot lists could not be signed. An older generation may not need
    /// that, so sign tries it. This holds even if a look at an upload was denied: its uploader
    /// caused that, and it must not hold up other uploads.
    NotYet,
    /// Signing or storing the snapshot was denied. The same would happen to older generations, so
    /// sign tries none.
    Denied,
}

/// One run of sign.
struct Signing<'a> {
    ports: &'a Ports,
    root: &'a Root,
    /// The first failure.
    failure: Option<StageError>,
}

impl Signing<'_> {
    /// Calls publish if there is something to show: an earlier call may have been lost. It must not
    /// call publish in vain, since publish would call sign again, without end.
    async fn end(self, newest: Option<SignatureState>) -> Result<()> {
        let stored = newest == Some(SignatureState::Stored) && self.failure.is_none();
        if newest == Some(SignatureState::New) || stored || newest.is_none() {
            self.ports.queues.send(&Message::Publish, Duration::ZERO).await?;
        }
        self.failure.map_or(Ok(()), Err)
    }

    /// Makes sure that the last generation of `chain` is signed: the newest document of each role
    /// that changed in the chain, and then the snapshot.
    async fn generation(
        &mut self,
        shown: &ShownState,
        chain: &[&Manifest],
    ) -> Judgement<SignatureState> {
        let (ports, root) = (self.ports, self.root);
        let Some(manifest) = chain.last() else { return Ok(Ok(SignatureState::NotYet)) };
        let parties = pass!(parties_of(ports, shown, chain).await?);
        let candidate = Candidate::new(shown, chain, &parties);
        if is_signed(&*ports.store, manifest.generation, candidate.documents()).await? {
            return Ok(Ok(SignatureState::Stored));
        }

        // The judgement. The replayed documents are signed as soon as the uploads justify them,
        // while the replay goes on.
        let waiting: Vec<(&Manifest, &Parties)> = chain.iter().copied().zip(&parties).collect();
        let mut trial = pass!(Trial::open(ports, shown, &waiting).await?);
        pass!(
            trial
                .adopt(ports, &RoleKeys::in_root(root, &RoleName::targets())?, manifest.generation)
                .await?
        );
        let (to_sign, replayed) = mpsc::channel(0);
        let signs = replayed.map(|Replayed { draft, by }| {
            let by = chain.get(by).copied();
            async move {
                sign_role(ports, root, by.ok_or(StageError::NotInitialised)?, draft.into_record())
                    .await
            }
        });
        let signs = signs
            .buffer_unordered(ports.config.signatures_at_once.get())
            .collect::<Vec<Result<()>>>();
        let copies = candidate.deliveries.iter();
        let copies =
            copies.map(|(role, (parties, document))| copy_delivery(ports, parties, role, document));
        let (trial, signs, copies) =
            future::join3(replay(ports, trial, to_sign), signs, at_once(copies)).await;
        pass!(pass!(trial?).finish(ports, manifest.generation).await?);

        // The snapshot comes last, once all documents that it lists are there. A crash before this
        // leaves files that the next run finds.
        let failures: Vec<StageError> =
            signs.into_iter().chain(copies).filter_map(Result::err).collect();
        if !failures.is_empty() {
            for error in failures {
                tracing::error!(generation = manifest.generation, kind = %error.kind(), %error, "role not signed");
                self.failure.get_or_insert(error);
            }
            return Ok(Ok(SignatureState::NotYet));
        }
        match self.snapshot(manifest, &candidate.versions, candidate.parties).await {
            Err(error) if error.kind() == ErrorKind::Denied => {
                tracing::error!(generation = manifest.generation, kind = %error.kind(), %error, "snapshot not signed");
                self.failure.get_or_insert(error);
                return Ok(Ok(SignatureState::Denied));
            }
            signed => signed?,
        }
        for (upload, name) in chain.iter().flat_map(|manifest| manifest.uploads()) {
            tracing::info!(upload, %name, generation = manifest.generation, "upload signed");
        }
        Ok(Ok(SignatureState::New))
    }

    /// Signs the first generation, or the first one of an import, as rebuild drafted it. Nothing is
    /// published from which it could follow, and no device can be deceived yet.
    async fn first(&mut self, chain: &[&Manifest]) -> Result<SignatureState> {
        let (ports, root, store) = (self.ports, self.root, &*self.ports.store);
        let Some(manifest) = chain.last() else { return Ok(SignatureState::NotYet) };
        let mut versions = Versions::new();
        generation::advance(&mut versions, manifest);
        let signs = manifest.changed.iter().map(|(role, entry)| async move {
            sign_role(ports, root, manifest, read_draft(store, role, entry).await?).await
        });
        for outcome in some_at_once(ports.config.signatures_at_once.get(), signs).await {
            if let Err(error) = outcome {
                self.failure.get_or_insert(error);
            }
        }
        if self.failure.is_some() {
            return Ok(SignatureState::NotYet);
        }
        self.snapshot(manifest, &versions, &Parties::default()).await?;
        Ok(SignatureState::New)
    }

    /// Signs the snapshot of a generation. All its documents are stored already.
    async fn snapshot(
        &self,
        manifest: &Manifest,
        versions: &Versions,
        parties: &Parties,
    ) -> Result<()> {
        let draft = generation::snapshot(manifest, versions, parties)?;
        let keys = RoleKeys::in_root(self.root, &RoleName::snapshot())?;
        let key = signing_key(self.ports, &keys, OnlineRole::Snapshot).await?;
        let signed = sign_document(self.ports, draft, &keys, OnlineRole::Snapshot, &key).await?;
        create_signed(self.ports, &keys, &signed).await?;
        tracing::info!(generation = manifest.generation, "generation signed");
        Ok(())
    }
}

/// What the newest generation of a chain has that devices do not see yet.
struct Candidate<'a> {
    chain: &'a [&'a Manifest],
    /// All versions that its snapshot lists, except those of other parties' documents.
    versions: Versions,
    parties: &'a Parties,
    /// Other parties' documents that were delivered since and that it still has, each with the
    /// parties of the generation that took it in.
    deliveries: BTreeMap<&'a RoleName, (&'a Parties, &'a PartyDocument)>,
}

impl<'a> Candidate<'a> {
    /// `parties` are the parties of each generation in `chain`.
    fn new(shown: &'a ShownState, chain: &'a [&'a Manifest], parties: &'a [Parties]) -> Self {
        let own = parties.last().unwrap_or(&shown.parties);
        let mut versions = shown.versions.clone();
        for manifest in chain {
            generation::advance(&mut versions, manifest);
        }
        let delivered = chain.iter().zip(parties).flat_map(|(manifest, parties)| {
            manifest.deliveries().map(move |(role, document)| (role, (parties, document)))
        });
        let deliveries = delivered
            .filter(|(role, (_, document))| own.documents.get(role) == Some(document))
            .collect();
        Self { chain, versions, parties: own, deliveries }
    }

    /// The new documents and their versions.
    fn documents(&self) -> BTreeSet<(RoleName, u64)> {
        let ours = self.chain.iter().flat_map(|manifest| manifest.changed.keys());
        let ours = ours.filter_map(|role| Some((role.clone(), *self.versions.get(role)?)));
        let theirs =
            self.deliveries.iter().map(|(role, (_, document))| ((*role).clone(), document.version));
        ours.chain(theirs).collect()
    }
}

/// Replays the waiting changes, document by document, and sends on the documents that the uploads
/// justify.
async fn replay<'a>(
    ports: &Ports,
    mut trial: Trial<'a>,
    mut to_sign: mpsc::Sender<Replayed>,
) -> Judgement<Trial<'a>> {
    let mut published = documents(&*ports.store, trial.wanted());
    let mut folded = Vec::new();
    loop {
        let document = published.next().await.transpose()?;
        let is_last = document.is_none();
        if let Some(document) = document {
            folded.extend(pass!(trial.fold(&document)));
        }
        // Several documents are judged together, so that many looks are in flight. There are not
        // too many, since they wait in memory.
        if !is_last && trial.unjustified() < HEADS_AT_ONCE && folded.len() < REQUESTS_AT_ONCE {
            continue;
        }
        pass!(trial.justify(ports).await?);
        for document in folded.drain(..) {
            // This fails only if nobody signs any more.
            let _ = to_sign.send(document).await;
        }
        if is_last {
            return Ok(Ok(trial));
        }
    }
}
