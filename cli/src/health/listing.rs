//! Lists the ledger's folders, and finds which of some names are published.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::anyhow;
use tough::schema::{Signed, Targets};
use tufline_pipeline::state::index::read_index;
use tufline_pipeline::state::ledger;
use tufline_store::{Folder, Key, Store};
use tufline_tuf::index::Place;
use tufline_tuf::{Manifest, RoleName, TargetName, generation};

/// The most keys in one request.
const PAGE: usize = 1000;

/// All keys of a folder of the ledger.
pub async fn list_all(store: &dyn Store, folder: Folder) -> anyhow::Result<Vec<Key>> {
    let mut keys: Vec<Key> = Vec::new();
    loop {
        let page = store.list(folder, keys.last(), PAGE).await?;
        let is_last = page.len() < PAGE;
        keys.extend(page);
        if is_last {
            return Ok(keys);
        }
    }
}

/// Those of `names` that are targets in the published generation of `manifest`. It reads only the
/// roles that would list them.
pub async fn published_among(
    store: &dyn Store,
    manifest: &Manifest,
    names: &BTreeSet<TargetName>,
) -> anyhow::Result<BTreeSet<TargetName>> {
    let places: Vec<Place<'_>> = names.iter().map(Place::Name).collect();
    let index = read_index(store, manifest, &places).await?;
    let mut by_role: BTreeMap<RoleName, Vec<&TargetName>> = BTreeMap::new();
    for name in names {
        by_role
            .entry(index.leaf(name).map_err(|(role, _)| anyhow!("the index lacks {role}"))?)
            .or_default()
            .push(name);
    }
    let mut published = BTreeSet::new();
    for (role, names) in by_role {
        let Some(entry) = index.entry(&role) else { continue };
        let key = Key::Metadata { role, version: entry.document.version };
        let document: Option<Signed<Targets>> = ledger::read(store, &key).await?;
        let Some(document) = document else { continue };
        let is_listed = |name: &TargetName| generation::target_of(&document.signed, name).is_some();
        published.extend(names.into_iter().filter(|name| is_listed(name)).cloned());
    }
    Ok(published)
}
