//! Reads the index of roles, and the documents that it names, from the ledger.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tough::schema::{self, Targets};
use tufline_store::{Key, Store};
use tufline_tuf::index::{Bins, Page, Place, WantedPage};
use tufline_tuf::{Addressed, AddressedDraft, Draft, Index, Manifest, RoleEntry, RoleName, Sha256};

use crate::compute::compute;
use crate::concurrency::at_once;
use crate::error::{Result, StageError};

/// Why pages or documents could not be read, by role.
pub type Unread = BTreeMap<RoleName, Arc<StageError>>;

/// Reads the index of a generation, with the pages on the way to `places`. The requests go out
/// level by level, as many rounds as the trie is deep.
///
/// # Errors
/// [`StageError::Missing`] if a page is gone.
pub async fn read_index(
    store: &dyn Store,
    manifest: &Manifest,
    places: &[Place<'_>],
) -> Result<Index> {
    let mut index = Index::new(manifest.top.clone());
    expect_read(extend_index(store, &mut index, places).await)?;
    Ok(index)
}

/// Reads the pages on the way to `places` that are still missing. An unreadable page does not stop
/// the others.
pub async fn extend_index(store: &dyn Store, index: &mut Index, places: &[Place<'_>]) -> Unread {
    complete(store, index, |index| index.wanted(places.iter().copied())).await
}

/// Reads the index of a generation, with the pages below the bins that `interesting` picks.
///
/// # Errors
/// As [`read_index`].
pub async fn read_index_below(
    store: &dyn Store,
    manifest: &Manifest,
    interesting: impl Fn(&Bins) -> bool,
) -> Result<Index> {
    let (index, unread) = readable_below(store, manifest, interesting).await;
    expect_read(unread)?;
    Ok(index)
}

/// The same, as far as the pages can be read.
pub async fn readable_below(
    store: &dyn Store,
    manifest: &Manifest,
    interesting: impl Fn(&Bins) -> bool,
) -> (Index, Unread) {
    let mut index = Index::new(manifest.top.clone());
    let unread = complete(store, &mut index, |index| index.wanted_below(&interesting)).await;
    (index, unread)
}

/// Turns unreadable pages into an error.
///
/// # Errors
/// The first of the failures in `unread`.
pub fn expect_read(unread: Unread) -> Result<()> {
    unread.into_values().next().map_or(Ok(()), |error| Err(error.into()))
}

/// Reads pages until only unreadable ones are wanted.
async fn complete(
    store: &dyn Store,
    index: &mut Index,
    wanted: impl Fn(&Index) -> BTreeSet<WantedPage>,
) -> Unread {
    let mut unread = Unread::new();
    loop {
        let mut wanted = wanted(index);
        wanted.retain(|(role, _)| !unread.contains_key(role));
        if wanted.is_empty() {
            return unread;
        }
        let reads = wanted.into_iter().map(|(role, digest)| async move {
            let page = page(store, &role, digest).await;
            (role, page)
        });
        for (role, page) in at_once(reads).await {
            match page {
                Ok(page) => index.give(role, page),
                Err(error) => _ = unread.insert(role, Arc::new(error)),
            }
        }
    }
}

async fn page(store: &dyn Store, role: &RoleName, digest: Sha256) -> Result<Page> {
    Ok(Page::from_bytes(role, &digest, &read_record(store, &Key::Page(digest)).await?)?)
}

/// Reads a role's unsigned document. If the ledger lacks it, takes it from the signed file.
///
/// *Invariant*: the result has the digest in `entry`, wherever it was found.
///
/// # Errors
/// [`StageError::Missing`] if both are gone, [`StageError::Record`] if neither has that digest.
pub async fn read_draft(
    store: &dyn Store,
    role: &RoleName,
    entry: &RoleEntry,
) -> Result<Draft<Targets>> {
    let key = Key::Draft(entry.draft);
    let drafted = match read_record(store, &key).await {
        Ok(bytes) => parse_draft(role, entry.draft, bytes).await,
        Err(error) => Err(error),
    };
    match drafted {
        Ok(draft) => Ok(draft),
        Err(error) if error.is_request() => Err(error),
        Err(error) => {
            let signed = Key::Metadata { role: role.clone(), version: entry.version };
            let Some(bytes) = store.bytes(&signed).await? else { return Err(error) };
            let (role, digest) = (role.clone(), entry.draft);
            compute(move || {
                let parsed = serde_json::from_slice::<schema::Signed<Targets>>(&bytes).ok();
                let draft = parsed.and_then(|parsed| {
                    AddressedDraft::try_from(Draft::new(role, parsed.signed)).ok()
                });
                draft
                    .filter(|draft| draft.digest() == digest)
                    .map(Addressed::into_record)
                    .ok_or(error)
            })
            .await
        }
    }
}

/// Reads the documents of all the repository's own roles in a generation. The second value says
/// which roles could not be read, and why.
pub(crate) async fn readable_documents(
    store: &dyn Store,
    manifest: &Manifest,
) -> (Vec<Draft<Targets>>, Unread) {
    let (index, mut unread) = readable_below(store, manifest, |_| true).await;
    let reads = index.entries().map(|(role, entry)| async move {
        let document = read_draft(store, &role, &entry.document).await;
        (role, document)
    });
    let mut documents = Vec::new();
    for (role, document) in at_once(reads).await {
        match document {
            Ok(document) => documents.push(document),
            Err(error) => _ = unread.insert(role, error.into()),
        }
    }
    (documents, unread)
}

async fn parse_draft(
    role: &RoleName,
    digest: Sha256,
    bytes: bytes::Bytes,
) -> Result<Draft<Targets>> {
    let role = role.clone();
    compute(move || {
        if Sha256::of(&bytes) != digest {
            let path = Key::Draft(digest).path();
            return Err(StageError::Record(
                path,
                "its bytes do not match the digest in its name".into(),
            ));
        }
        Ok(Draft::from_bytes(role, &bytes)?)
    })
    .await
}

/// Reads the bytes of a record in the ledger.
///
/// # Errors
/// [`StageError::Missing`] if it is gone.
pub(crate) async fn read_record(store: &dyn Store, key: &Key) -> Result<bytes::Bytes> {
    let missing = || {
        StageError::Missing(
            key.path(),
            "restore it from a backup, or from the ledger's older object versions",
        )
    };
    store.bytes(key).await?.ok_or_else(missing)
}
