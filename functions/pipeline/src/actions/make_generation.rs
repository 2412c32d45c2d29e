//! Makes the next generation: folds edits and other additions into the documents of its base.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::SinkExt;
use futures::channel::mpsc;
use futures::stream::{self, StreamExt, TryStreamExt};
use tough::schema::Targets;
use tufline_store::{Document, Store};
use tufline_tuf::generation::{Folding, GenerationError, Next, Policy, TargetEdit};
use tufline_tuf::index::Place;
use tufline_tuf::{AddressedDraft, BinsKeys, Draft, Index, Manifest, RoleName, Sha256};

use crate::actions::intake::Intake;
use crate::concurrency::{REQUESTS_AT_ONCE, at_once};
use crate::error::{Result, StageError};
use crate::state::index::{Unread, expect_read, extend_index, read_draft};
use crate::state::ledger;

/// What rebuild must know about the base to change it. It is read while the names are looked at.
pub(crate) struct KnownBase {
    /// The index, with the pages on the way to the batch's places.
    pub index: Index,
    /// The pages that could not be read.
    pub unread: Unread,
    /// The first documents at those places.
    pub documents: BTreeMap<Sha256, Draft<Targets>>,
}

impl KnownBase {
    /// Reads the index and documents, and fails if any page is unreadable.
    ///
    /// # Errors
    /// The failure of the first page that cannot be read.
    pub async fn read(store: &dyn Store, base: &Manifest, places: &[Place<'_>]) -> Result<Self> {
        let mut known = Self::read_what_can_be(store, base, places).await;
        expect_read(std::mem::take(&mut known.unread))?;
        Ok(known)
    }

    pub async fn read_what_can_be(
        store: &dyn Store,
        base: &Manifest,
        places: &[Place<'_>],
    ) -> Self {
        let mut index = Index::new(base.top.clone());
        let unread = extend_index(store, &mut index, places).await;
        let roles = places.iter().filter_map(|place| match place {
            Place::Name(name) => index.leaf(name).ok(),
            Place::Role(role) => Some((*role).clone()),
        });
        let roles: BTreeSet<RoleName> = roles.collect();
        let reads = roles
            .iter()
            .take(REQUESTS_AT_ONCE)
            .filter_map(|role| Some((role, &index.entry(role)?.document)));
        let reads = reads.map(|(role, entry)| async move {
            Some((entry.draft, read_draft(store, role, entry).await.ok()?))
        });
        // A document that cannot be read is asked for again if it is needed.
        let documents = at_once(reads).await.into_iter().flatten().collect();
        Self { index, unread, documents }
    }
}

/// Why a batch was not folded in.
pub(crate) enum Unfolded {
    /// Some documents or pages cannot be read. Without the changes that need them, the batch may
    /// succeed.
    Unread {
        /// Why the first of them cannot be read.
        first: Arc<StageError>,
        /// All that cannot be read, by role.
        all: Unread,
    },
    /// Any other failure.
    Failed(StageError),
}

impl From<StageError> for Unfolded {
    fn from(error: StageError) -> Self {
        Self::Failed(error)
    }
}

impl From<GenerationError> for Unfolded {
    fn from(error: GenerationError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<Unfolded> for StageError {
    fn from(unfolded: Unfolded) -> Self {
        match unfolded {
            Unfolded::Unread { first, .. } => first.into(),
            Unfolded::Failed(error) => error,
        }
    }
}

/// What a generation has besides edits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Additions<'a> {
    /// Roles that get a new version of their document.
    pub renew: &'a BTreeSet<RoleName>,
    /// The keys of the bins.
    pub bins: &'a BinsKeys,
    /// The changes about other parties.
    pub judged: &'a Intake,
    /// The `targets` document that people signed, if this generation takes one in.
    pub adopted: Option<&'a AddressedDraft>,
    /// The number of the generation, and the version above which its documents are numbered. `None`
    /// gives the next numbers after its base. With numbers given, the generation is made even if it
    /// changes nothing.
    pub numbers: Option<(u64, u64)>,
}

impl<'a> Additions<'a> {
    /// Additions without a document that people signed, and with the next numbers.
    pub fn new(renew: &'a BTreeSet<RoleName>, bins: &'a BinsKeys, judged: &'a Intake) -> Self {
        Self { renew, bins, judged, adopted: None, numbers: None }
    }

    pub fn numbered(self, generation: u64, first: u64) -> Self {
        Self { numbers: Some((generation, first)), ..self }
    }
}

/// Folds the edits into the documents at their names, and stores the result. Each document is read,
/// changed and stored by itself, so memory holds no more documents than requests are in flight. The
/// index in `known` must have the pages on the way to all names.
///
/// Returns the manifest, which the caller must store; `None` if there is nothing to change.
pub(crate) async fn make_generation(
    store: &dyn Store,
    base: &Manifest,
    known: &KnownBase,
    edits: &[TargetEdit],
    batch: Additions<'_>,
    policy: Policy,
) -> std::result::Result<Option<Manifest>, Unfolded> {
    let Additions { renew, bins, judged, adopted, numbers } = batch;
    let changes =
        *bins != base.bins_keys() || judged.changes(base) || adopted.is_some() || numbers.is_some();
    if edits.is_empty() && renew.is_empty() && !changes {
        return Ok(None);
    }
    let mut folding = Folding::new(
        base,
        known.index.clone(),
        edits,
        renew,
        bins.clone(),
        &judged.others,
        policy,
    )?;
    if let Some((generation, first)) = numbers {
        folding = folding.numbered(generation, first);
    }
    if let Some(targets) = adopted {
        folding.adopt(targets)?;
    }
    let reads = folding.wanted()?.into_iter().map(|(role, entry)| async move {
        let document = match known.documents.get(&entry.draft) {
            Some(document) => Ok(document.clone()),
            None => read_draft(store, &role, &entry).await,
        };
        (role, document)
    });
    let mut reads = stream::iter(reads.collect::<Vec<_>>()).buffered(REQUESTS_AT_ONCE);
    let (mut documents, to_write) = mpsc::channel::<Document>(0);
    // Sending fails only after a write has failed, and then nobody waits for the rest.
    let folded = async move {
        let taken = judged.taken.iter().map(Document::delivered);
        for document in taken.chain(judged.record.iter().map(Document::parties)) {
            let _ = documents.send(document).await;
        }
        // It goes on after the first unreadable document, to find all of them in one turn.
        let mut unread = Unread::new();
        while let Some((role, document)) = reads.next().await {
            match document.and_then(|document| Ok(folding.fold(&document)?)) {
                Ok(drafts) if unread.is_empty() => {
                    for draft in drafts {
                        let _ = documents.send(Document::draft(&draft)).await;
                    }
                }
                Ok(_) => {}
                Err(error) => _ = unread.insert(role, Arc::new(error)),
            }
        }
        if let Some(first) = unread.values().next() {
            return Err(Unfolded::Unread { first: Arc::clone(first), all: unread });
        }
        let Next { manifest, pages } = folding.finish()?;
        for page in &pages {
            let _ = documents.send(Document::page(page)).await;
        }
        Ok(manifest)
    };
    let writes = to_write.map(|document| async move {
        ledger::create_or_find(store, &document).await.map_err(Unfolded::Failed)
    });
    let written = writes.buffer_unordered(REQUESTS_AT_ONCE).try_collect::<()>();
    let (manifest, ()) = futures::try_join!(folded, written)?;
    Ok(Some(manifest))
}
