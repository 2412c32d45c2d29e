//! Takes other parties' deliveries into a generation: reads, judges, and accepts or refuses them.
//!
//! As with uploads, rebuild believes only what it finds after it has read the base. A message about
//! a delivery only says where to look.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::future::OptionFuture;
use tough::schema::Targets;
use tufline_store::{Document, Head, Upload, VersionId};
use tufline_tuf::delegations::{PartyState, delegator};
use tufline_tuf::delivery::{
    Delivered, DeliveryRules, Files, Judged, LARGEST_DELIVERY, judge_files, named_below, refuse,
};
use tufline_tuf::generation::digest_of;
use tufline_tuf::{Manifest, Parties, Rejection, RoleName};

use crate::actions::decisions::carry_out;
use crate::actions::intake::Intake;
use crate::compute::compute;
use crate::concurrency::{HEADS_AT_ONCE, some_at_once};
use crate::error::{Result, StageError};
use crate::ports::Ports;
use crate::state::blobs::is_stored;
use crate::state::current::RejectedVersion;
use crate::state::parties::{PartyFiles, file_name, included_bytes, parse_targets};

/// Carries out operators' decisions, and looks at the deliveries of the roles in `asked`. What
/// cannot be read of one party changes nothing about it, and does not hold up the others.
pub(crate) async fn take_deliveries(
    ports: &Ports,
    base: &Manifest,
    parties_so_far: Parties,
    carries_out: bool,
    asked: &BTreeSet<RoleName>,
) -> Intake {
    let mut judged = Intake::unchanged(base, parties_so_far, ports.clock.now());
    if carries_out {
        judged.undecided = carry_out(&*ports.store, base, &mut judged).await.err().map(Arc::new);
    }
    let mut asked_parties: BTreeMap<RoleName, Vec<RoleName>> = BTreeMap::new();
    for role in asked {
        match judged.others.parties.party_of(role) {
            Some((party, found)) if found.state != PartyState::Removed => {
                asked_parties.entry(party.clone()).or_default().push(role.clone());
            }
            _ => match ports.deliveries.head(&file_name(role)).await {
                Ok(Head::Object(upload)) => {
                    let why = format!(
                        "nothing is delegated to {role}; an operator does that with `tufline \
                         delegation create`"
                    );
                    judged.rejected.push(RejectedVersion { upload, rejection: refuse(role, &why) });
                }
                Ok(Head::Gone { .. }) => {}
                Err(error) => _ = judged.unread.insert(role.clone(), Arc::new(error.into())),
            },
        }
    }
    for (party, asked) in asked_parties {
        if let Err(error) = take_files(ports, &party, asked.clone(), &mut judged).await {
            let error = Arc::new(error);
            judged.unread.extend(asked.into_iter().map(|role| (role, Arc::clone(&error))));
        }
    }
    judged
}

/// Looks at the files of a party. Those `asked` for may be new.
async fn take_files(
    ports: &Ports,
    party: &RoleName,
    asked: Vec<RoleName>,
    judged: &mut Intake,
) -> Result<()> {
    let parties = judged.others.parties.clone();
    let mut files = files(ports, &parties, party, asked).await?;
    settle_party(ports, parties, party, &mut files, judged).await
}

/// Judges the files of the party whose own role is `role`, and records the result in `judged`.
async fn settle_party(
    ports: &Ports,
    parties: Parties,
    role: &RoleName,
    found: &mut PartyFiles,
    judged: &mut Intake,
) -> Result<()> {
    let Some(party) = parties.parties.get(role) else { return Ok(()) };
    let rules = DeliveryRules { nested: ports.config.nested_delegations, now: judged.now };
    let mut rejections: BTreeMap<RoleName, Rejection> = BTreeMap::new();
    let settled = loop {
        let (own, whose) = (role.clone(), party.clone());
        let (documents, files) = (parties.documents.clone(), found.files.clone());
        let mut settled =
            compute(move || judge_files(&own, &whose, &documents, &files, rules)).await;
        rejections.append(&mut settled.rejections);
        let mut missing = missing_bytes(ports, &settled, &found.files).await?;
        missing.extend(not_storable(ports, &settled).await?);
        if missing.is_empty() {
            break settled;
        }
        // Judge again without these.
        for (role, rejection) in missing {
            found.files.delivered.remove(&role);
            rejections.insert(role, rejection);
        }
    };
    let (next, changes) = parties.take(role, &settled);
    let new = settled.documents.into_iter().flatten().filter(|(_, taken)| taken.is_new);
    judged.taken.extend(new.map(|(_, taken)| taken.signed));
    judged.change(next, changes)?;
    let uploads = rejections
        .into_iter()
        .filter_map(|(role, rejection)| Some((found.uploads.remove(&role)?, rejection)));
    judged
        .rejected
        .extend(uploads.map(|(upload, rejection)| RejectedVersion { upload, rejection }));
    Ok(())
}

/// The files of the party `role`: of its own role, of the roles that these files name, and of the
/// roles in `asked`.
async fn files(
    ports: &Ports,
    parties: &Parties,
    role: &RoleName,
    asked: Vec<RoleName>,
) -> Result<PartyFiles> {
    let (mut found, mut todo, mut seen) = (PartyFiles::default(), asked, BTreeSet::new());
    todo.push(role.clone());
    while let Some(role) = todo.pop() {
        if !seen.insert(role.clone()) || seen.len() > MOST_FILES {
            continue;
        }
        let (delivered, included) = futures::try_join!(
            delivered(ports, &role),
            included_bytes(&*ports.store, parties, &role)
        )?;
        if let Some((upload, delivered)) = delivered {
            todo.extend(below(&role, &delivered.bytes).await);
            found.files.delivered.insert(role.clone(), delivered);
            found.uploads.insert(role.clone(), upload);
        }
        if let Some(included) = included {
            todo.extend(below(&role, &included).await);
            found.files.included.insert(role, included);
        }
    }
    Ok(found)
}

/// The roles directly below `role` that its file names.
async fn below(role: &RoleName, file: &bytes::Bytes) -> Vec<RoleName> {
    let file = file.clone();
    let named = compute(move || named_below(&file)).await;
    named.into_iter().filter(|below| delegator(below) == *role).collect()
}

/// How many roles of one party are looked at.
const MOST_FILES: usize = 32;

/// The file that was delivered for `role`.
async fn delivered(ports: &Ports, role: &RoleName) -> Result<Option<(Upload, Delivered)>> {
    let Head::Object(upload) = ports.deliveries.head(&file_name(role)).await? else {
        return Ok(None);
    };
    // An unusable file holds no document, so it counts as absent.
    if upload.unusable.is_some() {
        return Ok(None);
    }
    let bytes = ports.deliveries.read(&upload, 0, LARGEST_DELIVERY + 1).await?;
    let version = upload.version.clone().map(|VersionId(version)| version);
    Ok(Some((upload, Delivered { bytes, upload: version })))
}

/// The new documents that list targets whose bytes are not stored, and why they are refused.
async fn missing_bytes(
    ports: &Ports,
    settled: &Judged,
    files: &Files,
) -> Result<BTreeMap<RoleName, Rejection>> {
    let mut missing = BTreeMap::new();
    let new = settled.documents.iter().flatten().filter(|(_, taken)| taken.is_new);
    for (role, taken) in new {
        let before = OptionFuture::from(
            files.included.get(role).cloned().map(|bytes| compute(move || parse_targets(&bytes))),
        );
        let before = before.await.flatten();
        let added = taken.signed.document().targets.iter().filter(|(name, target)| {
            before
                .as_ref()
                .is_none_or(|before: &Targets| before.targets.get(*name) != Some(*target))
        });
        let looks = added.map(|(name, target)| async move {
            let is_there = match digest_of(target) {
                Some(sha256) => is_stored(ports, &sha256, target.length).await?,
                // No bytes can match.
                None => false,
            };
            Ok::<_, StageError>((!is_there).then(|| name.raw().to_owned()))
        });
        let looked =
            some_at_once(HEADS_AT_ONCE, looks).await.into_iter().collect::<Result<Vec<_>>>()?;
        let names: BTreeSet<String> = looked.into_iter().flatten().collect();
        if let Some(first) = names.first() {
            let others = names.len() - 1;
            let why = format!(
                "the bytes of {first} and of {others} other targets are not stored here; upload \
                 them, and this file is looked at again"
            );
            missing.insert(role.clone(), refuse(role, &why));
        }
    }
    Ok(missing)
}

/// The new documents whose place in the ledger holds other bytes, and why they are refused. The
/// digest names the place, so a thief of rebuild's role who saw the file first could write there.
async fn not_storable(ports: &Ports, settled: &Judged) -> Result<BTreeMap<RoleName, Rejection>> {
    let mut refused = BTreeMap::new();
    let new = settled.documents.iter().flatten().filter(|(_, taken)| taken.is_new);
    for (role, taken) in new {
        let document = Document::delivered(&taken.signed);
        let stored = ports.store.bytes(document.key()).await?;
        if stored.is_some_and(|stored| stored != *document.bytes()) {
            let why = "it cannot be stored, since other bytes lie in its place; sign it again, with the next version";
            refused.insert(role.clone(), refuse(role, why));
        }
    }
    Ok(refused)
}
