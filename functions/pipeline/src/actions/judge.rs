//! Judges a generation. Sign does so before any key signs, and publish before a timestamp shows it.
//! Each judges for itself.
//!
//! A judgement answers three questions, and asks none of them of the stage that made the
//! generation:
//!
//! - Does the generation follow from what is published and from its own changes
//!   ([`tufline_tuf::replay`])?
//! - Do the uploads justify every name that devices would see changed (`justify.rs`)?
//! - Did operators decide, or other parties sign, what it delegates to these parties
//!   ([`tufline_tuf::delivery::follow`])?
//!
//! *Invariant*: the cost of a judgement depends on the change only: one read for each document that
//! changes, and one look at the uploads for each name that devices would see changed.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures::stream::{self, StreamExt};
use tough::schema::{Root, Targets};
use tufline_store::{Key, OnlineRole, Store, VersionId};
use tufline_tuf::delegations::{Decision, PartyEdit};
use tufline_tuf::delivery::{Delivered, DeliveryRules, Files, follow};
use tufline_tuf::gate::{Fault, Refused};
use tufline_tuf::generation::Versions;
use tufline_tuf::index::Page;
use tufline_tuf::replay::{Replay, ReplayRules, Replayed, Succession, places};
use tufline_tuf::{
    Addressed, Content, Draft, Manifest, Outcome, Parties, RoleEntry, RoleKeys, RoleName,
    TargetName, verify,
};

use crate::actions::decisions::{MOST_DECISIONS, decisions};
use crate::actions::justify::justify;
use crate::concurrency::{HEADS_AT_ONCE, REQUESTS_AT_ONCE, at_once, some_at_once};
use crate::error::{Result, StageError};
use crate::justified::Justified;
use crate::ports::{Judging, Ports, Said};
use crate::state::index::{read_draft, read_index};
use crate::state::ledger::{self, Published};
use crate::state::parties::read_parties;

/// The published generation, as the base of a judgement.
pub(crate) struct ShownState {
    /// The manifest of the published generation.
    pub manifest: Manifest,
    /// The parties that it delegates to.
    pub parties: Parties,
    /// The versions of all roles that devices see.
    pub versions: Versions,
}

impl ShownState {
    /// Reads the published generation. Its snapshot must verify under `root`.
    pub async fn read(store: &dyn Store, root: &Root, published: &Published) -> Result<Self> {
        Self::of(store, published, ledger::published_snapshot(store, published), root).await
    }

    /// The same for a caller that has the snapshot's bytes already, or is reading them.
    pub async fn of(
        store: &dyn Store,
        published: &Published,
        snapshot: impl Future<Output = Result<Bytes>>,
        root: &Root,
    ) -> Result<Self> {
        let (snapshot, manifest) =
            futures::try_join!(snapshot, ledger::manifest(store, published.generation))?;
        let versions = ledger::versions_in(snapshot, root, published)?;
        Ok(Self { parties: read_parties(store, &manifest).await?, manifest, versions })
    }
}

/// Why devices may not see a generation.
#[derive(Debug)]
pub(crate) enum Objection {
    /// The generation must never be signed or shown, and neither may any that is based on it.
    Refused(Refused),
    /// The uploads do not justify the content of these names, or no longer do. The next generation
    /// may.
    PassedOver {
        /// The names in question.
        names: Vec<TargetName>,
        /// Whether a receipt has another digest than the bytes.
        otherwise: bool,
    },
}

impl From<Refused> for Objection {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

/// The result of a judgement. The outer error is a request that failed.
pub(crate) type Judgement<T> = Result<std::result::Result<T, Objection>>;

/// Unwraps a judged value, or returns its objection from the enclosing function.
macro_rules! pass {
    ($judged:expr) => {
        match $judged {
            Ok(passed) => passed,
            Err(objection) => return Ok(Err(objection.into())),
        }
    };
}
pub(crate) use pass;

/// The parties of each generation in `waiting`, if they follow from the generation before.
pub(crate) async fn parties_of(
    ports: &Ports,
    shown: &ShownState,
    waiting: &[&Manifest],
) -> Judgement<Vec<Parties>> {
    let (mut all, mut before, mut before_parties) =
        (Vec::new(), &shown.manifest, shown.parties.clone());
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

/// The parties that `manifest` delegates to, if they follow from `before`.
async fn follows(
    ports: &Ports,
    before: &Manifest,
    before_parties: &Parties,
    manifest: &Manifest,
) -> Judgement<Parties> {
    let store = &*ports.store;
    let void = |reason: String| {
        Ok(Err(Refused { generation: manifest.generation, fault: Fault::Void, reason }.into()))
    };
    let after = match read_parties(store, manifest).await {
        Ok(after) => after,
        Err(error) if error.is_request() => return Err(error),
        Err(error) => return void(format!("its record of other parties cannot be read: {error}")),
    };
    let count = manifest.decisions.saturating_sub(before.decisions);
    if count > MOST_DECISIONS {
        return void(format!(
            "it carries out {count} decisions, more than the {MOST_DECISIONS} allowed at once"
        ));
    }
    let found = decisions(store, before.decisions, manifest.decisions).await?;
    if (found.len() as u64) < count {
        let number = before.decisions + found.len() as u64 + 1;
        return void(format!("it carries out decision {number}, which nobody made"));
    }
    let mut decided: Vec<Decision> = Vec::new();
    for (number, decision) in found {
        match decision {
            // Rebuild may waive a delegation, which may have come to hide targets. It may not waive
            // the removal of a party.
            Ok(Decision { edit: PartyEdit::Create { .. }, .. }) | Err(_)
                if manifest.waived.contains(&number) => {}
            Ok(decision) => decided.push(decision),
            Err(_) => {
                return void(format!("it carries out decision {number}, which nobody can read"));
            }
        }
    }
    let mut files = Files::default();
    for (role, document) in manifest.deliveries() {
        let Some(bytes) = store.bytes(&Key::Delivered(document.sha256)).await? else {
            return void(format!("it takes in a document of {role} that is not stored"));
        };
        files.delivered.insert(role.clone(), Delivered { bytes, upload: None });
    }
    let touched =
        manifest.party_changes.keys().filter_map(|role| after.party_of(role).map(|(own, _)| own));
    let touched: BTreeSet<RoleName> =
        touched.flat_map(|own| before_parties.roles_of(own).cloned()).collect();
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

/// The judgement of the generations that wait, up to a candidate. Each is based on the one before.
pub(crate) struct Trial<'a> {
    replay: Replay<'a>,
    /// What the uploads said about some names before their documents were read, with the content
    /// that was asked about.
    early: BTreeMap<&'a TargetName, (Option<&'a Content>, Justified)>,
    /// What the uploads said in earlier runs.
    judging: Judging,
    /// How many names this run asked the uploads about.
    looked: usize,
    /// The names whose change is justified: the uploads were asked about what devices would see.
    asked: BTreeSet<TargetName>,
    lately: Vec<TargetName>,
    adopted: bool,
}

impl<'a> Trial<'a> {
    /// Opens the judgement. `waiting` are the generations with their parties; the last one is the
    /// candidate.
    pub async fn open(
        ports: &Ports,
        shown: &'a ShownState,
        waiting: &'a [(&'a Manifest, &'a Parties)],
    ) -> Judgement<Self> {
        let chain = Succession {
            published: &shown.manifest,
            parties: &shown.parties,
            versions: &shown.versions,
            waiting,
        };
        let keys = shown.manifest.bins_keys();
        let replaces_key = waiting.iter().any(|(manifest, _)| manifest.bins_keys() != keys);
        let held = if replaces_key {
            ports.signer.public_keys(OnlineRole::Bins).await?
        } else {
            Vec::new()
        };
        let rules = ReplayRules {
            now: ports.clock.now(),
            policy: ports.policy(None).recorded,
            bins_keys: &held,
            offline_targets: ports.config.offline_targets,
        };
        // If none waits, the candidate is what devices see, as in the replay.
        let candidate = waiting.last().map_or(&shown.manifest, |(manifest, _)| manifest).generation;
        let judging = ports.deadline.take(shown.manifest.generation, candidate, rules.now);
        let places = places(waiting);
        let (index, early) = futures::join!(
            read_index(&*ports.store, &shown.manifest, &places),
            early(ports, waiting, &judging.said)
        );
        let replay = pass!(Replay::open(chain, index?, rules));
        let (asked, lately) = (BTreeSet::new(), Vec::new());
        Ok(Ok(Self {
            adopted: replay.wanted_adopted().is_some(),
            replay,
            looked: early.len(),
            early,
            judging,
            asked,
            lately,
        }))
    }

    /// The published documents that the caller must give to [`Trial::fold`]: their roles and
    /// entries.
    pub fn wanted(&self) -> Vec<(RoleName, RoleEntry)> {
        self.replay.wanted()
    }

    /// Replays the changes of one published document, and returns what devices would see in its
    /// place. No key may sign that before [`Trial::justify`] passes.
    pub fn fold(
        &mut self,
        document: &Draft<Targets>,
    ) -> std::result::Result<Vec<Replayed>, Refused> {
        self.replay.fold(document)
    }

    /// How many names devices would see changed by the documents folded so far, without the uploads
    /// having been asked about them.
    pub fn unjustified(&self) -> usize {
        self.replay.net().len() - self.asked.len()
    }

    /// Asks the uploads about the names that devices would see changed, and about no others:
    /// nothing else that a generation says about names has an effect. If the time is over before
    /// all were asked, it keeps the answers for the next run.
    pub async fn justify(&mut self, ports: &Ports) -> Judgement<()> {
        let unasked = self.replay.net().iter().filter(|(name, _)| !self.asked.contains(*name));
        let (early, said) = (&self.early, &self.judging.said);
        let looks = unasked.map(|(name, net)| async move {
            let content = net.content.as_ref();
            if let Some((_, justified)) =
                said.get(name).filter(|(said_of, _)| said_of.as_ref() == content)
            {
                return Ok((name.clone(), Some((*justified, false))));
            }
            if let Some((_, justified)) =
                early.get(name).filter(|(asked_for, _)| *asked_for == content)
            {
                return Ok((name.clone(), Some((*justified, false))));
            }
            if ports.deadline.is_over(ports.clock.now()) {
                return Ok((name.clone(), None));
            }
            let version = net.version.clone().map(VersionId);
            let justified = justify(ports, name, version.as_ref(), content).await?;
            Ok::<_, StageError>((name.clone(), Some((justified, true))))
        });
        let (mut otherwise, mut not_now, mut left) = (BTreeSet::new(), BTreeSet::new(), 0);
        for looked in some_at_once(HEADS_AT_ONCE, looks).await {
            let (name, answer) = looked?;
            let Some((justified, is_new)) = answer else {
                left += 1;
                continue;
            };
            self.looked += usize::from(is_new);
            match justified {
                Justified::Yes => {}
                Justified::Lately => self.lately.push(name.clone()),
                Justified::NotNow => _ = not_now.insert(name.clone()),
                Justified::Otherwise => _ = otherwise.insert(name.clone()),
            }
            self.asked.insert(name);
        }
        let (names, otherwise) =
            if otherwise.is_empty() { (not_now, false) } else { (otherwise, true) };
        if !names.is_empty() {
            return Ok(Err(Objection::PassedOver {
                names: names.into_iter().collect(),
                otherwise,
            }));
        }
        if left > 0 {
            return Err(self.out_of_time(ports, left));
        }
        Ok(Ok(()))
    }

    /// Keeps the uploads' answers for the next run.
    fn out_of_time(&self, ports: &Ports, left: usize) -> StageError {
        let Judging { published, generation, since, said } = &self.judging;
        let lately: BTreeSet<&TargetName> = self.lately.iter().collect();
        let asked = self.replay.net().iter().filter(|(name, _)| self.asked.contains(*name));
        let asked = asked.map(|(name, net)| {
            let justified = if lately.contains(name) { Justified::Lately } else { Justified::Yes };
            (name.clone(), (net.content.clone(), justified))
        });
        let early = self
            .early
            .iter()
            .map(|(name, (content, justified))| ((*name).clone(), (content.cloned(), *justified)));
        let said = said.clone().into_iter().chain(early).chain(asked).collect();
        ports.deadline.keep(Judging {
            published: *published,
            generation: *generation,
            since: *since,
            said,
        });
        StageError::OutOfTime { generation: *generation, looked: self.looked, left }
    }

    /// Whether people signed the candidate's `targets` document.
    pub fn adopted(&self) -> bool {
        self.adopted
    }

    /// Reads and verifies the `targets` document that people signed, where the candidate has one.
    pub async fn adopt(&mut self, ports: &Ports, keys: &RoleKeys, candidate: u64) -> Judgement<()> {
        let Some(version) = self.replay.wanted_adopted() else { return Ok(Ok(())) };
        let role = RoleName::targets();
        let bytes = ports.store.bytes(&Key::Metadata { role: role.clone(), version }).await?;
        let void = |reason: String| Refused {
            generation: candidate,
            fault: Fault::Role(role.clone(), version),
            reason,
        };
        let bytes =
            pass!(bytes.ok_or_else(|| void(
                "the targets document that people signed is not stored".into()
            )));
        let signed = verify(bytes, keys).and_then(|signed| signed.expect_version(version));
        pass!(self.replay.adopt(&pass!(signed.map_err(|error| void(error.to_string())))));
        Ok(Ok(()))
    }

    /// Finishes the judgement: justifies what is left, checks numbers and counts, and checks that
    /// the candidate's index is in the ledger, because later generations need it.
    ///
    /// Returns the names whose content was in effect lately, but is not any more.
    pub async fn finish(mut self, ports: &Ports, candidate: u64) -> Judgement<Vec<TargetName>> {
        pass!(self.justify(ports).await?);
        let (pages, lately): (Vec<Addressed<Page>>, _) = (pass!(self.replay.finish()), self.lately);
        // It reads each page: a HEAD is not enough, since whoever made the generation may have
        // stored other bytes there for good.
        let looks = pages.iter().map(|page| async move {
            let stored = ports.store.bytes(&Key::Page(page.digest())).await?;
            Ok::<_, StageError>(stored.as_ref() == Some(page.bytes()))
        });
        for is_there in at_once(looks).await {
            if !is_there? {
                let reason =
                    "a page of its index is missing from the ledger or has other bytes".into();
                return Ok(Err(
                    Refused { generation: candidate, fault: Fault::Void, reason }.into()
                ));
            }
        }
        Ok(Ok(lately))
    }
}

/// Asks the uploads about the newest names that these generations change, while their documents are
/// still being read. It leaves out the names in `said`, and asks about as many as fit into one
/// round of HEADs, which usually are all. A failed look is tried again in [`Trial::justify`].
async fn early<'a>(
    ports: &Ports,
    waiting: &[(&'a Manifest, &'a Parties)],
    said: &Said,
) -> BTreeMap<&'a TargetName, (Option<&'a Content>, Justified)> {
    let mut claims: BTreeMap<&TargetName, (Option<VersionId>, Option<&Content>)> = BTreeMap::new();
    // A fence changes nothing.
    let newest =
        waiting.iter().rev().map(|(manifest, _)| *manifest).filter(|manifest| !manifest.is_fence());
    for change in newest
        .flat_map(|manifest| &manifest.changes)
        .filter(|change| !said.contains_key(&change.name))
    {
        let content = match &change.outcome {
            Outcome::Set(content) => Some(content),
            Outcome::Removed => None,
            Outcome::Rejected(_) | Outcome::Delegated(_) => continue,
        };
        claims
            .entry(&change.name)
            .or_insert_with(|| (change.version.clone().map(VersionId), content));
        if claims.len() == HEADS_AT_ONCE {
            break;
        }
    }
    let looks = claims.into_iter().map(|(name, (version, content))| async move {
        Some((name, (content, justify(ports, name, version.as_ref(), content).await.ok()?)))
    });
    some_at_once(HEADS_AT_ONCE, looks).await.into_iter().flatten().collect()
}

/// Reads the published documents that a trial wants, several at a time, in the order in which it
/// wants them.
pub(crate) fn documents(
    store: &dyn Store,
    wanted: Vec<(RoleName, RoleEntry)>,
) -> impl stream::Stream<Item = Result<Draft<Targets>>> + '_ {
    let reads: Vec<_> = wanted
        .into_iter()
        .map(|(role, entry)| async move { read_draft(store, &role, &entry).await })
        .collect();
    stream::iter(reads).buffered(REQUESTS_AT_ONCE)
}
