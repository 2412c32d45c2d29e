//! Applies judged files to the parties, and checks that a generation's parties follow from its
//! base.

use std::collections::{BTreeMap, BTreeSet};

use tough::schema::Targets;

use super::super::decisions::Decision;
use super::super::names::root_of;
use super::super::parties::{Parties, PartyChange, PartyDocument, PartyState};
use super::files::{DeliveryRules, Files, Judged};
use super::judge::judge_files;
use crate::primitives::RoleName;
use crate::signing::Signed;

/// Checks that the parties `after` follow from `before` by operators' `decisions` and by the
/// documents in `files`: the new ones that `changes` names, and those that were published. Stages
/// that sign or show a generation call this, so that they need not trust its maker.
///
/// # Errors
/// One line that says why they don't follow.
pub fn follow(
    before: &Parties,
    decisions: &[Decision],
    files: &Files,
    after: &Parties,
    changes: &BTreeMap<RoleName, PartyChange>,
    rules: DeliveryRules,
) -> Result<(), String> {
    let mut next = Parties { made: after.made, ..before.decided(decisions) };
    let touched: BTreeSet<RoleName> = changes
        .keys()
        .filter_map(|role| after.party_of(role).map(|(own, _)| own.clone()))
        .collect();
    for own in touched {
        let documents = |parties: &Parties| {
            let documents = parties
                .roles_of(&own)
                .map(|role| (role.clone(), parties.documents.get(role).cloned()));
            documents.collect::<BTreeMap<_, _>>()
        };
        let Some(party) = next.parties.get(&own) else { continue };
        if Some(party) == after.parties.get(&own) && documents(&next) == documents(after) {
            continue;
        }
        let mine = |role: &RoleName| root_of(role) == own.as_str();
        let delivered = files.delivered.iter().filter(|(role, _)| mine(role));
        let included = files.included.iter().filter(|(role, _)| mine(role));
        let files = Files {
            delivered: delivered.map(|(role, file)| (role.clone(), file.clone())).collect(),
            included: included.map(|(role, bytes)| (role.clone(), bytes.clone())).collect(),
        };
        let judged = judge_files(&own, party, &next.documents, &files, rules);
        next = next.take(&own, &judged).0;
    }
    if next == *after {
        return Ok(());
    }
    Err("what it delegates to other parties follows from no decision of an operator and from no \
         document of theirs"
        .into())
}

impl Parties {
    /// The parties after [`judge_files`] judged the files of `role`, and the changes that this
    /// makes.
    #[must_use]
    pub fn take(
        &self,
        role: &RoleName,
        judged: &Judged,
    ) -> (Self, BTreeMap<RoleName, PartyChange>) {
        let (mut next, mut changes) = (self.clone(), BTreeMap::new());
        let Some(party) =
            next.parties.get_mut(role).filter(|party| party.state != PartyState::Removed)
        else {
            return (next, changes);
        };
        let before = party.state;
        match &judged.documents {
            Some(taken) => {
                party.state = PartyState::Listed;
                let below: BTreeSet<RoleName> =
                    taken.keys().filter(|below| *below != role).cloned().collect();
                party.below = below;
                for (role, taken) in taken.iter().filter(|(_, taken)| taken.is_new) {
                    let document = PartyDocument::of(&taken.signed);
                    next.documents.insert(role.clone(), document.clone());
                    let change = PartyChange {
                        state: PartyState::Listed,
                        document: Some(document),
                        upload: taken.upload.clone(),
                    };
                    changes.insert(role.clone(), change);
                }
            }
            None if before == PartyState::Listed => {
                let delivered = next.documents.contains_key(role);
                party.state = if delivered { PartyState::Suspended } else { PartyState::Waiting };
            }
            None => {}
        }
        let state = party.state;
        if state != before {
            changes.entry(role.clone()).or_insert(PartyChange {
                state,
                document: None,
                upload: None,
            });
        }
        (next, changes)
    }
}

impl PartyDocument {
    fn of(signed: &Signed<Targets>) -> Self {
        Self {
            version: signed.version(),
            length: signed.bytes().len() as u64,
            sha256: signed.sha256(),
            expires: signed.document().expires,
        }
    }
}
