//! What must be looked at again where the newest generation is void.

use std::collections::BTreeSet;
use tufline_tuf::replay::LARGEST_JUMP;
use tufline_tuf::{RoleName, TargetName, Time};

use crate::state::pending::Tip;
use crate::state::records::RecordedFault;

/// Where somebody takes numbers ahead again and again, the numbers that are left out grow four times with each, up to this power of four: by
/// then there are more than anybody can take.
const MOST_JUMPS: u32 = 13;

/// Where generations are void, so many names at most are looked at again in the one that follows what is published: else it would take longer
/// than a run may.
const MOST_LOOKS: usize = 4000;

/// What must be looked at again where the newest generation is void: all that was to be changed since what is published. The next one is
/// based on that.
#[derive(Debug, Default)]
pub(crate) struct Redo {
    /// The targets.
    pub names: BTreeSet<TargetName>,
    /// The same, where they are too many for one generation.
    pub later: BTreeSet<TargetName>,
    /// Targets whose bytes were missing: hash must look at them first.
    pub unstored: BTreeSet<TargetName>,
    /// Other parties' roles.
    pub roles: BTreeSet<RoleName>,
    /// The highest number that a document of the targets family may have got since.
    pub serial: u64,
    /// So many numbers of documents were taken by others.
    pub taken: u32,
    /// So many numbers of snapshots were.
    pub taken_snapshots: u32,
}

impl Redo {
    pub fn of(tip: &Tip) -> Self {
        let mut again = Self { serial: tip.shown.serial, ..Self::default() };
        let mut taken_deliveries = BTreeSet::new();
        for fault in tip.pending.refusals() {
            match fault {
                RecordedFault::Bytes(names) => again.unstored.extend(names.iter().cloned()),
                RecordedFault::Taken(role, _) if *role == RoleName::snapshot() => again.taken_snapshots += 1,
                RecordedFault::Taken(role, version) => {
                    again.taken += 1;
                    taken_deliveries.insert((role.clone(), *version));
                }
                RecordedFault::Root | RecordedFault::Void => {}
            }
        }
        for manifest in tip.pending.readable() {
            // A number far above was made up.
            if manifest.serial <= tip.shown.serial.saturating_add(LARGEST_JUMP / 2) {
                again.serial = again.serial.max(manifest.serial);
            }
            let names = manifest.changes.iter().map(|change| change.name.clone());
            again.names.extend(names.filter(|name| !again.unstored.contains(name)));
            let deliveries = manifest.deliveries().map(|(role, document)| (role.clone(), document.version));
            let deliveries = deliveries.filter(|delivery| !taken_deliveries.contains(delivery));
            again.roles.extend(deliveries.map(|(role, _)| role));
        }
        if again.names.len() > MOST_LOOKS {
            again.later = std::mem::take(&mut again.names);
        }
        again
    }

    /// The documents of the next generation take the versions above this one: far enough above those that others took, so that they can't be
    /// met again and again, and by how many nobody knows beforehand, since the clock's nanoseconds decide.
    pub fn first(&self, now: Time) -> u64 {
        if self.taken == 0 {
            return self.serial;
        }
        let jump = 4_u64.pow(self.taken.min(MOST_JUMPS));
        let more = u64::from(now.subsec_nanosecond().unsigned_abs()) % jump;
        self.serial + jump + more
    }
}
