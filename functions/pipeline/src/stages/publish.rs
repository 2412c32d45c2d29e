//! Publish: shows the newest signed generation. It is the last stage, and the only one that devices
//! notice.
//!
//! Any number of runs of publish and refresh may happen at once: a run that loses the write reads
//! again. A crash at any point leaves what was published untouched.
//!
//! *Invariant*: publish calls sign only for a file that sign makes, or fails to make. So the two
//! never call each other without end.

use std::time::Duration;

use bytes::Bytes;
use futures::future::{OptionFuture, ready};
use tough::schema::Root;
use tufline_store::{Key, Message, Written};
use tufline_tuf::gate::{Fault, OtherParties};
use tufline_tuf::generation::Versions;
use tufline_tuf::{Manifest, Parties, RoleKeys, RoleName};

use crate::actions::announce::announce;
use crate::actions::check::{Verdict, check_candidate};
use crate::actions::judge::{ShownState, Trial, parties_of};
use crate::actions::refuse::{look_again, look_at, refuse};
use crate::actions::show::show_generation;
use crate::error::{Result, StageError};
use crate::measure;
use crate::ports::Ports;
use crate::state::ledger::Published;
use crate::state::parties::read_parties;
use crate::state::pending::Pending;
use crate::state::{ledger, roots};

/// How many races a run loses before the message goes back to its queue.
const ATTEMPTS: usize = 8;

/// The outcome of a run of publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// The run showed this generation.
    Now(u64),
    /// Nothing newer could be shown. Gives the published generation, if there is one.
    AlreadyNewest(Option<u64>),
}

/// Shows the newest signed generation that passes the gate, and announces it.
///
/// # Errors
/// A request failed, or a file that devices see is gone. A refusal is no error but a recorded
/// result: an error would block the queue.
pub async fn publish(ports: &Ports) -> Result<Shown> {
    for _ in 0..ATTEMPTS {
        // The timestamp is read before the roots: publishing a root replaces the timestamp first.
        // So if a root was published after this read, the write below loses.
        let published = ledger::published(&*ports.store).await?;
        let (roots, waiting) = futures::join!(
            roots::trusted(ports),
            WaitingGenerations::read(ports, published.as_ref())
        );
        let roots = roots?.roots;
        if published.is_none() {
            expect_first(ports).await?;
        }

        // Find the newest generation that may be shown. Objections to newer ones are recorded here,
        // and other stages mend them.
        let waiting = waiting?;
        let is_shortened = waiting.is_shortened;
        let found = newest_showable(ports, &roots, published.as_ref(), waiting).await?;
        if is_shortened {
            ports.deadline.forget();
            // The messages of the newer generations may be used up already.
            ports.queues.send(&Message::Publish, Duration::ZERO).await?;
        }
        if found.not_ready {
            ports.queues.send(&Message::Sign, Duration::ZERO).await?;
        }
        let Some(checked) = found.passed else {
            announce(ports).await?;
            if let Some(lost) = found.lost {
                return Err(lost);
            }
            return Ok(Shown::AlreadyNewest(published.map(|published| published.generation)));
        };

        // The publication. A crash before this changes nothing that devices see.
        if show_generation(ports, &roots, published.as_ref(), &checked).await? == Written::Done {
            measure::generation_shown();
            // A crash here: the next run of publish or refresh finds the generation published, and
            // sends the events.
            announce(ports).await?;
            return Ok(Shown::Now(checked.generation()));
        }
    }
    Err(StageError::Contended("publish", ATTEMPTS))
}

/// Refuses to publish a first timestamp if something was published before and the timestamp is
/// gone.
async fn expect_first(ports: &Ports) -> Result<()> {
    if !ports.store.exists(&Key::Announced).await? {
        return Ok(());
    }
    Err(StageError::Missing(
        Key::Timestamp.path(),
        "it was published before: restore it from a backup, or from its older object versions; \
         its version must not start again",
    ))
}

/// The result of a search among the waiting generations.
#[derive(Default)]
struct Candidates {
    /// The generation that may be shown.
    passed: Option<Box<tufline_tuf::gate::Checked>>,
    /// Whether sign has something to do.
    not_ready: bool,
    /// A published file is gone that the newest signed candidate needs. Only people can bring it
    /// back.
    lost: Option<StageError>,
}

/// The waiting generations that may be shown. They are read together with the roots, before
/// anything in them is trusted.
#[derive(Default)]
struct WaitingGenerations {
    /// The published snapshot; `None` also if no generation waits.
    published: Option<Bytes>,
    /// Oldest first. Each is based on the one before.
    chain: Vec<Manifest>,
    /// The snapshot of the newest generation that is no fence, if it is signed.
    newest: Option<Bytes>,
    /// Whether newer generations wait until these are judged.
    is_shortened: bool,
}

impl WaitingGenerations {
    async fn read(ports: &Ports, published: Option<&Published>) -> Result<Self> {
        let store = &*ports.store;
        let after = published.map_or(0, |published| published.generation);
        let pending = Pending::read(store, after).await?;
        let mut chain = pending.into_chain();
        let is_shortened = ports.deadline.shorten(after, &mut chain, ports.clock.now());
        let Some(newest) = chain.iter().rfind(|manifest| !manifest.is_fence()) else {
            return Ok(Self::default());
        };
        let newest = Key::snapshot(newest.generation);
        let published = OptionFuture::from(
            published.map(|published| ledger::published_snapshot(store, published)),
        );
        let (published, newest) = futures::join!(published, store.bytes(&newest));
        Ok(Self { published: published.transpose()?, newest: newest?, chain, is_shortened })
    }
}

/// Goes from the newest generation down to the first that passes. Objections to newer ones are
/// recorded, and the remedy is asked for.
async fn newest_showable(
    ports: &Ports,
    roots: &[Root],
    published: Option<&Published>,
    mut waiting: WaitingGenerations,
) -> Result<Candidates> {
    let store = &*ports.store;
    let mut found = Candidates::default();
    let newest_root = roots.first().ok_or(StageError::NotInitialised)?;
    let Some(newest) = waiting.chain.last().map(|manifest| manifest.generation) else {
        return Ok(found);
    };
    let shown = match published.zip(waiting.published.take()) {
        Some((published, snapshot)) => {
            Some(ShownState::of(store, published, ready(Ok(snapshot)), newest_root).await?)
        }
        None => None,
    };
    let mut snapshot = Some(waiting.newest.take());
    let mut left = waiting.chain.len();
    // Sign tries no generation older than a signed one, unless that was refused for good. So
    // publish does not call it for an older one.
    let mut asks_sign = true;
    while let Some(place) =
        waiting.chain.iter().take(left).rposition(|manifest| !manifest.is_fence())
    {
        let Some((candidate, since)) =
            waiting.chain.get(..=place).and_then(|since| Some((since.last()?, since)))
        else {
            break;
        };
        let bytes = match snapshot.take() {
            Some(snapshot) => snapshot,
            None => store.bytes(&Key::snapshot(candidate.generation)).await?,
        };
        left = place;
        let Some(bytes) = bytes else {
            found.not_ready |= asks_sign;
            continue;
        };
        let verdict = match &shown {
            Some(shown) => {
                Box::pin(judge_candidate(ports, roots, shown, since, candidate, &bytes)).await
            }
            None => check_first(ports, roots, since, candidate, &bytes).await,
        };
        match verdict {
            Err(error) if error.is_damage() => {
                found.lost = Some(error);
                break;
            }
            Err(error) => return Err(error),
            Ok(Verdict::Passed { checked, .. }) => {
                found.passed = Some(checked);
                break;
            }
            // Calling sign would not help: it would find the generation signed, and try none older.
            Ok(Verdict::NotReady(key)) if is_published(&key, shown.as_ref()) => {
                found.lost = Some(ledger::lost(&key));
                break;
            }
            Ok(Verdict::NotReady(_)) => found.not_ready |= asks_sign,
            Ok(Verdict::Refused(refused)) => {
                // No generation based on the refused one may be shown either.
                left = waiting
                    .chain
                    .iter()
                    .take(place)
                    .filter(|older| older.generation < refused.generation)
                    .count();
                // Record the refusal before sign is called, so that sign goes on to the generation
                // before.
                refuse(ports, &refused).await?;
                asks_sign &= !matches!(refused.fault, Fault::Root | Fault::Expired(..));
            }
            Ok(Verdict::PassedOver { names, otherwise }) => {
                look_again(ports, newest, &names, otherwise).await?;
                asks_sign = false;
            }
        }
    }
    Ok(found)
}

/// Whether devices see this very file already. Sign only makes new files.
fn is_published(key: &Key, shown: Option<&ShownState>) -> bool {
    let (Key::Metadata { role, version }, Some(shown)) = (key, shown) else { return false };
    let of_a_party = || Some(shown.parties.documents.get(role)?.version);
    shown.versions.get(role).copied().or_else(of_a_party) == Some(*version)
}

/// Checks the first generation, or the first one of an import, as a client would. No published
/// generation exists from which it could follow.
async fn check_first(
    ports: &Ports,
    roots: &[Root],
    since: &[Manifest],
    candidate: &Manifest,
    snapshot: &Bytes,
) -> Result<Verdict> {
    let (own, nothing) = (read_parties(&*ports.store, candidate).await?, Versions::new());
    let others = OtherParties { published: &Parties::default(), candidate: &own };
    check_candidate(ports, roots, &nothing, since, candidate, others, snapshot, None).await
}

/// Judges `candidate` by what is published and by the uploads, and checks it as a client would.
/// `since` has the generations up to it.
async fn judge_candidate(
    ports: &Ports,
    roots: &[Root],
    shown: &ShownState,
    since: &[Manifest],
    candidate: &Manifest,
    snapshot: &Bytes,
) -> Result<Verdict> {
    let chain: Vec<&Manifest> = since.iter().collect();
    let parties = match parties_of(ports, shown, &chain).await? {
        Ok(parties) => parties,
        Err(objection) => return Ok(objection.into()),
    };
    let Some(own) = parties.last() else {
        return Ok(Verdict::NotReady(Key::snapshot(candidate.generation)));
    };
    let waiting: Vec<(&Manifest, &Parties)> = chain.into_iter().zip(&parties).collect();
    let mut trial = match Trial::open(ports, shown, &waiting).await? {
        Ok(trial) => trial,
        Err(objection) => return Ok(objection.into()),
    };
    let root = roots.first().ok_or(StageError::NotInitialised)?;
    let keys = RoleKeys::in_root(root, &RoleName::targets())?;
    if let Err(objection) = trial.adopt(ports, &keys, candidate.generation).await? {
        return Ok(objection.into());
    }
    let others = OtherParties { published: &shown.parties, candidate: own };
    let verdict = check_candidate(
        ports,
        roots,
        &shown.versions,
        since,
        candidate,
        others,
        snapshot,
        Some(trial),
    )
    .await?;
    if let Verdict::Passed { lately, .. } = &verdict {
        // Ask for the looks before the generation is shown: a crash in between would leave the old
        // content there.
        look_at(ports, lately).await?;
    }
    Ok(verdict)
}
