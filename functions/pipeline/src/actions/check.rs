//! The check that a client would make of a generation before it is shown. Publish and refresh share it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{OptionFuture, join_all};
use futures::stream::{self, StreamExt};
use tough::schema::{self, Root, Targets};
use tufline_store::{Key, Store};
use tufline_tuf::gate::{Checked, Gate, OtherParties, Refused, VerifiedRole, WantedDelivery};
use tufline_tuf::generation::Versions;
use tufline_tuf::{Draft, Manifest, Outcome, RoleEntry, RoleName, Sha256, TargetName, trie};

use crate::actions::judge::{Objection, Trial};
use crate::compute::compute;
use crate::concurrency::{HEADS_AT_ONCE, at_once, some_at_once};
use crate::error::{Result, StageError};
use crate::ports::Ports;
use crate::state::index::read_draft;

/// So many documents are read ahead of the gate, each with the one that devices see: they are some hundred kilobytes each.
const COMPARISONS_AT_ONCE: usize = 16;

/// The signatures of so many are checked at once, each on a processor if there are as many: what is parsed takes memory.
const VERIFIED_AT_ONCE: usize = 4;

/// What is said of a generation.
pub enum Verdict {
    /// It is justified, and a client would trust it.
    Passed {
        /// What may be shown.
        checked: Box<Checked>,
        /// The names that it shows as they were lately, and are not any more.
        lately: Vec<TargetName>,
    },
    /// This file is not there.
    NotReady(Key),
    /// It must never be shown.
    Refused(Refused),
    /// The uploads don't say so now.
    PassedOver {
        /// Under which names.
        names: Vec<TargetName>,
        /// Whether a receipt says otherwise than the bytes.
        otherwise: bool,
    },
}

impl From<Objection> for Verdict {
    fn from(objection: Objection) -> Self {
        match objection {
            Objection::Refused(refused) => Self::Refused(refused),
            Objection::PassedOver { names, otherwise } => Self::PassedOver { names, otherwise },
        }
    }
}

/// Checks `candidate`, whose snapshot's bytes are these, as a client would that trusts `roots` and saw what is published: these
/// versions. `since` has the manifests of the generations after that, up to the candidate, which are on `trial`: without one only
/// what is published already, or the first generation, is checked.
///
/// Each document is read, checked and dropped, so that no more are in memory than are being read.
#[expect(clippy::too_many_arguments, reason = "all of them say what is checked, and none follows from another")]
pub async fn check_candidate(
    ports: &Ports,
    roots: &[Root],
    published: &Versions,
    since: &[Manifest],
    candidate: &Manifest,
    others: OtherParties<'_>,
    snapshot: &Bytes,
    mut trial: Option<Trial<'_>>,
) -> Result<Verdict> {
    let now = ports.clock.now();
    let mut gate = match Gate::open(roots, published, since, candidate, others, snapshot, now) {
        Ok(gate) => gate,
        Err(refused) => return Ok(Verdict::Refused(refused)),
    };
    if let Some(trial) = &mut trial {
        let adopted = trial.adopted();
        let drafted = since.iter().flat_map(|manifest| manifest.changed.keys());
        gate.demand(drafted.filter(|role| !(adopted && **role == RoleName::targets())).cloned());
    }
    // The documents will ask for the blobs of what was uploaded last, and mostly for no others.
    let (roles, uploaded) =
        futures::join!(check_roles(&*ports.store, published, &mut gate, trial.as_mut()), blobs(ports, uploaded(since)));
    if let Some(verdict) = roles? {
        return Ok(verdict);
    }
    let lately = match trial {
        Some(trial) => match trial.finish(ports, candidate.generation).await? {
            Ok(lately) => lately,
            Err(objection) => return Ok(objection.into()),
        },
        None => Vec::new(),
    };
    if let Some(verdict) = check_deliveries(&*ports.store, &mut gate).await? {
        return Ok(verdict);
    }
    for (sha256, blob) in uploaded? {
        gate.blob(&sha256, blob);
    }
    for (sha256, blob) in blobs(ports, gate.wanted_blobs()).await? {
        gate.blob(&sha256, blob);
    }
    Ok(match gate.pass() {
        Ok(checked) => Verdict::Passed { checked: Box::new(checked), lately },
        Err(refused) => Verdict::Refused(refused),
    })
}

/// Gives the gate all the documents that it asks for; `None` where it found nothing wrong.
async fn check_roles(
    store: &dyn Store,
    published: &Versions,
    gate: &mut Gate<'_>,
    mut trial: Option<&mut Trial<'_>>,
) -> Result<Option<Verdict>> {
    let mut drafts: BTreeMap<RoleName, RoleEntry> =
        trial.as_ref().map(|trial| trial.wanted().into_iter().collect()).unwrap_or_default();
    loop {
        let comparisons = comparisons(published, gate.wanted_roles());
        if comparisons.is_empty() {
            return Ok(None);
        }
        let reads: Vec<_> = comparisons
            .into_iter()
            .map(|(seen, roles)| {
                let draft = seen.as_ref().and_then(|(role, _)| drafts.remove(role));
                compare(store, seen, draft, roles)
            })
            .collect();
        let mut reads = stream::iter(reads).buffered(COMPARISONS_AT_ONCE).chunks(VERIFIED_AT_ONCE);
        while let Some(read) = reads.next().await {
            let read: Vec<Compared> = read.into_iter().collect::<Result<_>>()?;
            for compared in &read {
                let (Some(trial), Some(Before::Drafted(draft))) = (&mut trial, &compared.seen) else { continue };
                match trial.fold(draft) {
                    Ok(replayed) => replayed.into_iter().for_each(|replayed| gate.expect(replayed.draft)),
                    Err(refused) => return Ok(Some(Verdict::Refused(refused))),
                }
            }
            let files = read.iter().flat_map(|Compared { seen, files }| {
                let seen = seen.as_ref().map(Before::document);
                files.iter().map(move |(role, bytes)| (role, bytes.as_ref(), seen))
            });
            for files in files.collect::<Vec<_>>().chunks(VERIFIED_AT_ONCE) {
                if let Some(verdict) = check_files(gate, files).await {
                    return Ok(Some(verdict));
                }
            }
        }
    }
}

/// Gives the gate some documents, each with what devices see now. Their signatures are checked together, but for those whose keys are
/// said by another of them.
async fn check_files(gate: &mut Gate<'_>, files: &[(&RoleName, Option<&Bytes>, Option<&Targets>)]) -> Option<Verdict> {
    let verified = files.iter().map(|(role, bytes, _)| {
        let given = bytes.cloned().zip(gate.keys(role));
        OptionFuture::from(given.map(|(bytes, keys)| compute(move || VerifiedRole::new(bytes, keys))))
    });
    let verified = join_all(verified).await;
    for ((role, bytes, seen), verified) in files.iter().zip(verified) {
        let Some(bytes) = bytes else {
            return Some(match gate.version(role) {
                Ok(version) => Verdict::NotReady(Key::Metadata { role: (*role).clone(), version }),
                Err(refused) => Verdict::Refused(refused),
            });
        };
        let checked = match verified {
            Some(verified) => gate.verified_role(role, verified, *seen),
            None => gate.role(role, bytes, *seen),
        };
        if let Err(refused) = checked {
            return Some(Verdict::Refused(refused));
        }
    }
    None
}

/// Gives the gate the documents of other parties that it asks for; `None` where it found nothing wrong.
async fn check_deliveries(store: &dyn Store, gate: &mut Gate<'_>) -> Result<Option<Verdict>> {
    for WantedDelivery { role, version, published } in gate.wanted_deliveries() {
        let read = |version| {
            let key = Key::Metadata { role: role.clone(), version };
            async move { store.bytes(&key).await }
        };
        let (bytes, seen) =
            futures::try_join!(read(version), OptionFuture::from(published.map(read)).map(Option::transpose))?;
        let Some(bytes) = bytes else { return Ok(Some(Verdict::NotReady(Key::Metadata { role, version }))) };
        let seen = seen.flatten().map(|bytes| parse_targets(&role, &bytes)).transpose()?;
        if let Err(refused) = gate.delivery(&role, &bytes, seen.as_ref()) {
            return Ok(Some(Verdict::Refused(refused)));
        }
    }
    Ok(None)
}

/// The digests of what was uploaded last in these generations: as many as are looked at together. What changes nothing is looked at by nobody.
fn uploaded(since: &[Manifest]) -> Vec<Sha256> {
    let newest = since.iter().rev().filter(|manifest| !manifest.is_fence());
    let outcomes = newest.flat_map(|manifest| &manifest.changes).map(|change| &change.outcome);
    let digests =
        outcomes.filter_map(|outcome| if let Outcome::Set(content) = outcome { Some(content.sha256) } else { None });
    digests.take(HEADS_AT_ONCE).collect::<BTreeSet<_>>().into_iter().collect()
}

/// What is stored for a digest: the length and, where the store keeps one, the SHA-256 of the whole.
type StoredBlob = Option<(u64, Option<Sha256>)>;

async fn blobs(ports: &Ports, wanted: Vec<Sha256>) -> Result<Vec<(Sha256, StoredBlob)>> {
    let heads = wanted.into_iter().map(|sha256| async move {
        let blob = ports.blobs.head(&sha256).await?;
        Ok((sha256, blob.map(|blob| (blob.length, blob.sha256))))
    });
    some_at_once(HEADS_AT_ONCE, heads).await.into_iter().collect()
}

/// A role's document of this version.
type RoleVersion = (RoleName, u64);

/// The documents to check, by the one in which devices see their targets now: that of the same role or, for a new bin, of the
/// nearest role above it. All new bins of a role that was split have their targets from that one.
///
/// Roles come after those above them, as in `wanted`: what is above a role is seen where it is itself seen, or higher.
fn comparisons(published: &Versions, wanted: Vec<RoleVersion>) -> Vec<(Option<RoleVersion>, Vec<RoleVersion>)> {
    let mut comparisons: BTreeMap<_, Vec<RoleVersion>> = BTreeMap::new();
    for (role, version) in wanted {
        let seen = trie::nearest(&role, |role| published.contains_key(role));
        let seen = seen.and_then(|seen| Some((seen.clone(), *published.get(&seen)?)));
        comparisons.entry(seen).or_default().push((role, version));
    }
    let mut comparisons: Vec<_> = comparisons.into_iter().collect();
    comparisons.sort_by_key(|(seen, _)| seen.as_ref().map(|(role, _)| trie::depth(role)));
    comparisons
}

/// What devices see, and the files that they shall see.
struct Compared {
    seen: Option<Before>,
    files: Vec<(RoleName, Option<Bytes>)>,
}

/// A document that devices see.
enum Before {
    /// As the ledger keeps it, to be replayed.
    Drafted(Draft<Targets>),
    /// As devices get it.
    Published(Targets),
}

impl Before {
    fn document(&self) -> &Targets {
        match self {
            Self::Drafted(draft) => draft.document(),
            Self::Published(document) => document,
        }
    }
}

/// Reads the documents of `roles`, and what devices see in their place: where that is to be replayed, its draft.
async fn compare(
    store: &dyn Store,
    seen: Option<RoleVersion>,
    drafted: Option<RoleEntry>,
    roles: Vec<RoleVersion>,
) -> Result<Compared> {
    let read = |(role, version): RoleVersion| async move {
        let bytes = store.bytes(&Key::Metadata { role: role.clone(), version }).await?;
        Ok::<_, StageError>((role, bytes))
    };
    // What does not change is read once.
    let changes = !seen.as_ref().is_some_and(|seen| roles.contains(seen));
    let drafted = seen.as_ref().zip(drafted.as_ref()).map(|((role, _), entry)| read_draft(store, role, entry));
    let is_drafted = drafted.is_some();
    let (drafted, before, files) = futures::join!(
        OptionFuture::from(drafted),
        OptionFuture::from(seen.clone().filter(|_| changes && !is_drafted).map(read)),
        at_once(roles.into_iter().map(read))
    );
    let mut files: Vec<(RoleName, Option<Bytes>)> = files.into_iter().collect::<Result<_>>()?;
    files.sort_by_key(|(role, _)| trie::depth(role));
    if let Some(draft) = drafted.transpose()? {
        return Ok(Compared { seen: Some(Before::Drafted(draft)), files });
    }
    let before = match before.transpose()? {
        Some((_, bytes)) => bytes,
        None => files
            .iter()
            .find(|(role, _)| seen.as_ref().is_some_and(|(seen, _)| seen == role))
            .and_then(|(_, bytes)| bytes.clone()),
    };
    let seen = before.zip(seen).map(|(bytes, (role, _))| compute(move || parse_targets(&role, &bytes)));
    let seen = OptionFuture::from(seen).await.transpose()?.map(Before::Published);
    Ok(Compared { seen, files })
}

/// Reads a file only to see what differs from it; whatever is to be shown is verified by the gate.
fn parse_targets(role: &RoleName, bytes: &[u8]) -> Result<Targets> {
    let parsed: schema::Signed<Targets> =
        serde_json::from_slice(bytes).map_err(|error| StageError::Record(role.to_string(), error.into()))?;
    Ok(parsed.signed)
}
