//! Showing a generation: the check that a client would make, and the write that is the publication. Publish and refresh
//! share it.

use tough::schema::{self, Root, Targets};
use tufline_store::{Document, Key, OnlineRole, Written};
use tufline_tuf::gate::{Checked, Gate, Refused};
use tufline_tuf::{Manifest, RoleKeys, RoleName, time, trie, verify};

use crate::ledger::{self, Published};
use crate::ports::{Ports, Result, StageError, at_once};
use crate::sign::sign_draft;

/// Clocks of different machines differ by a little.
const CLOCK_TOLERANCE_SECONDS: i64 = 5;

/// What the gate says of a generation.
pub enum Verdict {
    /// A client would trust it.
    Passed(Checked),
    /// A file is not there yet: sign must run.
    NotReady,
    /// It must never be shown.
    Refused(Refused),
}

/// Checks `candidate` as a client would that trusts `roots` and saw what is published.
pub async fn check(
    ports: &Ports,
    roots: &[Root],
    published: Option<&Manifest>,
    candidate: &Manifest,
) -> Result<Verdict> {
    let Some(snapshot) = ports.store.get(&Key::snapshot(candidate.generation)).await? else {
        return Ok(Verdict::NotReady);
    };
    let mut gate = match Gate::open(roots, published, candidate, &snapshot.bytes, ports.clock.now()) {
        Ok(gate) => gate,
        Err(refused) => return Ok(Verdict::Refused(refused)),
    };
    loop {
        let loads = gate.wanted_roles().into_iter().map(|(role, version)| async move {
            let stored = ports.store.get(&Key::Metadata { role: role.clone(), version }).await?;
            let before = match &stored {
                Some(stored) => seen_before(ports, published, &role, version, &stored.bytes).await?,
                None => None,
            };
            Ok::<_, StageError>((role, stored, before))
        });
        let loaded = at_once(loads).await;
        if loaded.is_empty() {
            break;
        }
        for role in loaded {
            let (role, stored, before) = role?;
            let Some(stored) = stored else { return Ok(Verdict::NotReady) };
            if let Err(refused) = gate.role(&role, &stored.bytes, before.as_ref()) {
                return Ok(Verdict::Refused(refused));
            }
        }
    }
    let heads = gate.wanted_blobs().into_iter().map(|sha256| async move {
        let blob = ports.blobs.head(&sha256).await?;
        Ok::<_, StageError>((sha256, blob.map(|blob| (blob.length, blob.sha256))))
    });
    for found in at_once(heads).await {
        let (sha256, blob) = found?;
        gate.blob(&sha256, blob);
    }
    Ok(match gate.pass() {
        Ok(checked) => Verdict::Passed(checked),
        Err(refused) => Verdict::Refused(refused),
    })
}

/// The document in which devices see the targets of `role` now: its own or, for a new bin, the nearest above it.
async fn seen_before(
    ports: &Ports,
    published: Option<&Manifest>,
    role: &RoleName,
    version: u64,
    bytes: &[u8],
) -> Result<Option<Targets>> {
    let Some(published) = published else { return Ok(None) };
    let seen = trie::nearest(role, |role| published.roles.contains_key(role));
    let Some((seen, entry)) = seen.and_then(|seen| Some((seen.clone(), published.roles.get(&seen)?))) else {
        return Ok(None);
    };
    if seen == *role && entry.version == version {
        return parse_targets(role, bytes).map(Some);
    }
    let stored = ports.store.get(&Key::Metadata { role: seen.clone(), version: entry.version }).await?;
    stored.map(|stored| parse_targets(&seen, &stored.bytes)).transpose()
}

/// Reads a file only to see what differs from it; whatever is to be shown is verified by the gate.
fn parse_targets(role: &RoleName, bytes: &[u8]) -> Result<Targets> {
    let parsed: schema::Signed<Targets> =
        serde_json::from_slice(bytes).map_err(|error| StageError::Record(role.to_string(), error.to_string()))?;
    Ok(parsed.signed)
}

/// Shows a generation that passed the gate: replaces `timestamp.json`, if it is still what `published` is. This write is
/// the publication.
///
/// [`Written::Lost`] may mean that an earlier try of this very write was applied: whoever reads again finds it done.
///
/// # Errors
/// [`StageError::ClockBehind`] rather than signing an expiry that is counted from a wrong time.
pub async fn show(ports: &Ports, roots: &[Root], published: Option<&Published>, checked: &Checked) -> Result<Written> {
    let now = ports.clock.now();
    if let Some(published) = published {
        let stored = published.stored.modified;
        if time::seconds_between(now, stored) > CLOCK_TOLERANCE_SECONDS {
            return Err(StageError::ClockBehind { now, stored });
        }
    }
    let version = published.map_or(0, |published| published.version) + 1;
    let draft = checked.timestamp(version, time::after(now, ports.config.expiry.timestamp.seconds()));
    let newest = roots.first().ok_or(StageError::NotInitialised)?;
    let keys = RoleKeys::in_root(newest, &RoleName::timestamp())?;
    let signed = sign_draft(ports, draft, &keys, OnlineRole::Timestamp).await?;
    for root in roots {
        let keys = RoleKeys::in_root(root, &RoleName::timestamp())?;
        verify::<schema::Timestamp>(signed.bytes().clone(), &keys)?;
    }
    let document = Document::signed(&signed);
    let written = match published {
        Some(published) => ports.store.replace(&document, published.tag()).await?,
        None => ports.store.create(&document).await?,
    };
    if written == Written::Done {
        tracing::info!(generation = checked.generation(), timestamp = version, "published");
    }
    Ok(written)
}

/// The manifest of what is published, if anything is.
pub async fn published_manifest(ports: &Ports, published: Option<&Published>) -> Result<Option<Manifest>> {
    match published {
        Some(published) => Ok(Some(ledger::manifest(&*ports.store, published.generation).await?)),
        None => Ok(None),
    }
}
