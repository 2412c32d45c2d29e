//! Other parties' roles in a generation: what was delivered is read, judged and taken in, or refused.
//!
//! Like an upload a delivered file is only believed as it is found after the base was read, and a message about it says nothing but
//! where to look.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::OptionFuture;
use tough::schema::{self, Targets};
use tufline_store::{Document, Head, Key, Store, Upload, VersionId};
use tufline_tuf::delivery::{Delivered, Files, LARGEST_DELIVERY, Rules, Settled, named_below, refuse, settle};
use tufline_tuf::generation::Others;
use tufline_tuf::parties::{Decision, PartyChange, PartyState, delegator};
use tufline_tuf::{Addressed, Manifest, Parties, Refusal, RoleKeys, RoleName, Sha256, Signed, Time, verify_published};

use crate::compute::compute;
use crate::current::RefusedUpload;
use crate::delegation::carry_out;
use crate::hash::is_stored;
use crate::index::{Unread, record};
use crate::ports::{HEADS_AT_ONCE, Ports, Result, StageError, some_at_once};

/// What a generation delegates to other parties.
///
/// # Errors
/// [`StageError::Missing`] where the ledger lost it.
pub async fn parties(store: &dyn Store, manifest: &Manifest) -> Result<Parties> {
    let Some(digest) = manifest.parties else { return Ok(Parties::default()) };
    Ok(Parties::from_bytes(&digest, &record(store, &Key::Parties(digest)).await?)?)
}

/// What a batch makes of the parties.
#[derive(Debug)]
pub(crate) struct Judged {
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
    pub undecided: Option<StageError>,
    /// Whether there are more decisions than one generation carries out.
    pub has_rest: bool,
}

impl Judged {
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

/// Carries out what operators decided, and looks at the files of these roles. What can't be read of one party changes nothing of it, and
/// holds up no other.
pub(crate) async fn judge(
    ports: &Ports,
    base: &Manifest,
    parties_so_far: Parties,
    carries_out: bool,
    asked: &BTreeSet<RoleName>,
) -> Judged {
    let mut judged = Judged::unchanged(base, parties_so_far, ports.clock.now());
    if carries_out {
        judged.undecided = carry_out(&*ports.store, base, &mut judged).await.err();
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
                        "nothing is delegated to {role}; an operator does that with `tufline delegation create`"
                    );
                    judged.refused.push(RefusedUpload { upload, refusal: refuse(role, &why) });
                }
                Ok(Head::Gone { .. }) => {}
                Err(error) => _ = judged.unread.insert(role.clone(), error.into()),
            },
        }
    }
    for (party, asked) in asked_parties {
        if let Err(error) = take_files(ports, &party, asked.clone(), &mut judged).await {
            let error = error.to_string();
            judged.unread.extend(asked.into_iter().map(|role| (role, StageError::Refused(error.clone()))));
        }
    }
    judged
}

/// Looks at the files of a party, of which those `asked` for are new.
async fn take_files(ports: &Ports, party: &RoleName, asked: Vec<RoleName>, judged: &mut Judged) -> Result<()> {
    let parties = judged.others.parties.clone();
    let mut files = files(ports, &parties, party, asked).await?;
    settle_party(ports, parties, party, &mut files, judged).await
}

/// Settles the files of `role`, a party's own, and takes what comes of it.
async fn settle_party(
    ports: &Ports,
    parties: Parties,
    role: &RoleName,
    found: &mut Found,
    judged: &mut Judged,
) -> Result<()> {
    let Some(party) = parties.parties.get(role) else { return Ok(()) };
    let rules = Rules { nested: ports.config.nested_delegations, now: judged.now };
    let mut refusals: BTreeMap<RoleName, Refusal> = BTreeMap::new();
    let settled = loop {
        let (own, whose) = (role.clone(), party.clone());
        let (documents, files) = (parties.documents.clone(), found.files.clone());
        let mut settled = compute(move || settle(&own, &whose, &documents, &files, rules)).await;
        refusals.append(&mut settled.refusals);
        let mut missing = missing_bytes(ports, &settled, &found.files).await?;
        missing.extend(not_storable(ports, &settled).await?);
        if missing.is_empty() {
            break settled;
        }
        // Without these.
        for (role, refusal) in missing {
            found.files.delivered.remove(&role);
            refusals.insert(role, refusal);
        }
    };
    let (next, changes) = parties.take(role, &settled);
    let new = settled.documents.into_iter().flatten().filter(|(_, taken)| taken.is_new);
    judged.taken.extend(new.map(|(_, taken)| taken.signed));
    judged.change(next, changes)?;
    let uploads = refusals.into_iter().filter_map(|(role, refusal)| Some((found.uploads.remove(&role)?, refusal)));
    judged.refused.extend(uploads.map(|(upload, refusal)| RefusedUpload { upload, refusal }));
    Ok(())
}

/// The files of a party, and the uploads that they were.
#[derive(Default)]
pub(crate) struct Found {
    pub files: Files,
    uploads: BTreeMap<RoleName, Upload>,
}

/// The files of the party `role`: of its own role, of those that are named in them, and of those `asked` for.
async fn files(ports: &Ports, parties: &Parties, role: &RoleName, asked: Vec<RoleName>) -> Result<Found> {
    let (mut found, mut todo, mut seen) = (Found::default(), asked, BTreeSet::new());
    todo.push(role.clone());
    while let Some(role) = todo.pop() {
        if !seen.insert(role.clone()) || seen.len() > MOST_FILES {
            continue;
        }
        let (delivered, included) =
            futures::try_join!(delivered(ports, &role), included_bytes(&*ports.store, parties, &role))?;
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

/// The roles below `role` that a file of it names.
async fn below(role: &RoleName, file: &bytes::Bytes) -> Vec<RoleName> {
    let file = file.clone();
    let named = compute(move || named_below(&file)).await;
    named.into_iter().filter(|below| delegator(below) == *role).collect()
}

/// So many roles of a party are looked at.
const MOST_FILES: usize = 32;

/// What was taken in of the party `role` so far.
pub(crate) async fn included(store: &dyn Store, parties: &Parties, role: &RoleName) -> Result<Found> {
    let mut found = Found::default();
    for role in parties.roles_of(role) {
        if let Some(bytes) = included_bytes(store, parties, role).await? {
            found.files.included.insert(role.clone(), bytes);
        }
    }
    Ok(found)
}

async fn included_bytes(store: &dyn Store, parties: &Parties, role: &RoleName) -> Result<Option<bytes::Bytes>> {
    let Some(document) = parties.documents.get(role) else { return Ok(None) };
    Ok(store.bytes(&Key::Delivered(document.sha256)).await?)
}

/// The file that was delivered for `role`.
async fn delivered(ports: &Ports, role: &RoleName) -> Result<Option<(Upload, Delivered)>> {
    let Head::Object(upload) = ports.deliveries.head(&file_name(role)).await? else { return Ok(None) };
    // No document can be in it: as if there were none.
    if upload.unusable.is_some() {
        return Ok(None);
    }
    let bytes = ports.deliveries.read(&upload, 0, LARGEST_DELIVERY + 1).await?;
    let version = upload.version.clone().map(|VersionId(version)| version);
    Ok(Some((upload, Delivered { bytes, upload: version })))
}

/// Where the file of `role` is among the deliveries.
pub(crate) fn file_name(role: &RoleName) -> String {
    format!("{role}.json")
}

/// The new documents that list targets whose bytes aren't there, and why they are refused.
async fn missing_bytes(ports: &Ports, settled: &Settled, files: &Files) -> Result<BTreeMap<RoleName, Refusal>> {
    let mut missing = BTreeMap::new();
    let new = settled.documents.iter().flatten().filter(|(_, taken)| taken.is_new);
    for (role, taken) in new {
        let before = OptionFuture::from(files.included.get(role).cloned().map(|bytes| compute(move || parse(&bytes))));
        let before = before.await.flatten();
        let added = taken.signed.document().targets.iter().filter(|(name, target)| {
            before.as_ref().is_none_or(|before: &Targets| before.targets.get(*name) != Some(*target))
        });
        let looks = added.map(|(name, target)| async move {
            let sha256: Option<[u8; 32]> = target.hashes.sha256.to_vec().try_into().ok();
            let is_there = match sha256 {
                Some(sha256) => is_stored(ports, &Sha256::from_bytes(sha256), target.length).await?,
                None => false,
            };
            Ok::<_, StageError>((!is_there).then(|| name.raw().to_owned()))
        });
        let looked = some_at_once(HEADS_AT_ONCE, looks).await.into_iter().collect::<Result<Vec<_>>>()?;
        let names: BTreeSet<String> = looked.into_iter().flatten().collect();
        if let Some(first) = names.first() {
            let others = names.len() - 1;
            let why = format!(
                "the bytes of {first} and of {others} other targets aren't here; upload them, and this file is looked at again"
            );
            missing.insert(role.clone(), refuse(role, &why));
        }
    }
    Ok(missing)
}

/// The new documents in whose places in the ledger other bytes lie, and why they are refused: the digest decides the place, and a thief of
/// rebuild's role may have seen the file first.
async fn not_storable(ports: &Ports, settled: &Settled) -> Result<BTreeMap<RoleName, Refusal>> {
    let mut refused = BTreeMap::new();
    let new = settled.documents.iter().flatten().filter(|(_, taken)| taken.is_new);
    for (role, taken) in new {
        let document = Document::delivered(&taken.signed);
        let stored = ports.store.bytes(document.key()).await?;
        if stored.is_some_and(|stored| stored != *document.bytes()) {
            let why =
                "it can't be stored, since something else lies in its place; sign it again, with the next version";
            refused.insert(role.clone(), refuse(role, why));
        }
    }
    Ok(refused)
}

fn parse(bytes: &[u8]) -> Option<Targets> {
    serde_json::from_slice::<schema::Signed<Targets>>(bytes).ok().map(|document| document.signed)
}

/// A document that was taken in, verified once more under what delegates to it.
///
/// # Errors
/// [`StageError::Missing`], [`StageError::Document`].
pub(crate) async fn document(store: &dyn Store, parties: &Parties, role: &RoleName) -> Result<Signed<Targets>> {
    let no_keys = || tufline_tuf::VerifyError::NoKeys { role: role.clone() };
    let above = delegator(role);
    let delegations = if above == RoleName::targets() {
        parties.parties.get(role).ok_or_else(no_keys)?.delegation(role)?
    } else {
        let bytes = required(store, parties, &above).await?;
        parse(&bytes).and_then(|document| document.delegations).ok_or_else(no_keys)?
    };
    let bytes = required(store, parties, role).await?;
    let version = parties.documents.get(role).map_or(0, |document| document.version);
    let keys = RoleKeys::in_delegations(&delegations, role)?;
    Ok(compute(move || verify_published::<Targets>(bytes, &keys)).await?.expect_version(version)?)
}

async fn required(store: &dyn Store, parties: &Parties, role: &RoleName) -> Result<bytes::Bytes> {
    let missing = || {
        let place = format!("the delivered document of {role}");
        StageError::Missing(place, "restore it from the ledger's older object versions")
    };
    included_bytes(store, parties, role).await?.ok_or_else(missing)
}
