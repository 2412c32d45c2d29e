//! Showing a generation: the check that a client would make, and the write that is the publication. Publish and refresh
//! share it.

use std::collections::BTreeMap;

use bytes::Bytes;
use tough::schema::{self, Root, Targets};
use tufline_store::{Document, Key, OnlineRole, Written};
use tufline_tuf::gate::{Checked, Gate, Refused};
use tufline_tuf::{Manifest, RoleKeys, RoleName, time, trie, verify};

use crate::ledger::{self, Published};
use crate::ports::{Ports, Result, StageError, at_once};
use crate::roots;
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
    let mut seen = Seen { ports, published, documents: BTreeMap::new() };
    loop {
        let loads = gate.wanted_roles().into_iter().map(|(role, version)| async move {
            let stored = ports.store.get(&Key::Metadata { role: role.clone(), version }).await?;
            Ok::<_, StageError>((role, version, stored))
        });
        let mut files = Vec::new();
        for loaded in at_once(loads).await {
            let (role, version, Some(stored)) = loaded? else { return Ok(Verdict::NotReady) };
            files.push((role, version, stored.bytes));
        }
        if files.is_empty() {
            break;
        }
        seen.load(&files).await?;
        for (role, _, bytes) in &files {
            if let Err(refused) = gate.role(role, bytes, seen.before(role)) {
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

/// What devices see now, each document read once: all new bins of a role that was split have their targets from that one.
struct Seen<'a> {
    ports: &'a Ports,
    published: Option<&'a Manifest>,
    documents: BTreeMap<RoleName, Option<Targets>>,
}

impl Seen<'_> {
    /// The role in which devices see the targets of `role`, and its version: itself or, for a new bin, the nearest above it.
    fn place(&self, role: &RoleName) -> Option<(RoleName, u64)> {
        let roles = &self.published?.roles;
        let seen = trie::nearest(role, |role| roles.contains_key(role))?;
        let version = roles.get(&seen)?.version;
        Some((seen, version))
    }

    /// Reads what devices see of the roles of `files`, which are the candidate's, each with its version.
    async fn load(&mut self, files: &[(RoleName, u64, Bytes)]) -> Result<()> {
        let places: BTreeMap<RoleName, u64> = files.iter().filter_map(|(role, ..)| self.place(role)).collect();
        let missing = places.into_iter().filter(|(role, _)| !self.documents.contains_key(role));
        let ports = self.ports;
        let loads = missing.map(|(role, version)| async move {
            // What does not change is there already.
            let same = files.iter().find(|(other, number, _)| *other == role && *number == version);
            let bytes = if let Some((_, _, bytes)) = same {
                Some(bytes.clone())
            } else {
                let stored = ports.store.get(&Key::Metadata { role: role.clone(), version }).await?;
                stored.map(|stored| stored.bytes)
            };
            let document = bytes.map(|bytes| parse_targets(&role, &bytes)).transpose()?;
            Ok::<_, StageError>((role, document))
        });
        for loaded in at_once(loads).await {
            let (role, document) = loaded?;
            self.documents.insert(role, document);
        }
        Ok(())
    }

    /// The document in which devices see the targets of `role`, once it was loaded.
    fn before(&self, role: &RoleName) -> Option<&Targets> {
        self.documents.get(&self.place(role)?.0)?.as_ref()
    }
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
        verify::<schema::Timestamp>(signed.bytes().clone(), &keys).map_err(|error| roots::not_under(root, &error))?;
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
