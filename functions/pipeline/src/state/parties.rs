//! Reads the delegations to other parties, and the documents that these parties signed, from the
//! ledger.

use std::collections::BTreeMap;

use tough::schema::{self, Targets};
use tufline_store::{Key, Store, Upload};
use tufline_tuf::delegations::delegator;
use tufline_tuf::delivery::Files;
use tufline_tuf::{Manifest, Parties, RoleKeys, RoleName, Signed, verify_published};

use crate::compute::compute;
use crate::error::{Result, StageError};
use crate::state::index::read_record;

/// Reads the parties that a generation delegates to.
///
/// # Errors
/// [`StageError::Missing`] if the ledger lost their record.
pub async fn read_parties(store: &dyn Store, manifest: &Manifest) -> Result<Parties> {
    let Some(digest) = manifest.parties else { return Ok(Parties::default()) };
    Ok(Parties::from_bytes(&digest, &read_record(store, &Key::Parties(digest)).await?)?)
}

/// The files of a party, and the uploads that delivered them.
#[derive(Default)]
pub(crate) struct PartyFiles {
    pub files: Files,
    pub uploads: BTreeMap<RoleName, Upload>,
}

/// The documents of the party `role` that were taken in so far.
pub(crate) async fn included(
    store: &dyn Store,
    parties: &Parties,
    role: &RoleName,
) -> Result<PartyFiles> {
    let mut found = PartyFiles::default();
    for role in parties.roles_of(role) {
        if let Some(bytes) = included_bytes(store, parties, role).await? {
            found.files.included.insert(role.clone(), bytes);
        }
    }
    Ok(found)
}

pub(crate) async fn included_bytes(
    store: &dyn Store,
    parties: &Parties,
    role: &RoleName,
) -> Result<Option<bytes::Bytes>> {
    let Some(document) = parties.documents.get(role) else { return Ok(None) };
    Ok(store.bytes(&Key::Delivered(document.sha256)).await?)
}

/// The name of a role's file among the deliveries.
pub(crate) fn file_name(role: &RoleName) -> String {
    format!("{role}.json")
}

pub(crate) fn parse_targets(bytes: &[u8]) -> Option<Targets> {
    serde_json::from_slice::<schema::Signed<Targets>>(bytes).ok().map(|document| document.signed)
}

/// Reads a document that was taken in, and verifies it once more under the delegation to it.
///
/// # Errors
/// [`StageError::Missing`], [`StageError::Document`].
pub(crate) async fn read_document(
    store: &dyn Store,
    parties: &Parties,
    role: &RoleName,
) -> Result<Signed<Targets>> {
    let no_keys = || tufline_tuf::VerifyError::NoKeys { role: role.clone() };
    let above = delegator(role);
    let delegations = if above == RoleName::targets() {
        parties.parties.get(role).ok_or_else(no_keys)?.delegation(role)?
    } else {
        let bytes = required(store, parties, &above).await?;
        parse_targets(&bytes).and_then(|document| document.delegations).ok_or_else(no_keys)?
    };
    let bytes = required(store, parties, role).await?;
    let version = parties.documents.get(role).ok_or_else(|| missing(role))?.version;
    let keys = RoleKeys::in_delegations(&delegations, role)?;
    Ok(compute(move || verify_published::<Targets>(bytes, &keys)).await?.expect_version(version)?)
}

async fn required(store: &dyn Store, parties: &Parties, role: &RoleName) -> Result<bytes::Bytes> {
    included_bytes(store, parties, role).await?.ok_or_else(|| missing(role))
}

fn missing(role: &RoleName) -> StageError {
    let place = format!("the delivered document of {role}");
    StageError::Missing(place, "restore it from the ledger's older object versions")
}
