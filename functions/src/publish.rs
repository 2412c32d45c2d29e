//! Publish: shows the newest generation that is signed. The last stage, and the only one that devices notice.
//!
//! Runs any number of times, at once with itself and with refresh: whoever loses the write reads again. A crash at any
//! point leaves what was published untouched.

use std::time::Duration;

use bytes::Bytes;
use futures::future::OptionFuture;
use tough::schema::Root;
use tufline_store::{Change, Event, Key, Message, Store, Written};
use tufline_tuf::gate::{Fault, OtherParties, Refused};
use tufline_tuf::generation::Versions;
use tufline_tuf::{Manifest, Parties};

use crate::announce::announce;
use crate::ledger::{self, Published, RECORD_FORMAT, RefusedGeneration};
use crate::measure;
use crate::parties::parties;
use crate::ports::{Ports, Result, StageError};
use crate::roots;
use crate::show::{Verdict, check, show};

/// After so many lost races the message goes back to its queue.
const ATTEMPTS: usize = 8;

/// A refusal is told again, and mended again, at most once in this time.
const REFUSAL_REPEAT_SECONDS: i64 = 60;

/// What publish came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// This generation is new.
    Now(u64),
    /// Nothing newer could be shown; this one is published.
    AlreadyNewest(Option<u64>),
}

/// Shows the newest signed generation that passes the gate, and tells of it.
///
/// # Errors
/// Only requests that failed: a refusal is a recorded result, since as an error it would block the queue.
pub async fn publish(ports: &Ports) -> Result<Shown> {
    for _ in 0..ATTEMPTS {
        // The timestamp first and only then the roots: a root published after this read has touched the timestamp, so the
        // write below loses.
        let published = ledger::published(&*ports.store).await?;
        let (roots, waiting) = futures::join!(roots::trusted(ports), Waiting::read(&*ports.store, published.as_ref()));
        let roots = roots?.roots;
        if published.is_none() && ports.store.exists(&Key::Announced).await? {
            return Err(StageError::Missing(
                Key::Timestamp.path(),
                "it was published before: restore it from its older object versions, its version must not begin again",
            ));
        }
        let found = newest_showable(ports, &roots, published.as_ref(), waiting?).await?;
        // Before sign is called: it then signs the generation before.
        if let Some(refused) = &found.refused {
            record_refusal(ports, refused).await?;
        }
        if found.not_ready {
            ports.queues.send(&Message::Sign, Duration::ZERO).await?;
        }
        let Some(checked) = found.passed else {
            announce(ports).await?;
            return Ok(Shown::AlreadyNewest(published.map(|published| published.generation)));
        };
        // A crash up to here changed nothing that devices see.
        match show(ports, &roots, published.as_ref(), &checked).await? {
            Written::Done => {
                measure::generation_shown();
                // A crash here: the next run of publish, or refresh, finds it published and sends the events.
                announce(ports).await?;
                return Ok(Shown::Now(checked.generation()));
            }
            Written::Lost => {}
        }
    }
    Err(StageError::Contended("publish", ATTEMPTS))
}

#[derive(Default)]
struct Candidates {
    passed: Option<tufline_tuf::gate::Checked>,
    /// The newest refusal that is newer than what passed.
    refused: Option<Refused>,
    not_ready: bool,
}

/// The generations that may be shown. All of this is read before anything is believed, so that it can be read together with
/// the roots.
#[derive(Default)]
struct Waiting {
    /// The snapshot that devices see; `None` also where nothing waits.
    published: Option<Bytes>,
    /// Oldest first.
    manifests: Vec<Manifest>,
    /// The snapshot of the newest, if it is signed.
    newest: Option<Bytes>,
}

impl Waiting {
    async fn read(store: &dyn Store, published: Option<&Published>) -> Result<Self> {
        let after = published.map_or(0, |published| published.generation);
        let manifests = ledger::manifests_after(store, after).await?;
        let Some(newest) = manifests.iter().rfind(|manifest| !manifest.is_fence()) else { return Ok(Self::default()) };
        let newest = Key::snapshot(newest.generation);
        let published = OptionFuture::from(published.map(|published| ledger::published_snapshot(store, published)));
        let (published, newest) = futures::join!(published, store.bytes(&newest));
        Ok(Self { published: published.transpose()?, newest: newest?, manifests })
    }
}

/// Goes from the newest generation down to the first that passes.
async fn newest_showable(
    ports: &Ports,
    roots: &[Root],
    published: Option<&Published>,
    mut waiting: Waiting,
) -> Result<Candidates> {
    let mut found = Candidates::default();
    let newest_root = roots.first().ok_or(StageError::NotInitialised)?;
    let versions = match published.zip(waiting.published.take()) {
        Some((published, snapshot)) => ledger::versions_in(snapshot, newest_root, published)?,
        None => Versions::new(),
    };
    let mut newest = Some(waiting.newest.take());
    let manifests = &waiting.manifests;
    let seen = if manifests.iter().any(|manifest| manifest.parties.is_some()) {
        published_parties(&*ports.store, published).await?
    } else {
        Parties::default()
    };
    for (index, candidate) in manifests.iter().enumerate().rev().filter(|(_, manifest)| !manifest.is_fence()) {
        let snapshot = match newest.take() {
            Some(snapshot) => snapshot,
            None => ports.store.bytes(&Key::snapshot(candidate.generation)).await?,
        };
        let Some(snapshot) = snapshot else {
            found.not_ready = true;
            continue;
        };
        let since = manifests.get(..=index).unwrap_or_default();
        let own = parties(&*ports.store, candidate).await?;
        let others = OtherParties { published: &seen, candidate: &own };
        match check(ports, roots, &versions, since, candidate, others, &snapshot).await? {
            Verdict::Passed(checked) => {
                found.passed = Some(checked);
                break;
            }
            Verdict::NotReady => found.not_ready = true,
            Verdict::Refused(refused) => {
                tracing::error!(generation = candidate.generation, reason = refused.reason, "generation refused");
                found.refused.get_or_insert(refused);
            }
        }
    }
    Ok(found)
}

/// What devices see delegated to other parties.
async fn published_parties(store: &dyn Store, published: Option<&Published>) -> Result<Parties> {
    let Some(published) = published else { return Ok(Parties::default()) };
    parties(store, &ledger::manifest(store, published.generation).await?).await
}

/// Records a refusal, tells of it, and asks for what mends it. Repeated while it lasts, but at a bounded rate.
async fn record_refusal(ports: &Ports, refused: &Refused) -> Result<()> {
    let generation = refused.generation;
    let key = Key::Refused(generation);
    let record = RefusedGeneration { format: RECORD_FORMAT, reason: refused.reason.clone() };
    let record = ledger::record(key.clone(), &record)?;
    let written = match ports.store.get(&key).await? {
        None => ports.store.create(&record).await?,
        Some(told) => {
            let age = tufline_tuf::time::seconds_between(told.modified, ports.clock.now());
            if age < REFUSAL_REPEAT_SECONDS {
                return Ok(());
            }
            ports.store.replace(&record, &told.tag).await?
        }
    };
    // Losing means that another instance tells it. A crash from here on: told again once the time has passed.
    if written == Written::Lost {
        return Ok(());
    }
    measure::gate_refusal();
    let reason = refused.reason.clone();
    ports.events.send(&[Event::GenerationRefused { generation, reason }]).await?;
    let changes = match &refused.fault {
        Fault::Root => Vec::new(),
        Fault::Role(role, version) => vec![Change::Renew { role: role.clone(), version: *version }],
        Fault::Targets(names) => vec![Change::Revert { names: names.clone() }],
    };
    for message in Message::changes(changes) {
        ports.queues.send(&message, Duration::ZERO).await?;
    }
    Ok(())
}
