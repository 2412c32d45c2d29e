//! Removals that wait for an operator.

use std::collections::BTreeSet;

use futures::{StreamExt, TryStreamExt, stream};
use tufline_pipeline::state::ledger;
use tufline_pipeline::state::records::HeldRemovals;
use tufline_store::{Folder, Head, Store};
use tufline_tuf::{Manifest, TargetName};

use super::listing::{list_all, published_among};
use crate::repository::Repository;

/// How many requests run at once.
const AT_ONCE: usize = 32;

/// How many held removals are looked at, at most.
const HELD_READ: usize = 1000;

/// The names from the records of held removals that are still published and whose uploads are still
/// gone.
pub async fn held_removals(
    repository: &Repository,
    store: &dyn Store,
    manifest: &Manifest,
) -> anyhow::Result<BTreeSet<String>> {
    let keys = list_all(store, Folder::Held).await?;
    if keys.is_empty() {
        return Ok(BTreeSet::new());
    }
    let mut names: BTreeSet<TargetName> = BTreeSet::new();
    for key in keys {
        let record: Option<HeldRemovals> = ledger::read(store, &key).await?;
        names.extend(record.into_iter().flat_map(|record| record.names));
    }
    let still: Vec<TargetName> =
        published_among(store, manifest, &names).await?.into_iter().take(HELD_READ).collect();
    let uploads = &repository.uploads()?;
    let looks = still.into_iter().map(|name| async move {
        let head = uploads.head(name.as_str()).await?;
        anyhow::Ok(matches!(head, Head::Gone { .. }).then(|| name.into()))
    });
    let gone: Vec<Option<String>> =
        stream::iter(looks).buffer_unordered(AT_ONCE).try_collect().await?;
    Ok(gone.into_iter().flatten().collect())
}
