//! Reading the index of roles and the documents that it names, from the ledger.

use std::collections::BTreeSet;

use tough::schema::Targets;
use tufline_store::{Key, Store};
use tufline_tuf::index::{Bins, Page, Place, WantedPage};
use tufline_tuf::{Draft, Index, Manifest, RoleName, Sha256};

use crate::compute::compute;
use crate::ports::{Result, StageError, at_once};

/// The index of a generation, with the pages on the way to `places`: as many requests one after another as the trie is
/// deep.
///
/// # Errors
/// [`StageError::Missing`] where a page is gone.
pub async fn index(store: &dyn Store, manifest: &Manifest, places: &[Place<'_>]) -> Result<Index> {
    let mut index = Index::new(manifest.top.clone());
    extend(store, &mut index, places).await?;
    Ok(index)
}

/// Reads the pages on the way to `places` that are still missing.
///
/// # Errors
/// As [`index`].
pub async fn extend(store: &dyn Store, index: &mut Index, places: &[Place<'_>]) -> Result<()> {
    complete(store, index, |index| index.wanted(places.iter().copied())).await
}

/// The index of a generation, with the pages below those bins that `interesting` picks.
///
/// # Errors
/// As [`index`].
pub async fn index_below(store: &dyn Store, manifest: &Manifest, interesting: impl Fn(&Bins) -> bool) -> Result<Index> {
    let mut index = Index::new(manifest.top.clone());
    complete(store, &mut index, |index| index.wanted_below(&interesting)).await?;
    Ok(index)
}

/// Reads pages until none is wanted.
async fn complete(store: &dyn Store, index: &mut Index, wanted: impl Fn(&Index) -> BTreeSet<WantedPage>) -> Result<()> {
    loop {
        let wanted = wanted(index);
        if wanted.is_empty() {
            return Ok(());
        }
        give(store, index, wanted).await?;
    }
}

async fn give(store: &dyn Store, index: &mut Index, wanted: BTreeSet<WantedPage>) -> Result<()> {
    let reads = wanted.into_iter().map(|(role, digest)| async move {
        let bytes = record(store, &Key::Page(digest)).await?;
        let page = Page::from_bytes(&role, &digest, &bytes)?;
        Ok::<_, StageError>((role, page))
    });
    for read in at_once(reads).await {
        let (role, page) = read?;
        index.give(role, page);
    }
    Ok(())
}

/// A role's unsigned document.
///
/// # Errors
/// [`StageError::Missing`] where it is gone, [`StageError::Record`] where it isn't what its name says.
pub async fn draft(store: &dyn Store, role: &RoleName, digest: &Sha256) -> Result<Draft<Targets>> {
    let key = Key::Draft(*digest);
    let bytes = record(store, &key).await?;
    let (role, digest) = (role.clone(), *digest);
    compute(move || {
        if Sha256::of(&bytes) != digest {
            return Err(StageError::Record(key.path(), "its bytes are not those that it is named by".into()));
        }
        Ok(Draft::from_bytes(role, &bytes)?)
    })
    .await
}

/// The bytes of a record of the ledger.
///
/// # Errors
/// [`StageError::Missing`] where it is gone.
pub(crate) async fn record(store: &dyn Store, key: &Key) -> Result<bytes::Bytes> {
    let missing = || StageError::Missing(key.path(), "restore it from the ledger's older object versions");
    store.bytes(key).await?.ok_or_else(missing)
}
