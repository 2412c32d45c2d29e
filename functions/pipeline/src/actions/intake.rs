//! What a generation takes in of other parties: what operators decided, and what was delivered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tough::schema::Targets;
use tufline_tuf::delegations::{Decision, PartyChange, PartyState};
use tufline_tuf::generation::Others;
use tufline_tuf::{Addressed, Manifest, Parties, RoleName, Signed, Time};

use crate::error::{Result, StageError};
use crate::state::current::RefusedUpload;
use crate::state::index::Unread;

/// What a batch makes of the parties.
#[derive(Debug)]
pub(crate) struct Intake {
    /// When it was judged: the generation is made then.
    pub now: Time,
    /// For the generation.
    pub others: Others,
    /// To be stored before its manifest.
    pub record: Option<Addressed<Parties>>,
    /// The same: documents that were taken in.
    pub taken: Vec<Signed<Targets>>,
    /// Whether `targets` must say something else than in the base.
    pub changes_targets: bool,
    /// Files that were refused.
    pub refused: Vec<RefusedUpload>,
    /// Roles that were asked for, and whose files could not be read.
    pub unread: Unread,
    /// Why decisions could not be carried out.
    pub undecided: Option<Arc<StageError>>,
    /// Whether there are more decisions than one generation carries out.
    pub has_rest: bool,
}

impl Intake {
    /// The base's parties, with nothing changed.
    pub fn unchanged(base: &Manifest, parties: Parties, now: Time) -> Self {
        let others = Others { parties, digest: base.parties, decisions: base.decisions, ..Others::default() };
        let (taken, refused, unread) = (Vec::new(), Vec::new(), Unread::new());
        Self {
            now,
            others,
            record: None,
            taken,
            changes_targets: false,
            refused,
            unread,
            undecided: None,
            has_rest: false,
        }
    }

    /// Whether a generation that is based on `base` says anything new of other parties.
    pub fn changes(&self, base: &Manifest) -> bool {
        !self.others.changes.is_empty() || self.others.decisions != base.decisions
    }

    /// Carries out what operators decided, up to the decision `newest`, without what is `waived`.
    pub fn decide(&mut self, decided: &[Decision], newest: u64, waived: &BTreeSet<u64>) -> Result<()> {
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

    /// Takes `next` and what it changes.
    pub fn change(&mut self, mut next: Parties, changes: BTreeMap<RoleName, PartyChange>) -> Result<()> {
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
