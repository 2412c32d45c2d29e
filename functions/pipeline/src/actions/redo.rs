//! From where a batch starts: the newest generation or, where that is void, what is published, with all that was to be changed since.

use std::collections::BTreeSet;

use tufline_store::{Event, Written};
use tufline_tuf::replay::LARGEST_JUMP;
use tufline_tuf::{Manifest, RoleName, TargetName, Time};

use crate::actions::intake::Intake;
use crate::actions::make_generation::{Additions, KnownBase, make_generation};
use crate::error::Result;
use crate::measure;
use crate::ports::Ports;
use crate::state::ledger;
use crate::state::parties::read_parties;
use crate::state::pending::Tip;
use crate::state::records::RecordedFault;

/// Where somebody takes numbers ahead again and again, the numbers that are left out grow four times with each, up to this power of four: by
/// then there are more than anybody can take.
const MOST_JUMPS: u32 = 13;

/// Where generations are void, so many names at most are looked at again in the one that follows what is published: else it would take longer
/// than a run may.
const MOST_LOOKS: usize = 4000;

/// The same with the numbers of snapshots: so many doublings of the fences that use them up.
const MOST_FENCES: u32 = 5;

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
    serial: u64,
    /// So many numbers of documents were taken by others.
    taken: u32,
    /// So many numbers of snapshots were.
    taken_snapshots: u32,
}

impl Redo {
    fn of(tip: &Tip) -> Self {
        let mut redo = Self { serial: tip.shown.serial, ..Self::default() };
        let mut taken_deliveries = BTreeSet::new();
        for fault in tip.pending.refusals() {
            match fault {
                RecordedFault::Bytes(names) => redo.unstored.extend(names.iter().cloned()),
                RecordedFault::Taken(role, _) if *role == RoleName::snapshot() => redo.taken_snapshots += 1,
                RecordedFault::Taken(role, version) => {
                    redo.taken += 1;
                    taken_deliveries.insert((role.clone(), *version));
                }
                RecordedFault::Root | RecordedFault::Void => {}
            }
        }
        for manifest in tip.pending.readable() {
            // A number far above was made up.
            if manifest.serial <= tip.shown.serial.saturating_add(LARGEST_JUMP / 2) {
                redo.serial = redo.serial.max(manifest.serial);
            }
            let names = manifest.changes.iter().map(|change| change.name.clone());
            redo.names.extend(names.filter(|name| !redo.unstored.contains(name)));
            let deliveries = manifest.deliveries().map(|(role, document)| (role.clone(), document.version));
            let deliveries = deliveries.filter(|delivery| !taken_deliveries.contains(delivery));
            redo.roles.extend(deliveries.map(|(role, _)| role));
        }
        if redo.names.len() > MOST_LOOKS {
            redo.later = std::mem::take(&mut redo.names);
        }
        redo
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

/// From where a batch starts.
pub(crate) struct Start {
    /// The generation that the next one is based on.
    pub base: Manifest,
    /// The number of the next one.
    pub generation: u64,
    /// What must be looked at again, where the base is what is published.
    pub redo: Option<Redo>,
}

impl Start {
    /// Finds it. `None` where another instance was faster.
    pub async fn find(ports: &Ports, tip: &Tip, from_published: bool) -> Result<Option<Self>> {
        let mut generation = tip.pending.next();
        if !from_published && tip.pending.is_sound() {
            return Ok(Some(Self { base: tip.newest().clone(), generation, redo: None }));
        }
        let redo = Redo::of(tip);
        tell_of_strange(ports, tip).await?;
        let base = Box::pin(pass_taken_snapshots(ports, &redo, tip.shown.clone(), &mut generation)).await?;
        Ok(base.map(|base| Self { base, generation, redo: Some(redo) }))
    }
}

/// Tells of what can't be read among the generations: nobody who counts made it.
async fn tell_of_strange(ports: &Ports, tip: &Tip) -> Result<()> {
    let Some(generation) = tip.pending.strange() else { return Ok(()) };
    measure::gate_refusal();
    let reason = "it can't be read, or it is based on none that there is; look at who wrote it".to_owned();
    tracing::error!(generation, reason, "generation refused");
    ports.events.send(&[Event::GenerationRefused { generation, reason }]).await?;
    Ok(())
}

/// Uses up the numbers of snapshots that others took, with fences based on `base`; answers the last of them, or `base`. `None` where another
/// instance was faster.
async fn pass_taken_snapshots(
    ports: &Ports,
    redo: &Redo,
    mut base: Manifest,
    generation: &mut u64,
) -> Result<Option<Manifest>> {
    for _ in 1..2_u64.pow(redo.taken_snapshots.min(MOST_FENCES)) {
        let known = KnownBase::read(&*ports.store, &base, &[]).await?;
        let judged = Intake::unchanged(&base, read_parties(&*ports.store, &base).await?, ports.clock.now());
        let (nothing, bins) = (BTreeSet::new(), base.bins_keys());
        let batch = Additions::new(&nothing, &bins, &judged).numbered(*generation, base.serial);
        let Some(fence) = make_generation(&*ports.store, &base, &known, &[], batch, ports.policy(None)).await? else {
            continue;
        };
        if ledger::create_manifest(&*ports.store, &fence).await? == Written::Lost {
            return Ok(None);
        }
        *generation += 1;
        base = fence;
    }
    Ok(Some(base))
}
