//! Refresh: keeps what is published fresh, asks for new versions of what expires soon, and brings lost hints back. Runs
//! every minute.

use std::time::Duration;

use tufline_store::{Change, Message, Queue, Written};
use tufline_tuf::{Manifest, RoleKeys, RoleName, Time, time, verify};

use crate::announce::{announce, announced};
use crate::ledger::{self, Published};
use crate::measure;
use crate::ports::{Ports, Result, StageError};
use crate::roots;
use crate::show::{Verdict, check, published_manifest, show};

/// Work that waits longer than this is nudged.
const PATIENCE_SECONDS: i64 = 60;

/// At most so many roles are renewed in one run.
const RENEWALS_AT_ONCE: usize = 100;

/// At most so many dead letters of each queue are brought back in one run, and none while the queue itself is long: a stage
/// that still fails must not be flooded.
const LETTERS_AT_ONCE: usize = 100;

/// A queue longer than this isn't healthy.
const LONG_QUEUE: u64 = 10_000;

/// After so many lost races it is somebody else's timestamp that is fresh.
const ATTEMPTS: usize = 4;

/// One run. Each part is tried even if another fails.
///
/// # Errors
/// The first failure.
pub async fn refresh(ports: &Ports) -> Result<()> {
    let mut outcome = renew_timestamp(ports).await;
    outcome = outcome.and(renew_roles(ports).await);
    outcome = outcome.and(nudge(ports).await);
    outcome = outcome.and(announce(ports).await);
    outcome = outcome.and(measure_expiries(ports).await);
    for queue in Queue::ALL {
        outcome = outcome.and(redrive(ports, queue).await);
    }
    outcome
}

/// Re-signs the timestamp when under half of its life is left, or when a root no longer lists the key that signed it.
async fn renew_timestamp(ports: &Ports) -> Result<()> {
    for _ in 0..ATTEMPTS {
        let Some(published) = ledger::published(&*ports.store).await? else { return Ok(()) };
        let roots = roots::trusted(&*ports.store).await?;
        let lifetime = ports.config.expiry.timestamp.seconds();
        let fresh = !is_due(published.expires, ports.clock.now(), lifetime / 2);
        if fresh && verifies(&roots, &published) {
            return Ok(());
        }
        let manifest = published_manifest(ports, Some(&published)).await?;
        let Some(manifest) = manifest else { return Ok(()) };
        match check(ports, &roots, Some(&manifest), &manifest).await? {
            Verdict::Passed(checked) => {
                if show(ports, &roots, Some(&published), &checked).await? == Written::Done {
                    return Ok(());
                }
            }
            Verdict::NotReady => {
                return Err(StageError::Missing(
                    format!("metadata of generation {}", published.generation),
                    "it is published: restore it from its older object versions",
                ));
            }
            Verdict::Refused(refused) => {
                tracing::error!(reason = refused.reason, "published generation refused");
                return Err(StageError::Refused(refused.to_string()));
            }
        }
    }
    Ok(())
}

fn verifies(roots: &[tough::schema::Root], published: &Published) -> bool {
    roots.iter().all(|root| {
        RoleKeys::in_root(root, &RoleName::timestamp())
            .and_then(|keys| verify::<tough::schema::Timestamp>(published.stored.bytes.clone(), &keys))
            .is_ok()
    })
}

/// Whether less than `margin` seconds are left until `expires`.
fn is_due(expires: Time, now: Time, margin: u64) -> bool {
    time::seconds_between(now, expires) < i64::try_from(margin).unwrap_or(i64::MAX)
}

/// Asks for new versions of roles, and for a new snapshot, of which under a third of the life is left.
async fn renew_roles(ports: &Ports) -> Result<()> {
    let (published, newest) = match ledger::newest(&*ports.store).await {
        Err(StageError::NotInitialised) => return Ok(()),
        other => other?,
    };
    let (now, expiry) = (ports.clock.now(), &ports.config.expiry);
    let mut changes: Vec<Change> = newest
        .roles
        .iter()
        .filter(|(_, entry)| is_due(entry.expires, now, expiry.targets.seconds() / 3))
        .take(RENEWALS_AT_ONCE)
        .map(|(role, entry)| Change::Renew { role: role.clone(), version: entry.version })
        .collect();
    let shown = ledger::manifest(&*ports.store, published.generation).await?;
    let waits = newest.generation > published.generation && !newest.is_fence();
    if changes.is_empty() && !waits && is_due(shown.snapshot_expires, now, expiry.snapshot.seconds() / 3) {
        changes.push(Change::Renew { role: RoleName::snapshot(), version: newest.generation });
    }
    for message in Message::changes(changes) {
        ports.queues.send(&message, Duration::ZERO).await?;
    }
    Ok(())
}

/// Measures how long what is published is valid.
async fn measure_expiries(ports: &Ports) -> Result<()> {
    let Some(published) = ledger::published(&*ports.store).await? else { return Ok(()) };
    let roots = roots::trusted(&*ports.store).await?;
    if let Some(manifest) = published_manifest(ports, Some(&published)).await? {
        measure::expiries(&roots, &published, &manifest, ports.clock.now());
    }
    Ok(())
}

/// Nudges sign and publish while a generation waits for longer than a minute.
async fn nudge(ports: &Ports) -> Result<()> {
    let published = ledger::published(&*ports.store).await?.map_or(0, |published| published.generation);
    // What was announced is settled: published, or a fence.
    let (told, _) = announced(ports).await?;
    let Some(oldest) = ledger::generations_after(&*ports.store, told.max(published)).await?.first().copied() else {
        return Ok(());
    };
    let oldest: Manifest = ledger::manifest(&*ports.store, oldest).await?;
    if time::seconds_between(oldest.created, ports.clock.now()) >= PATIENCE_SECONDS {
        ports.queues.send(&Message::Sign, Duration::ZERO).await?;
        ports.queues.send(&Message::Publish, Duration::ZERO).await?;
    }
    Ok(())
}

/// Brings a queue's dead letters back while the queue is short. What cannot be parsed stays where it is.
async fn redrive(ports: &Ports, queue: Queue) -> Result<()> {
    let waiting = ports.queues.waiting(queue).await?;
    if waiting.dead_letters == 0 || waiting.messages > LONG_QUEUE {
        return Ok(());
    }
    for letter in ports.queues.dead_letters(queue, LETTERS_AT_ONCE).await? {
        if crate::message::is_readable(queue, &letter.body) {
            ports.queues.redrive(queue, &letter).await?;
        }
    }
    Ok(())
}
