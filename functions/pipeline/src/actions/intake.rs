//! What a generation takes in from outside the pipeline: operators' decisions and other parties'
//! deliveries.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tough::schema::Targets;
use tufline_tuf::delegations::{Decision, PartyChange, PartyState};
use tufline_tuf::generation::Others;
use tufline_tuf::{Addressed, Manifest, Parties, RoleName, Signed, Time};

use crate::error::{Result, StageError};
use crate::state::current::RejectedVersion;
use crate::state::index::Unread;

/// What a batch changes about the parties.
#[derive(Debug)]
pub(crate) struct Intake {
    /// When the deliveries were judged. The generation takes this as the time it was made.
    pub now: Time,
    /// What the next generation records about other parties.
    pub others: Others,
    /// The new record of parties, which must be stored before the manifest.
    pub record: Option<Addressed<Parties>>,
    /// Delivered documents that were taken in. They must be stored before the manifest too.
    pub taken: Vec<Signed<Targets>>,
    /// Whether the `targets` document must differ from the base's.
    pub changes_targets: bool,
    /// Deliveries that were rejected.
    pub rejected: Vec<RejectedVersion>,
    /// Roles whose deliveries the batch asked for and that could not be read.
    pub unread: Unread,
    /// Why the decisions could not be carried out; `None` where they were.
    pub undecided: Option<Arc<StageError>>,
    /// Whether there are more decisions than one generation carries out.
    pub has_rest: bool,
}

impl Intake {
    /// The base's parties, unchanged.
    pub fn unchanged(base: &Manifest, parties: Parties, now: Time) -> Self {
        let others = Others {
            parties,
            digest: base.parties,
            decisions: base.decisions,
            ..Others::default()
        };
        let (taken, rejected, unread) = (Vec::new(), Vec::new(), Unread::new());
        Self {
            now,
            others,
            record: None,
            taken,
            changes_targets: false,
            rejected,
            unread,
            undecided: None,
            has_rest: false,
        }
    }

    /// Whether a generation based on `base` changes anything about other parties.
    pub fn changes(&self, base: &Manifest) -> bool {
        !self.others.changes.is_empty() || self.others.decisions != base.decisions
    }

    /// Carries out the decisions `decided`. `newest` is the last decision that was looked at;
    /// `waived` are the numbers that were not carried out.
    pub fn decide(
        &mut self,
        decided: &[Decision],
        newest: u64,
        waived: &BTreeSet<u64>,
    ) -> Result<()> {
        let next = self.others.parties.decided(decided);
        let of = |parties: &Parties, role: &RoleName| parties.parties.get(role).cloned();
        let roles = decided.iter().map(|decision| &decision.role);
        let roles = roles.filter(|role| of(&self.others.parties, role) != of(&next, role));
        let change = |role: &RoleName| {
            let state = next.parties.get(role).map_or(PartyState::Removed, |party| party.state);
            (role.clone(), PartyChange { state, document: None, upload: None })
        };
        let changes = roles.map(change).collect();
        self.others.decisions = newest;
        self.others.waived.extend(waived);
        self.change(next, changes)
    }

    /// Replaces the parties by `next`, and records the `changes`.
    pub fn change(
        &mut self,
        mut next: Parties,
        changes: BTreeMap<RoleName, PartyChange>,
    ) -> Result<()> {
        let top = RoleName::targets();
        let delegations = |parties: &Parties| parties.delegations(&top, false, &[]);
        self.changes_targets |= delegations(&self.others.parties)? != delegations(&next)?;
        if next != self.others.parties {
            next.made = Some(self.now);
            let record = Addressed::try_from(next.clone())?;
            self.others.digest = Some(record.digest());
            self.record = Some(record);
        }
        self.others.parties = next;
        self.others.changes.extend(changes);
        Ok(())
    }
}
