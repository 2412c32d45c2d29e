//! Checks a generation as a client would, before devices see it. Publish and refresh share this.

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

/// How many documents are read ahead of the gate, each with the published document it is compared
/// with. A document has some hundred kilobytes.
const COMPARISONS_AT_ONCE: usize = 16;

/// How many documents have their signatures checked at once, on as many processors as there are.
/// Parsed documents take memory, so the number is small.
const VERIFIED_AT_ONCE: usize = 4;

/// The result of a check.
pub enum Verdict {
    /// The uploads justify the generation, and a client would trust it.
    Passed {
        /// The checked generation, ready to be shown.
        checked: Box<Checked>,
        /// Names whose content was in effect lately, but is not any more.
        lately: Vec<TargetName>,
    },
    /// This file does not exist yet.
    NotReady(Key),
    /// The generation must never be shown.
    Refused(Refused),
    /// The uploads do not justify the generation now.
    PassedOver {
        /// The names in question.
        names: Vec<TargetName>,
        /// Whether a receipt has another digest than the bytes.
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

/// Checks `candidate`, whose snapshot has the bytes `snapshot`, as a client would that trusts
/// `roots` and has seen the versions in `published`. `since` holds the manifests after the
/// published generation, up to the candidate; `trial` judges them. Without a trial, the caller may
/// only check what is published already, or the first generation.
///
/// The documents are read, checked and dropped one after another, so that memory holds only the
/// ones being read.
#[expect(
    clippy::too_many_arguments,
    reason = "all of them say what is checked, and none follows from another"
)]
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
    // The documents will mostly ask for the blobs of the last uploads, so ask for these at the same
    // time.
    let (roles, uploaded) = futures::join!(
        check_roles(&*ports.store, published, &mut gate, trial.as_mut()),
        blobs(ports, uploaded(since))
    );
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

/// Gives the gate all documents that it asks for. Returns `None` if the gate found nothing wrong.
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
                let (Some(trial), Some(Before::Drafted(draft))) = (&mut trial, &compared.seen)
                else {
                    continue;
                };
                match trial.fold(draft) {
                    Ok(replayed) => {
                        for replayed in replayed {
                            gate.expect(replayed.draft);
                        }
                    }
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

/// Gives the gate some documents, each with the published document it is compared with. Signatures
/// are checked in parallel, except where another document in `files` lists the keys.
async fn check_files(
    gate: &mut Gate<'_>,
    files: &[(&RoleName, Option<&Bytes>, Option<&Targets>)],
) -> Option<Verdict> {
    let verified = files.iter().map(|(role, bytes, _)| {
        let given = bytes.cloned().zip(gate.keys(role));
        OptionFuture::from(
            given.map(|(bytes, keys)| compute(move || VerifiedRole::new(bytes, keys))),
        )
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

/// Gives the gate the other parties' documents that it asks for. Returns `None` if the gate found
/// nothing wrong.
async fn check_deliveries(store: &dyn Store, gate: &mut Gate<'_>) -> Result<Option<Verdict>> {
    for WantedDelivery { role, version, published } in gate.wanted_deliveries() {
        let read = |version| {
            let key = Key::Metadata { role: role.clone(), version };
            async move { store.bytes(&key).await }
        };
        let (bytes, seen) = futures::try_join!(
            read(version),
            OptionFuture::from(published.map(read)).map(Option::transpose)
        )?;
        let Some(bytes) = bytes else {
            return Ok(Some(Verdict::NotReady(Key::Metadata { role, version })));
        };
        let seen = seen.flatten().map(|bytes| parse_targets(&role, &bytes)).transpose()?;
        if let Err(refused) = gate.delivery(&role, &bytes, seen.as_ref()) {
            return Ok(Some(Verdict::Refused(refused)));
        }
    }
    Ok(None)
}

/// The digests of the last uploads in these generations, as many as fit into one round of HEADs. A
/// fence has none.
fn uploaded(since: &[Manifest]) -> Vec<Sha256> {
    let newest = since.iter().rev().filter(|manifest| !manifest.is_fence());
    let outcomes = newest.flat_map(|manifest| &manifest.changes).map(|change| &change.outcome);
    let digests = outcomes.filter_map(|outcome| {
        if let Outcome::Set(content) = outcome { Some(content.sha256) } else { None }
    });
    digests.take(HEADS_AT_ONCE).collect::<BTreeSet<_>>().into_iter().collect()
}

/// What is stored for a digest: the length and, where the store keeps one, the SHA-256 of the whole
/// object.
type StoredBlob = Option<(u64, Option<Sha256>)>;

async fn blobs(ports: &Ports, wanted: Vec<Sha256>) -> Result<Vec<(Sha256, StoredBlob)>> {
    let heads = wanted.into_iter().map(|sha256| async move {
        let blob = ports.blobs.head(&sha256).await?;
        Ok((sha256, blob.map(|blob| (blob.length, blob.sha256))))
    });
    some_at_once(HEADS_AT_ONCE, heads).await.into_iter().collect()
}

/// A role and the version of its document.
type RoleVersion = (RoleName, u64);

/// The documents to check, grouped by the published document to compare them with. That is the same
/// role's document or, for a new bin, the document of the nearest published role above. So all new
/// bins of a split role share one comparison.
///
/// A role comes after the roles above it, as in `wanted`.
fn comparisons(
    published: &Versions,
    wanted: Vec<RoleVersion>,
) -> Vec<(Option<RoleVersion>, Vec<RoleVersion>)> {
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

/// A published document, and the new files to compare it with.
struct Compared {
    seen: Option<Before>,
    files: Vec<(RoleName, Option<Bytes>)>,
}

/// A document that devices see now.
enum Before {
    /// Its draft in the ledger, for the replay.
    Drafted(Draft<Targets>),
    /// The signed file that devices get.
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

/// Reads the documents of `roles` and the published document to compare them with. With `drafted`,
/// it reads that document's draft.
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
    // A document that does not change is read once.
    let changes = !seen.as_ref().is_some_and(|seen| roles.contains(seen));
    let drafted = seen
        .as_ref()
        .zip(drafted.as_ref())
        .map(|((role, _), entry)| read_draft(store, role, entry));
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
    let seen =
        before.zip(seen).map(|(bytes, (role, _))| compute(move || parse_targets(&role, &bytes)));
    let seen = OptionFuture::from(seen).await.transpose()?.map(Before::Published);
    Ok(Compared { seen, files })
}

/// Parses a published file without verifying it, to see what differs from it. The gate verifies
/// everything that is about to be shown.
fn parse_targets(role: &RoleName, bytes: &[u8]) -> Result<Targets> {
    let parsed: schema::Signed<Targets> = serde_json::from_slice(bytes)
        .map_err(|error| StageError::Record(role.to_string(), error.into()))?;
    Ok(parsed.signed)
}
