//! Finds the blobs that targets list, for operations that handle each of them.

use std::collections::BTreeMap;

use tough::schema::Targets;
use tufline_store::Store;
use tufline_tuf::Sha256;
use tufline_tuf::delegations::PartyState;
use tufline_tuf::generation::digest_of;

use crate::error::Result;
use crate::state::index::readable_documents;
use crate::state::parties::{included_bytes, parse_targets, read_parties};
use crate::state::pending::Tip;

/// The blobs of all targets in the newest generation, the repository's own and other parties', with
/// their lengths in bytes. If a role cannot be read, its blobs are left out.
///
/// # Errors
/// The ledger cannot be read.
pub async fn listed_blobs(store: &dyn Store) -> Result<BTreeMap<Sha256, u64>> {
    let tip = Tip::read(store).await?;
    let (documents, unread) = readable_documents(store, tip.newest()).await;
    for (role, error) in unread {
        tracing::error!(%role, %error, "this role's targets are not looked at");
    }
    let mut blobs = BTreeMap::new();
    let mut add = |document: &Targets| {
        let targets = document.targets.values();
        blobs.extend(targets.filter_map(|target| Some((digest_of(target)?, target.length))));
    };
    for document in &documents {
        add(document.document());
    }
    let parties = read_parties(store, tip.newest()).await?;
    for (party, _) in parties.parties.iter().filter(|(_, party)| party.state == PartyState::Listed)
    {
        for role in parties.roles_of(party) {
            let bytes = included_bytes(store, &parties, role).await?;
            if let Some(document) = bytes.and_then(|bytes| parse_targets(&bytes)) {
                add(&document);
            }
        }
    }
    Ok(blobs)
}
