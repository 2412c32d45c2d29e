//! What follows when a generation is refused: a record, an event, and a message that asks for the
//! remedy.

use std::time::Duration;

use tufline_store::{Change, Event, Hint, Key, Message, Written};
use tufline_tuf::gate::{Fault, Refused};
use tufline_tuf::{Sha256, TargetName, time, trie};

use crate::error::Result;
use crate::measure;
use crate::ports::Ports;
use crate::state::ledger;
use crate::state::records::{RECORD_FORMAT, RecordedFault, RefusedGeneration};

/// For this long after a refusal was recorded, it is not announced or mended again.
const REFUSAL_REPEAT_SECONDS: i64 = 60;

/// How many names the record of a refusal holds at most, so that it stays short enough to read.
const MOST_NAMES: usize = 4000;

/// The longest reason in records and events, in characters. A reason may repeat text that somebody
/// else wrote.
const LONGEST_REASON: usize = 2000;

fn shortened(reason: &str) -> String {
    reason.chars().take(LONGEST_REASON).collect()
}

/// How long a look at an unjustified name, or the renewal of an expired document, waits. A stage
/// that looked again at once might see the same. If that never changes, the delay limits how often
/// the stages call each other.
const LOOK_DELAY: Duration = Duration::from_secs(5);

/// Records and announces a refusal, and asks for the remedy. It repeats this while the refusal
/// lasts, at a bounded rate.
pub(crate) async fn refuse(ports: &Ports, refused: &Refused) -> Result<()> {
    let generation = refused.generation;
    tracing::error!(generation, reason = refused.reason, "generation refused");
    let fault = match &refused.fault {
        // Nothing is wrong with the generation but its age.
        Fault::Expired(role, _) if ports.config.is_signed_by_people(role) => {
            // Only people can renew this document. The alarm tells them, and refresh checks it
            // every minute.
            tracing::error!(
                %role,
                "expired: `tufline targets` makes the next one, see docs/offline-targets.md"
            );
            measure::gate_refusal();
            return Ok(());
        }
        Fault::Expired(role, version) => {
            let is_ours =
                trie::prefix(role).is_some() || *role == tufline_tuf::RoleName::snapshot();
            let renew = Change::Renew { role: role.clone(), version: *version };
            let change = if is_ours { renew } else { Change::Delivery { role: role.clone() } };
            return send(ports, vec![change], LOOK_DELAY).await;
        }
        Fault::Root => RecordedFault::Root,
        Fault::Role(role, version) => RecordedFault::Taken(role.clone(), *version),
        // Further names come to light when these are mended.
        Fault::Targets(names) => {
            RecordedFault::Bytes(names.iter().take(MOST_NAMES).cloned().collect())
        }
        Fault::Void | Fault::Policy => RecordedFault::Void,
    };
    let is_root = fault == RecordedFault::Root;
    let key = Key::Refused(generation);
    let manifest = Sha256::of(&ledger::manifest_bytes(&*ports.store, generation).await?);
    let record = RefusedGeneration {
        format: RECORD_FORMAT,
        manifest,
        reason: shortened(&refused.reason),
        fault,
    };
    let record = ledger::pointer(key.clone(), &record)?;
    let written = match ports.store.get(&key).await? {
        None => ports.store.create(&record).await?,
        Some(told) => {
            let stored = ledger::parse::<RefusedGeneration>(&key, &told.bytes);
            let is_told = stored.is_ok_and(|stored| stored.manifest == manifest);
            if is_told
                && time::seconds_between(told.modified, ports.clock.now()) < REFUSAL_REPEAT_SECONDS
            {
                return Ok(());
            }
            ports.store.replace(&record, &told.tag).await?
        }
    };
    // If this write loses, another instance announces the refusal. A crash from here on: it is
    // announced again after [`REFUSAL_REPEAT_SECONDS`].
    if written == Written::Lost {
        return Ok(());
    }
    // While a new configuration is being deployed, the stages may disagree on the policy for a
    // while. That is no fault.
    if refused.fault != Fault::Policy {
        measure::gate_refusal();
        let reason = shortened(&refused.reason);
        ports.events.send(&[Event::GenerationRefused { generation, reason }]).await?;
    }
    if is_root {
        Ok(())
    } else {
        send(ports, vec![Change::Void { generation }], Duration::ZERO).await
    }
}

/// Asks for another look at names whose change the uploads do not justify. The generation is passed
/// over, and the next one has what the uploads say then. With `hash_too`, a receipt contradicts the
/// bytes, so hash looks at them again.
pub(crate) async fn look_again(
    ports: &Ports,
    generation: u64,
    names: &[TargetName],
    hash_too: bool,
) -> Result<()> {
    tracing::warn!(generation, names = names.len(), first = ?names.first(), "generation passed over");
    if hash_too {
        measure::gate_refusal();
        let hint =
            |name: &TargetName| Hint { name: name.as_str().into(), removed: true, version: None };
        for message in Message::uploads(names.iter().map(hint).collect()) {
            ports.queues.send(&message, Duration::ZERO).await?;
        }
    }
    look_at(ports, names).await
}

/// Asks rebuild to look at names again. This is also needed for content that was in effect lately:
/// rebuild may have no message about the newer upload, and a thief of rebuild's role would leave
/// the old content there.
pub(crate) async fn look_at(ports: &Ports, names: &[TargetName]) -> Result<()> {
    let looks = names.iter().map(|name| Change::Look { name: name.clone() });
    send(ports, looks.collect(), LOOK_DELAY).await
}

async fn send(ports: &Ports, changes: Vec<Change>, delay: Duration) -> Result<()> {
    for message in Message::changes(changes) {
        ports.queues.send(&message, delay).await?;
    }
    Ok(())
}
