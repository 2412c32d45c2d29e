//! Finds where a batch starts: at the newest generation or, if that is void, at the published one.
//! In the second case, all names that were changed since are looked at again.

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

/// If others take version numbers again and again, the gap that rebuild leaves grows fourfold each
/// time, up to this power of four. By then it is larger than any range that somebody can take.
const MOST_JUMPS: u32 = 13;

/// How many names the generation after void ones looks at again, at most: more would outlast a run.
/// If there are more, all of them wait for later generations.
const MOST_LOOKS: usize = 4000;

/// If others take snapshot versions again and again, the number of fences that use these up doubles
/// each time, up to this power of two.
const MOST_FENCES: u32 = 5;

/// What must be looked at again if the newest generation is void: everything changed since the
/// published generation. The next generation is based on the published one.
#[derive(Debug, Default)]
pub(crate) struct Redo {
    /// The targets to look at in the next generation.
    pub names: BTreeSet<TargetName>,
    /// Targets for later generations, where they are too many for one.
    pub later: BTreeSet<TargetName>,
    /// Targets whose bytes were missing. Hash must look at them first.
    pub unstored: BTreeSet<TargetName>,
    /// Other parties' roles whose deliveries must be looked at.
    pub roles: BTreeSet<RoleName>,
    /// The highest version that a document of the targets family may have got since.
    serial: u64,
    /// How many document versions others have taken.
    taken: u32,
    /// How many snapshot versions others have taken.
    taken_snapshots: u32,
}

impl Redo {
    fn of(tip: &Tip) -> Self {
        let mut redo = Self { serial: tip.shown.serial, ..Self::default() };
        let mut taken_deliveries = BTreeSet::new();
        for fault in tip.pending.refusals() {
            match fault {
                RecordedFault::Bytes(names) => redo.unstored.extend(names.iter().cloned()),
                RecordedFault::Taken(role, _) if *role == RoleName::snapshot() => {
                    redo.taken_snapshots += 1;
                }
                RecordedFault::Taken(role, version) => {
                    redo.taken += 1;
                    taken_deliveries.insert((role.clone(), *version));
                }
                RecordedFault::Root | RecordedFault::Void => {}
            }
        }
        for manifest in tip.pending.readable() {
            // A serial far above the published one is made up.
            if manifest.serial <= tip.shown.serial.saturating_add(LARGEST_JUMP / 2) {
                redo.serial = redo.serial.max(manifest.serial);
            }
            let names = manifest.changes.iter().map(|change| change.name.clone());
            redo.names.extend(names.filter(|name| !redo.unstored.contains(name)));
            let deliveries =
                manifest.deliveries().map(|(role, document)| (role.clone(), document.version));
            let deliveries = deliveries.filter(|delivery| !taken_deliveries.contains(delivery));
            redo.roles.extend(deliveries.map(|(role, _)| role));
        }
        if redo.names.len() > MOST_LOOKS {
            redo.later = std::mem::take(&mut redo.names);
        }
        redo
    }

    /// The documents of the next generation take versions above this one. If others took versions,
    /// it leaves a growing gap, so that rebuild does not meet taken versions again and again. The
    /// clock's nanoseconds decide the gap, so nobody can predict it.
    pub fn first(&self, now: Time) -> u64 {
        if self.taken == 0 {
            return self.serial;
        }
        let jump = 4_u64.pow(self.taken.min(MOST_JUMPS));
        let more = u64::from(now.subsec_nanosecond().unsigned_abs()) % jump;
        self.serial + jump + more
    }
}

/// Where a batch starts.
pub(crate) struct Start {
    /// The generation that the next one is based on.
    pub base: Manifest,
    /// The number of the next generation.
    pub generation: u64,
    /// What must be looked at again, if the base is the published generation.
    pub redo: Option<Redo>,
}

impl Start {
    /// Finds the start. `None` if another instance was faster.
    pub async fn find(ports: &Ports, tip: &Tip, from_published: bool) -> Result<Option<Self>> {
        let mut generation = tip.pending.next();
        if !from_published && tip.pending.is_sound() {
            return Ok(Some(Self { base: tip.newest().clone(), generation, redo: None }));
        }
        let redo = Redo::of(tip);
        tell_of_strange(ports, tip).await?;
        let base = Box::pin(pass_taken_snapshots(ports, &redo, tip.shown.clone(), &mut generation))
            .await?;
        Ok(base.map(|base| Self { base, generation, redo: Some(redo) }))
    }
}

/// Reports a manifest that cannot be read or has no base: the pipeline did not make it.
async fn tell_of_strange(ports: &Ports, tip: &Tip) -> Result<()> {
    let Some(generation) = tip.pending.strange() else { return Ok(()) };
    measure::gate_refusal();
    let reason = "it cannot be read or its base does not exist; look at who wrote it".to_owned();
    tracing::error!(generation, reason, "generation refused");
    ports.events.send(&[Event::GenerationRefused { generation, reason }]).await?;
    Ok(())
}

/// Uses up the snapshot versions that others took, with fences based on `base`. Returns the last
/// fence, or `base` if none was needed; `None` if another instance was faster.
async fn pass_taken_snapshots(
    ports: &Ports,
    redo: &Redo,
    mut base: Manifest,
    generation: &mut u64,
) -> Result<Option<Manifest>> {
    for _ in 1..2_u64.pow(redo.taken_snapshots.min(MOST_FENCES)) {
        let known = KnownBase::read(&*ports.store, &base, &[]).await?;
        let judged =
            Intake::unchanged(&base, read_parties(&*ports.store, &base).await?, ports.clock.now());
        let (nothing, bins) = (BTreeSet::new(), base.bins_keys());
        let batch = Additions::new(&nothing, &bins, &judged).numbered(*generation, base.serial);
        let Some(fence) =
            make_generation(&*ports.store, &base, &known, &[], batch, ports.policy(None)).await?
        else {
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
