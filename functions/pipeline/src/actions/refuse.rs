//! What follows where a generation is neither signed nor shown: a record, an event, and what mends it.

use std::time::Duration;

use tufline_store::{Change, Event, Hint, Key, Message, Written};
use tufline_tuf::gate::{Fault, Refused};
use tufline_tuf::{Sha256, TargetName, time, trie};

use crate::error::Result;
use crate::measure;
use crate::ports::Ports;
use crate::state::ledger;
use crate::state::records::{RECORD_FORMAT, RecordedFault, RefusedGeneration};

/// A refusal is told again, and mended again, at most once in this time.
const REFUSAL_REPEAT_SECONDS: i64 = 60;

/// So many names at most stand in the record of a refusal, which is then far from too long to be read.
const MOST_NAMES: usize = 4000;

/// A reason has at most so many characters, in records and events: it may repeat what somebody else wrote.
const LONGEST_REASON: usize = 2000;

fn shortened(reason: &str) -> String {
    reason.chars().take(LONGEST_REASON).collect()
}

/// How long a look at a name waits that could not be justified, and the renewal of what expired: whoever looks again at once may see
/// the same. Where that never changes, this bounds the rate at which the stages call each other.
const LOOK_DELAY: Duration = Duration::from_secs(5);

/// Records a refusal, tells of it, and asks for what mends it. Repeated while it lasts, but at a bounded rate.
pub(crate) async fn refuse(ports: &Ports, refused: &Refused) -> Result<()> {
    let generation = refused.generation;
    tracing::error!(generation, reason = refused.reason, "generation refused");
    let fault = match &refused.fault {
        // Nothing is wrong with it but its age.
        Fault::Expired(role, _) if ports.config.is_signed_by_people(role) => {
            // The alarm tells, and refresh has it looked at every minute: what is to be done people must do.
            tracing::error!(%role, "expired: `tufline targets` makes the next one, see docs/keys.md");
            measure::gate_refusal();
            return Ok(());
        }
        Fault::Expired(role, version) => {
            let is_ours = trie::prefix(role).is_some() || *role == tufline_tuf::RoleName::snapshot();
            let renew = Change::Renew { role: role.clone(), version: *version };
            let change = if is_ours { renew } else { Change::Delivery { role: role.clone() } };
            return send(ports, vec![change], LOOK_DELAY).await;
        }
        Fault::Root => RecordedFault::Root,
        Fault::Role(role, version) => RecordedFault::Taken(role.clone(), *version),
        // The others are found when these are mended.
        Fault::Targets(names) => RecordedFault::Bytes(names.iter().take(MOST_NAMES).cloned().collect()),
        Fault::Void | Fault::Policy => RecordedFault::Void,
    };
    let is_root = fault == RecordedFault::Root;
    let key = Key::Refused(generation);
    let manifest = Sha256::of(&ledger::manifest_bytes(&*ports.store, generation).await?);
    let record = RefusedGeneration { format: RECORD_FORMAT, manifest, reason: shortened(&refused.reason), fault };
    let record = ledger::pointer(key.clone(), &record)?;
    let written = match ports.store.get(&key).await? {
        None => ports.store.create(&record).await?,
        Some(told) => {
            let stored = ledger::parse::<RefusedGeneration>(&key, &told.bytes);
            let is_told = stored.is_ok_and(|stored| stored.manifest == manifest);
            if is_told && time::seconds_between(told.modified, ports.clock.now()) < REFUSAL_REPEAT_SECONDS {
                return Ok(());
            }
            ports.store.replace(&record, &told.tag).await?
        }
    };
    // Losing means that another instance tells it. A crash from here on: told again once the time has passed.
    if written == Written::Lost {
        return Ok(());
    }
    // While a new configuration is deployed, stages may know of it at different times: that is nobody's fault.
    if refused.fault != Fault::Policy {
        measure::gate_refusal();
        let reason = shortened(&refused.reason);
        ports.events.send(&[Event::GenerationRefused { generation, reason }]).await?;
    }
    if is_root { Ok(()) } else { send(ports, vec![Change::Void { generation }], Duration::ZERO).await }
}

/// Asks for another look at names that a generation changes though the uploads don't say so: it is passed over, and the next one has
/// what they say then. Where even a receipt contradicts the bytes, hash looks too.
pub(crate) async fn look_again(ports: &Ports, generation: u64, names: &[TargetName], hash_too: bool) -> Result<()> {
    tracing::warn!(generation, names = names.len(), first = ?names.first(), "generation passed over");
    if hash_too {
        measure::gate_refusal();
        let hint = |name: &TargetName| Hint { name: name.as_str().into(), removed: true, version: None };
        for message in Message::uploads(names.iter().map(hint).collect()) {
            ports.queues.send(&message, Duration::ZERO).await?;
        }
    }
    look_at(ports, names).await
}

/// Asks for another look at names. Also where a generation shows them as they were a moment ago: whoever made it need not have been told
/// since, and a thief of rebuild's role would leave it at that.
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
