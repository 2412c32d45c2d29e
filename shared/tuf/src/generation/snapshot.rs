//! The snapshot of a generation.

use std::collections::{BTreeMap, HashMap};
use tough::schema::{Metafile, Snapshot};

use super::manifest::Manifest;
use crate::delegations::Parties;
use crate::layout::trie;
use crate::primitives::{RoleName, SPEC_VERSION};
use crate::signing::{Draft, VerifyError, from_one};
/// The versions of all documents of the targets family: `targets` and the bins.
pub type Versions = BTreeMap<RoleName, u64>;

/// The versions that `snapshot` lists for the targets family. Other parties' roles are left out
/// ([`Parties::in_snapshot`]).
///
/// # Errors
/// [`VerifyError::Unreadable`] if it lists something that is not a role.
pub fn versions(snapshot: &Snapshot) -> Result<Versions, VerifyError> {
    let version = |(file, meta): (&String, &Metafile)| {
        let role = file.strip_suffix(".json").and_then(|role| role.parse().ok());
        let why = || format!("it lists {file:?}, which is not a role");
        let role: RoleName =
            role.ok_or_else(|| VerifyError::Unreadable { role: RoleName::snapshot(), why: why() })?;
        Ok(trie::prefix(&role).is_some().then_some((role, meta.version.get())))
    };
    snapshot.meta.iter().filter_map(|entry| version(entry).transpose()).collect()
}

/// Updates the versions with the next generation.
pub fn advance(versions: &mut Versions, manifest: &Manifest) {
    versions.extend(manifest.changed.iter().map(|(role, entry)| (role.clone(), entry.version)));
}

/// The snapshot of a generation whose roles have these versions. For the targets family it lists
/// versions only: no two of these documents share a number, so the number alone identifies a
/// document (TUF specification 4.4, METAFILES). For roles of other `parties` it lists length and
/// digest too.
///
/// # Errors
/// [`VerifyError::Unreadable`] if a version is 0.
pub fn snapshot(
    manifest: &Manifest,
    versions: &Versions,
    parties: &Parties,
) -> Result<Draft<Snapshot>, VerifyError> {
    let generation = from_one(&RoleName::snapshot(), "version", manifest.generation)?;
    let mut snapshot = Snapshot::new(SPEC_VERSION.into(), generation, manifest.snapshot_expires);
    for (role, version) in versions {
        let version = from_one(role, "version", *version)?;
        let metafile = Metafile { length: None, hashes: None, version, _extra: HashMap::new() };
        snapshot.meta.insert(format!("{role}.json"), metafile);
    }
    snapshot.meta.extend(parties.in_snapshot()?);
    Ok(Draft::new(RoleName::snapshot(), snapshot))
}
