//! The judgement that sign and publish each make for themselves, before a key signs or a timestamp shows what a stage before made.
//!
//! Three questions, and none of them is put to whoever made the generation. Does it follow from what is published and from its own changes
//! ([`tufline_tuf::replay`])? Do the uploads say so, of each name that devices would see changed ([`crate::justify`])? Have operators decided,
//! or other parties signed, what it delegates to these ([`tufline_tuf::delivery::follow`])?
//!
//! *Invariant*: what a judgement costs is that of the change: as many documents as it changes, and as many looks at uploads as names.

use std::collections::{BTreeMap, BTreeSet};

use futures::stream::{self, StreamExt};
use tough::schema::Targets;
use tufline_store::{Key, OnlineRole, Store, VersionId};
use tufline_tuf::delivery::{Delivered, Files, Rules as DeliveryRules, follow};
use tufline_tuf::gate::{Fault, Refused};
use tufline_tuf::generation::Versions;
use tufline_tuf::index::Page;
use tufline_tuf::parties::{Decision, PartyEdit};
use tufline_tuf::replay::{Chain, Replay, Replayed, Rules, places};
use tufline_tuf::{
    Addressed, Content, Draft, Manifest, Outcome, Parties, RoleEntry, RoleKeys, RoleName, TargetName, verify,
};

use crate::index::{draft, index};
use crate::justify::{Justified, justify};
use crate::ledger;
use crate::parties::parties;
use crate::ports::{HEADS_AT_ONCE, Ports, REQUESTS_AT_ONCE, Result, StageError, at_once, some_at_once};

/// What devices see, as the base of a judgement.
pub(crate) struct Shown<'a> {
    /// The manifest.
    pub manifest: &'a Manifest,
    /// What it delegates to other parties.
    pub parties: &'a Parties,
    /// All versions that devices see.
    pub versions: &'a Versions,
}

/// What is not for devices to see.
#[derive(Debug)]
pub(crate) enum Objection {
    /// A generation must never be signed or shown, nor any that is based on it.
    Refused(Refused),
    /// The uploads don't say, or no longer, what these names would be: the next generation may.
    PassedOver {
        /// The names.
        names: Vec<TargetName>,
        /// Whether a receipt says otherwise than the bytes.
        otherwise: bool,
    },
}

impl From<Refused> for Objection {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

/// What a judgement answers, beside requests that failed.
pub(crate) type Judged<T> = Result<std::result::Result<T, Objection>>;

/// Answers the objection out of a function.
macro_rules! pass {
    ($judged:expr) => {
        match $judged {
            Ok(passed) => passed,
            Err(objection) => return Ok(Err(objection.into())),
        }
    };
}
pub(crate) use pass;

/// The parties of each of the generations `waiting`, if they follow from those before.
pub(crate) async fn parties_of(ports: &Ports, shown: &Shown<'_>, waiting: &[&Manifest]) -> Judged<Vec<Parties>> {
    let (mut all, mut before, mut before_parties) = (Vec::new(), shown.manifest, shown.parties.clone());
    for manifest in waiting {
        let same = (manifest.parties, manifest.decisions) == (before.parties, before.decisions);
        if !same || !manifest.party_changes.is_empty() {
            let objection = follows(ports, before, &before_parties, manifest).await?;
            before_parties = pass!(objection);
        }
        all.push(before_parties.clone());
        before = manifest;
    }
    Ok(Ok(all))
}

/// What `manifest` delegates to other parties, if that follows from `before`.
async fn follows(ports: &Ports, before: &Manifest, before_parties: &Parties, manifest: &Manifest) -> Judged<Parties> {
    let store = &*ports.store;
    let void = |reason: String| Ok(Err(Refused { generation: manifest.generation, fault: Fault::Void, reason }.into()));
    let after = match parties(store, manifest).await {
        Ok(after) => after,
        Err(StageError::Store(error)) => return Err(error.into()),
        Err(error) => return void(format!("what it delegates to other parties can't be read: {error}")),
    };
    let mut decided: Vec<Decision> = Vec::new();
    for number in before.decisions + 1..=manifest.decisions {
        match ledger::read(store, &Key::Decision(number)).await {
            Ok(None) => return void(format!("it carries out decision {number}, which nobody made")),
            // A delegation may have come to hide targets. Nobody may leave out that a party is removed.
            Ok(Some(Decision { edit: PartyEdit::Create { .. }, .. })) | Err(StageError::Record(..))
                if manifest.waived.contains(&number) => {}
            Ok(Some(decision)) => decided.push(decision),
            Err(StageError::Record(..)) => {
                return void(format!("it carries out decision {number}, which nobody can read"));
            }
            Err(error) => return Err(error),
        }
    }
    let mut files = Files::default();
    for (role, document) in manifest.deliveries() {
        let Some(bytes) = store.bytes(&Key::Delivered(document.sha256)).await? else {
            return void(format!("the document of {role} that it takes in is not there"));
        };
        files.delivered.insert(role.clone(), Delivered { bytes, upload: None });
    }
    let touched = manifest.party_changes.keys().filter_map(|role| after.party_of(role).map(|(own, _)| own));
    let touched: BTreeSet<RoleName> = touched.flat_map(|own| before_parties.roles_of(own).cloned()).collect();
    for role in touched {
        let Some(document) = before_parties.documents.get(&role) else { continue };
        if let Some(bytes) = store.bytes(&Key::Delivered(document.sha256)).await? {
            files.included.insert(role, bytes);
        }
    }
    let rules = DeliveryRules { nested: ports.config.nested_delegations, now: manifest.created };
    match follow(before_parties, &decided, &files, &after, &manifest.party_changes, rules) {
        Ok(()) => Ok(Ok(after)),
        Err(reason) => void(reason),
    }
}

/// Generations on trial: those that wait up to a candidate, each based on the one before.
pub(crate) struct Trial<'a> {
    replay: Replay<'a>,
    suspects: Suspects,
    adopted: bool,
}

/// The names that the uploads say something else of than a generation does.
#[derive(Debug, Default)]
struct Suspects {
    lately: BTreeSet<TargetName>,
    not_now: BTreeSet<TargetName>,
    otherwise: BTreeSet<TargetName>,
}

impl<'a> Trial<'a> {
    /// Begins: `waiting` are the generations with their parties, the last one is the candidate. Asks the uploads of every name.
    pub async fn open(ports: &Ports, shown: &Shown<'a>, waiting: &'a [(&'a Manifest, &'a Parties)]) -> Judged<Self> {
        let chain = Chain { published: shown.manifest, parties: shown.parties, versions: shown.versions, waiting };
        let keys = shown.manifest.bins_keys();
        let replaces_key = waiting.iter().any(|(manifest, _)| manifest.bins_keys() != keys);
        let held = if replaces_key { ports.signer.public_keys(OnlineRole::Bins).await? } else { Vec::new() };
        let rules = Rules {
            now: ports.clock.now(),
            policy: ports.policy(None).recorded,
            bins_keys: &held,
            offline_targets: ports.config.offline_targets,
        };
        let places = places(waiting);
        let (index, suspects) =
            futures::try_join!(index(&*ports.store, shown.manifest, &places), suspects(ports, waiting))?;
        let replay = pass!(Replay::open(chain, index, rules));
        Ok(Ok(Self { adopted: replay.wanted_adopted().is_some(), replay, suspects }))
    }

    /// The published documents to give to [`Trial::fold`]: their roles, and their entries.
    pub fn wanted(&self) -> Vec<(RoleName, RoleEntry)> {
        self.replay.wanted()
    }

    /// What devices would see in the place of a published document; every name in it is justified.
    pub fn fold(&mut self, document: &Draft<Targets>) -> std::result::Result<Vec<Replayed>, Objection> {
        let replayed = self.replay.fold(document)?;
        let net = self.replay.net();
        let among = |suspects: &BTreeSet<TargetName>| {
            suspects.iter().filter(|name| net.contains_key(*name)).cloned().collect::<Vec<_>>()
        };
        let (otherwise, not_now) = (among(&self.suspects.otherwise), among(&self.suspects.not_now));
        if !otherwise.is_empty() {
            return Err(Objection::PassedOver { names: otherwise, otherwise: true });
        }
        if !not_now.is_empty() {
            return Err(Objection::PassedOver { names: not_now, otherwise: false });
        }
        Ok(replayed)
    }

    /// The names that would be shown as they were lately, and are not any more.
    pub fn lately(&self) -> Vec<TargetName> {
        self.suspects.lately.iter().cloned().collect()
    }

    /// Whether people signed the candidate's document of `targets`.
    pub fn adopted(&self) -> bool {
        self.adopted
    }

    /// Takes the document of `targets` that people signed, where the candidate has one.
    pub async fn adopt(&mut self, ports: &Ports, keys: &RoleKeys, candidate: u64) -> Judged<()> {
        let Some(version) = self.replay.wanted_adopted() else { return Ok(Ok(())) };
        let role = RoleName::targets();
        let bytes = ports.store.bytes(&Key::Metadata { role: role.clone(), version }).await?;
        let void =
            |reason: String| Refused { generation: candidate, fault: Fault::Role(role.clone(), version), reason };
        let bytes = pass!(bytes.ok_or_else(|| void("the targets document that people signed is not there".into())));
        let signed = verify(bytes, keys).and_then(|signed| signed.expect_version(version));
        pass!(self.replay.adopt(&pass!(signed.map_err(|error| void(error.to_string())))));
        Ok(Ok(()))
    }

    /// Ends: numbers, counts and the candidate's index, which must be in the ledger for the generations to come.
    pub async fn finish(self, ports: &Ports, candidate: u64) -> Judged<()> {
        let pages: Vec<Addressed<Page>> = pass!(self.replay.finish());
        // Read, not only asked for: whoever made the generation may have stored anything there, for good.
        let looks = pages.iter().map(|page| async move {
            let stored = ports.store.bytes(&Key::Page(page.digest())).await?;
            Ok::<_, StageError>(stored.as_ref() == Some(page.bytes()))
        });
        for is_there in at_once(looks).await {
            if !is_there? {
                let reason = "a page of its index is not in the ledger, or other bytes are in its place".into();
                return Ok(Err(Refused { generation: candidate, fault: Fault::Void, reason }.into()));
            }
        }
        Ok(Ok(()))
    }
}

/// Asks the uploads of every name that these generations change, as the last of them leaves it.
async fn suspects(ports: &Ports, waiting: &[(&Manifest, &Parties)]) -> Result<Suspects> {
    let mut claims: BTreeMap<&TargetName, (Option<VersionId>, Option<&Content>)> = BTreeMap::new();
    for change in waiting.iter().flat_map(|(manifest, _)| &manifest.changes) {
        let content = match &change.outcome {
            Outcome::Set(content) => Some(content),
            Outcome::Removed => None,
            Outcome::Refused(_) | Outcome::Delegated(_) => continue,
        };
        claims.insert(&change.name, (change.version.clone().map(VersionId), content));
    }
    let looks = claims.into_iter().map(|(name, (version, content))| async move {
        Ok::<_, StageError>((name, justify(ports, name, version.as_ref(), content).await?))
    });
    let mut suspects = Suspects::default();
    for looked in some_at_once(HEADS_AT_ONCE, looks).await {
        let (name, justified) = looked?;
        match justified {
            Justified::Yes => {}
            Justified::Lately => _ = suspects.lately.insert(name.clone()),
            Justified::NotNow => _ = suspects.not_now.insert(name.clone()),
            Justified::Otherwise => _ = suspects.otherwise.insert(name.clone()),
        }
    }
    Ok(suspects)
}

/// Reads the published documents that a trial wants, some at a time, in the order in which they are wanted.
pub(crate) fn documents(
    store: &dyn Store,
    wanted: Vec<(RoleName, RoleEntry)>,
) -> impl stream::Stream<Item = Result<Draft<Targets>>> + '_ {
    let reads: Vec<_> =
        wanted.into_iter().map(|(role, entry)| async move { draft(store, &role, &entry).await }).collect();
    stream::iter(reads).buffered(REQUESTS_AT_ONCE)
}
