//! Refresh: keeps what is published fresh, asks for new versions of documents that expire soon, and
//! brings lost hints back. It runs every minute.

use std::time::Duration;

use tufline_store::{Change, Key, Message, Queue, Written};
use tufline_tuf::delivery::LEAST_LIFE;
use tufline_tuf::gate::OtherParties;
use tufline_tuf::replay::CLOCK_TOLERANCE_SECONDS;
use tufline_tuf::{Manifest, RoleKeys, RoleName, Time, time, verify_published};

use crate::actions::announce::{announce, announce_ignored};
use crate::actions::check::{Verdict, check_candidate};
use crate::actions::renewals;
use crate::actions::show::show_generation;
use crate::error::{Result, StageError};
use crate::measure;
use crate::messages::is_readable;
use crate::ports::Ports;
use crate::state::index::{expect_read, readable_below};
use crate::state::ledger::Published;
use crate::state::parties::read_parties;
use crate::state::pending::Pending;
use crate::state::roots::{IgnoredRoot, Trusted};
use crate::state::{ledger, roots};

/// Refresh nudges a stage if work waits for longer than this.
const PATIENCE_SECONDS: i64 = 60;

/// How many roles one run renews at most.
const RENEWALS_AT_ONCE: usize = 100;

/// How many dead letters of each queue one run brings back at most. While the queue itself is long,
/// it brings back none: a stage that still fails must not be flooded.
const LETTERS_AT_ONCE: usize = 100;

/// How often a run asks for letters again, if all that it got were unreadable. Letters that it got
/// are hidden meanwhile.
const UNREADABLE_ROUNDS: usize = 10;

/// A queue with more messages than this is not healthy.
const LONG_QUEUE: u64 = 10_000;

/// Runs refresh once. Each part is tried even if another fails.
///
/// # Errors
/// The first failure.
pub async fn refresh(ports: &Ports) -> Result<()> {
    let (seen, mut outcome) = match look(ports).await {
        Ok(seen) => (seen, Ok(())),
        Err(error) => (None, Err(error)),
    };
    if let Some(seen) = &seen {
        outcome = outcome.and(look_for_ignored_roots(ports, seen.published.generation).await);
        measure::expiries(&seen.roots, &seen.published, &seen.manifest, ports.clock.now());
        outcome = outcome.and(renew_timestamp(ports, seen).await);
        outcome = outcome.and(renew_roles(ports, seen).await);
    }
    let told = announce(ports).await;
    // Everything up to the last announced generation is settled: published, or a fence.
    let published = seen.map_or(0, |seen| seen.published.generation);
    outcome = outcome
        .and(nudge(ports, told.as_ref().map_or(published, |told| published.max(*told))).await);
    outcome = outcome.and(told.map(|_| ()));
    for queue in Queue::ALL {
        outcome = outcome.and(redrive(ports, queue).await);
    }
    outcome
}

/// What is published, and the roots it must verify under. Each run reads this once.
struct Live {
    published: Published,
    /// Read after the timestamp: publishing a root replaces the timestamp first, so a write based
    /// on an older timestamp loses.
    roots: Vec<tough::schema::Root>,
    /// A timestamp up to this version must be replaced, because a root is about to be published.
    replaces: u64,
    manifest: Manifest,
}

/// Reads what is published; `None` before the first publication.
async fn look(ports: &Ports) -> Result<Option<Live>> {
    let Some(published) = ledger::published(&*ports.store).await? else { return Ok(None) };
    let Trusted { roots, replaces } = roots::trusted(ports).await?;
    let manifest = ledger::manifest(&*ports.store, published.generation).await?;
    Ok(Some(Live { published, roots, replaces, manifest }))
}

/// Announces files that lie in the places of roots and do not verify.
async fn look_for_ignored_roots(ports: &Ports, published: u64) -> Result<()> {
    let ignored = roots::ignored(&*ports.store).await?;
    for root in &ignored {
        let IgnoredRoot { version, sha256, reason } = root;
        tracing::error!(version, %sha256, reason, "not a root, and counts as absent; see docs/keys.md");
    }
    measure::ignored_roots(ignored.len());
    announce_ignored(ports, &ignored, published).await
}

/// Signs the timestamp again in any of these cases: less than half of its life is left; a root no
/// longer lists the key that signed it; another key signs now; a root is about to be published and
/// waits for this. If another run replaced the timestamp meanwhile, it is fresh, or the next run's
/// task.
async fn renew_timestamp(ports: &Ports, seen: &Live) -> Result<()> {
    let Live { published, roots, replaces, manifest } = seen;
    let lifetime = ports.config.expiry.timestamp.seconds();
    let due = is_due(published.expires, ports.clock.now(), lifetime / 2)
        || published.version <= *replaces;
    let newest_root = roots.first().ok_or(StageError::NotInitialised)?;
    if !due
        && verifies(roots, published)
        && !renewals::timestamp_is_due(ports, newest_root, published).await?
    {
        return Ok(());
    }
    let snapshot = ledger::published_snapshot(&*ports.store, published).await?;
    let versions = ledger::versions_in(snapshot.clone(), newest_root, published)?;
    let own = read_parties(&*ports.store, manifest).await?;
    let others = OtherParties { published: &own, candidate: &own };
    match check_candidate(ports, roots, &versions, &[], manifest, others, &snapshot, None).await? {
        Verdict::Passed { checked, .. } => {
            let (Written::Done | Written::Lost) =
                show_generation(ports, roots, Some(published), &checked).await?;
            Ok(())
        }
        Verdict::NotReady(key) => Err(ledger::lost(&key)),
        Verdict::Refused(refused) => {
            tracing::error!(reason = refused.reason, "published generation refused");
            Err(StageError::refused(refused.to_string()))
        }
        // Only a candidate on trial can be passed over, and there is none here.
        Verdict::PassedOver { .. } => Ok(()),
    }
}

fn verifies(roots: &[tough::schema::Root], published: &Published) -> bool {
    roots.iter().all(|root| {
        RoleKeys::in_root(root, &RoleName::timestamp())
            .and_then(|keys| {
                verify_published::<tough::schema::Timestamp>(published.stored.bytes.clone(), &keys)
            })
            .is_ok()
    })
}

/// Whether less than `margin` seconds are left until `expires`.
fn is_due(expires: Time, now: Time, margin: u64) -> bool {
    time::seconds_between(now, expires) < i64::try_from(margin).unwrap_or(i64::MAX)
}

/// Asks for new versions of roles, and for a new snapshot, if less than a third of their life is
/// left or another key signs now.
async fn renew_roles(ports: &Ports, seen: &Live) -> Result<()> {
    let pending = Pending::read(&*ports.store, seen.published.generation).await?;
    let newest = pending.chain().pop().unwrap_or(&seen.manifest);
    let (now, expiry) = (ports.clock.now(), &ports.config.expiry);
    let due = |expires: Time| is_due(expires, now, expiry.targets.seconds() / 3);
    // An unreadable page does not keep other roles from being renewed.
    let (index, unread) =
        readable_below(&*ports.store, newest, |bins| due(bins.first_to_expire.expires)).await;
    let mut outcome = expect_read(unread);
    let mut changes: Vec<Change> = index
        .entries()
        .filter(|(role, entry)| {
            due(entry.document.expires) && !ports.config.is_signed_by_people(role)
        })
        .take(RENEWALS_AT_ONCE)
        .map(|(role, entry)| Change::Renew { role, version: entry.document.version })
        .collect();
    let waits = newest.generation > seen.published.generation && !newest.is_fence();
    if changes.is_empty()
        && !waits
        && is_due(seen.manifest.snapshot_expires, now, expiry.snapshot.seconds() / 3)
    {
        changes.push(Change::Renew { role: RoleName::snapshot(), version: newest.generation });
    }
    let root = seen.roots.first().ok_or(StageError::NotInitialised)?;
    for further in [
        expiring_deliveries(ports, newest).await,
        renewals::renewals(ports, root, &seen.manifest, newest).await,
        renewals::bins_renewals(ports, newest, RENEWALS_AT_ONCE).await,
    ] {
        match further {
            Ok(further) => changes.extend(further),
            Err(error) => outcome = outcome.and(Err(error)),
        }
    }
    // The messages about a refusal, or about a decision, may have been lost.
    changes.extend((!pending.is_sound()).then(|| Change::Void { generation: pending.next() - 1 }));
    if ports.store.exists(&Key::Decision(newest.decisions.saturating_add(1))).await? {
        changes.push(Change::Decision);
    }
    for message in Message::changes(changes) {
        ports.queues.send(&message, Duration::ZERO).await?;
    }
    outcome
}

/// Asks for a look at parties whose documents expire soon: rebuild then stops listing these.
async fn expiring_deliveries(ports: &Ports, newest: &Manifest) -> Result<Vec<Change>> {
    let (parties, now) = (read_parties(&*ports.store, newest).await?, ports.clock.now());
    let expiring = parties
        .in_use()
        .filter(|(_, document)| time::seconds_between(now, document.expires) < LEAST_LIFE);
    Ok(expiring.map(|(role, _)| Change::Delivery { role: role.clone() }).collect())
}

/// Nudges sign and publish if a generation above `settled` has waited for longer than a minute.
/// Also measures how long the oldest one has waited.
async fn nudge(ports: &Ports, settled: u64) -> Result<()> {
    let Some(oldest) = ledger::generations_after(&*ports.store, settled).await?.first().copied()
    else {
        measure::publication_lag(0);
        return Ok(());
    };
    // A manifest that cannot be read, or claims to be made in the future, counts as old enough.
    let waits = match ledger::manifest(&*ports.store, oldest).await {
        Ok(manifest) => time::seconds_between(manifest.created, ports.clock.now()),
        Err(error) if error.is_request() => return Err(error),
        Err(_) => PATIENCE_SECONDS,
    };
    let waits = if waits < -CLOCK_TOLERANCE_SECONDS { PATIENCE_SECONDS } else { waits };
    measure::publication_lag(waits);
    if waits >= PATIENCE_SECONDS {
        ports.queues.send(&Message::Sign, Duration::ZERO).await?;
        ports.queues.send(&Message::Publish, Duration::ZERO).await?;
    }
    Ok(())
}

/// Brings a queue's dead letters back while the queue is short. A letter that cannot be parsed
/// stays where it is, and the run asks for those behind it.
async fn redrive(ports: &Ports, queue: Queue) -> Result<()> {
    for _ in 0..UNREADABLE_ROUNDS {
        // Usually there are none, and counting them first would cost more than asking for them.
        let letters = ports.queues.dead_letters(queue, LETTERS_AT_ONCE).await?;
        if letters.is_empty() || ports.queues.waiting(queue).await?.messages > LONG_QUEUE {
            return Ok(());
        }
        let mut any = false;
        for letter in letters {
            if is_readable(queue, &letter.body) {
                ports.queues.redrive(queue, &letter).await?;
                any = true;
            }
        }
        if any {
            return Ok(());
        }
    }
    Ok(())
}
