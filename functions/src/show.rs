//! Showing a generation: the check that a client would make, and the write that is the publication. Publish and refresh
//! share it.

use tough::schema::{self, Root, Targets};
use tufline_store::{Document, Key, OnlineRole, Written};
use tufline_tuf::gate::{Checked, Gate, Refused};
use tufline_tuf::{Manifest, RoleKeys, RoleName, time, verify};

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
    for (role, version) in gate.wanted_roles() {
        let Some(stored) = ports.store.get(&Key::Metadata { role: role.clone(), version }).await? else {
            return Ok(Verdict::NotReady);
        };
        let before = published.and_then(|published| published.roles.get(&role));
        let before = match before {
            Some(entry) if entry.version == version => Some(parse_targets(&role, &stored.bytes)?),
            Some(entry) => published_targets(ports, &role, entry.version).await?,
            None => None,
        };
        if let Err(refused) = gate.role(&role, &stored.bytes, before.as_ref()) {
            return Ok(Verdict::Refused(refused));
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

async fn published_targets(ports: &Ports, role: &RoleName, version: u64) -> Result<Option<Targets>> {
    let stored = ports.store.get(&Key::Metadata { role: role.clone(), version }).await?;
    stored.map(|stored| parse_targets(role, &stored.bytes)).transpose()
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
