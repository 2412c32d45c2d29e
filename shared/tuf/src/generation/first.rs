//! The next generation: what a batch of changes makes of the newest one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroU64;
use std::str::FromStr;

use tough::schema::key::Key;
use tough::schema::{Delegations, Metafile, Snapshot, Target, Targets};

use crate::addressed::{Addressed, AddressedDraft};
use crate::config::RemovalLimit;
use crate::fold::Drafting;
pub use crate::fold::{Folding, Others};
use crate::index::{Index, IndexEntry, Page, RoleEntry};
use crate::listed::{self, Listed};
use crate::manifest::{Content, MANIFEST_FORMAT, Manifest, Outcome, RecordedPolicy, RemovalWindow};
use crate::name::{RoleName, TargetName};
use crate::parties::Parties;
use crate::refusal::Refusal;
use crate::sha256::Sha256;
use crate::signed::{Draft, VerifyError};
use crate::time::{Time, after};
use crate::trie;

/// The version of the TUF specification that the documents follow.
pub const SPEC_VERSION: &str = "1.0.33";

/// What a change makes of one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// It has this content.
    Set(Content),
    /// It is gone.
    Remove,
}

impl Edit {
    /// What the target has then; `None` where there is none.
    #[must_use]
    pub fn content(&self) -> Option<&Content> {
        match self {
            Self::Set(content) => Some(content),
            Self::Remove => None,
        }
    }
}

/// One change to fold in, in the order in which it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetEdit {
    /// The target.
    pub name: TargetName,
    /// The version of the upload, or of its delete marker.
    pub version: Option<String>,
    /// When it was uploaded, where that is known.
    pub uploaded: Option<Time>,
    /// The change.
    pub edit: Edit,
}

/// A generation that is not stored yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Next {
    /// Its record.
    pub manifest: Manifest,
    /// The pages of the index that it changes: to be stored before the manifest.
    pub pages: Vec<Addressed<Page>>,
}

/// What an operator decided for new generations.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// What decides about their documents.
    pub recorded: RecordedPolicy,
    /// A bin of a prefix of so many digits is not split any more: see [`DEEPEST_BIN`].
    pub deepest_bin: usize,
    /// The limit on removals; `None` once an operator accepted them.
    pub removals: Option<RemovalLimit>,
    /// The time of the new generation.
    pub now: Time,
}

/// Clients follow 32 delegations at most in a search, and tough reads every role that there is. Targets in so deep a bin
/// were named for it: digests that share 12 digits by chance are one pair in 2^48.
pub const DEEPEST_BIN: usize = 12;

/// Why a batch cannot be folded in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GenerationError {
    /// A document that the batch touches was not given.
    #[error("the document of role {0} is missing")]
    Missing(RoleName),
    /// A page of the index that the batch needs was not read.
    #[error("the page of the bins below {0} was not read")]
    Unread(RoleName),
    /// A document cannot be written or read.
    #[error(transparent)]
    Document(#[from] VerifyError),
    /// A target that can't be taken in.
    #[error(transparent)]
    Target(Refusal),
    /// More targets would go at once than the configured limit allows.
    #[error("{removals} of {targets} targets would be removed at once")]
    TooManyRemovals {
        /// Removals in the window, with this batch's.
        removals: u64,
        /// Targets when the window began.
        targets: u64,
    },
}

/// The first generation: no targets. `bins` says into how many bins it is split from the start; they will be signed with
/// `bins_key`. Answers its documents too, to be stored before its manifest.
///
/// # Errors
/// [`GenerationError::Document`], never in practice.
pub fn first(policy: Policy, bins_key: Key, bins: FirstBins) -> Result<(Next, Vec<AddressedDraft>), GenerationError> {
    begin(1, &UsedUp::default(), policy, bins_key, bins)
}

fn begin(
    generation: u64,
    used_up: &UsedUp,
    policy: Policy,
    bins_key: Key,
    bins: FirstBins,
) -> Result<(Next, Vec<AddressedDraft>), GenerationError> {
    let Policy { recorded, now, .. } = policy;
    let expires = after(now, recorded.targets_seconds);
    // Replaced by the first document that is drafted.
    let nothing = RoleEntry { version: 0, draft: Sha256::of(&[]), expires };
    let index = Index::new(IndexEntry { document: nothing, bins: None });
    let (bins_keys, parties) = (vec![bins_key.clone()], &Parties::default());
    let (first, changed) = (used_up.targets, BTreeMap::new());
    let mut drafting = Drafting { first, serial: first, index, changed, expires, bins_keys, parties };
    let drafts = drafting.add(Listed::grown(RoleName::targets(), bins.digits()))?;
    let Drafting { serial, index, changed, .. } = drafting;
    let (top, pages) = index.finish()?;
    let manifest = Manifest {
        format: MANIFEST_FORMAT,
        generation,
        base: generation - 1,
        created: now,
        policy: recorded,
        first: used_up.targets,
        serial,
        timestamp_above: used_up.timestamp,
        targets: 0,
        bins_key,
        old_bins_key: None,
        top,
        changed,
        parties: None,
        decisions: 0,
        waived: BTreeSet::new(),
        party_changes: BTreeMap::new(),
        renew_snapshot: false,
        snapshot_expires: after(now, recorded.snapshot_seconds),
        changes: Vec::new(),
        removals: RemovalWindow::default(),
    };
    Ok((Next { manifest, pages }, drafts))
}

/// The highest versions that devices may have seen of a repository which is imported: those of this one begin above.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UsedUp {
    /// The timestamp's.
    pub timestamp: u64,
    /// The snapshot's.
    pub snapshot: u64,
    /// Of the targets role and all that it delegates to, the highest.
    pub targets: u64,
}

/// The first generation of a repository that is imported: it has all of its targets at once, and continues its versions. Answers its
/// documents too, to be stored before its manifest.
///
/// It answers no uploads: hash finds them, and rebuild answers them when it sees that they change nothing.
///
/// # Errors
/// [`GenerationError::Target`] for a target that can't be taken in.
pub fn imported(
    used_up: &UsedUp,
    bins_key: Key,
    targets: Vec<(TargetName, Content)>,
    policy: Policy,
) -> Result<(Next, Vec<AddressedDraft>), GenerationError> {
    // This generation isn't stored: it is what the targets are folded into.
    let (Next { manifest: base, .. }, drafts) = begin(used_up.snapshot, used_up, policy, bins_key, FirstBins::One)?;
    let edit = |(name, content)| TargetEdit { name, version: None, uploaded: None, edit: Edit::Set(content) };
    let edits: Vec<TargetEdit> = targets.into_iter().map(edit).collect();
    // Also where there are no targets.
    let renew = BTreeSet::from([RoleName::targets()]);
    let (index, others) = (Index::new(base.top.clone()), Others::default());
    let mut folding = Folding::new(&base, index, &edits, &renew, base.bins_keys(), &others, policy)?;
    let mut documents = Vec::new();
    for draft in &drafts {
        documents.extend(folding.fold(draft.record())?);
    }
    let Next { mut manifest, pages } = folding.finish()?;
    for change in manifest.changes.drain(..) {
        if let Outcome::Refused(refusal) = change.outcome {
            return Err(GenerationError::Target(refusal));
        }
    }
    Ok((Next { manifest, pages }, documents))
}

/// Into how many bins a repository is split before it has any target. All but one: an offline `targets` key then never
/// needs to sign because the repository grew.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FirstBins {
    /// `targets` lists the first targets itself.
    #[default]
    One,
    /// 16, of the prefixes `0` to `f`.
    Sixteen,
    /// 256, of the prefixes `00` to `ff`.
    TwoHundredFiftySix,
    /// 4,096, of the prefixes `000` to `fff`.
    FourThousandNinetySix,
}

impl FirstBins {
    fn digits(self) -> usize {
        match self {
            Self::One => 0,
            Self::Sixteen => 1,
            Self::TwoHundredFiftySix => 2,
            Self::FourThousandNinetySix => 3,
        }
    }
}

impl FromStr for FirstBins {
    type Err = BadBins;

    fn from_str(text: &str) -> Result<Self, BadBins> {
        match text {
            "1" => Ok(Self::One),
            "16" => Ok(Self::Sixteen),
            "256" => Ok(Self::TwoHundredFiftySix),
            "4096" => Ok(Self::FourThousandNinetySix),
            _ => Err(BadBins(text.to_owned())),
        }
    }
}

/// A number of bins that there can't be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a repository can't begin with '{0}' bins: use 1, 16, 256 or 4096")]
pub struct BadBins(String);

/// What `documents` say about `name`.
#[must_use]
pub fn content_of(document: &Targets, name: &TargetName) -> Option<Content> {
    let target =
        document.targets.iter().find_map(|(found, target)| (found.raw() == name.as_str()).then_some(target))?;
    Some(listed::content(target))
}

/// The version of every document of the targets family: `targets` and the bins.
pub type Versions = BTreeMap<RoleName, u64>;

/// What `snapshot` says of the targets family. Other parties' roles are none of it ([`Parties::in_snapshot`]).
///
/// # Errors
/// [`VerifyError::Unreadable`] where it lists something that is no role.
pub fn versions(snapshot: &Snapshot) -> Result<Versions, VerifyError> {
    let version = |(file, meta): (&String, &Metafile)| {
        let role = file.strip_suffix(".json").and_then(|role| role.parse().ok());
        let why = || format!("it lists {file:?}, which is no role");
        let role: RoleName = role.ok_or_else(|| VerifyError::Unreadable { role: RoleName::snapshot(), why: why() })?;
        Ok(trie::prefix(&role).is_some().then_some((role, meta.version.get())))
    };
    snapshot.meta.iter().filter_map(|entry| version(entry).transpose()).collect()
}

/// The versions with a further generation, which comes directly after.
pub fn advance(versions: &mut Versions, manifest: &Manifest) {
    versions.extend(manifest.changed.iter().map(|(role, entry)| (role.clone(), entry.version)));
}

/// The snapshot of a generation, in which the roles have these versions. It carries versions only: no two documents of the
/// targets family share a number, so the number alone says which document is meant (TUF specification 4.4, METAFILES). Of other
/// `parties` it has more.
#[must_use]
pub fn snapshot(manifest: &Manifest, versions: &Versions, parties: &Parties) -> Draft<Snapshot> {
    let mut snapshot = Snapshot::new(SPEC_VERSION.into(), at_least_one(manifest.generation), manifest.snapshot_expires);
    for (role, version) in versions {
        let metafile = Metafile { length: None, hashes: None, version: at_least_one(*version), _extra: HashMap::new() };
        snapshot.meta.insert(format!("{role}.json"), metafile);
    }
    snapshot.meta.extend(parties.in_snapshot());
    Draft::new(RoleName::snapshot(), snapshot)
}

/// The document of `targets` that delegates to bins signed by any of `bins_keys`, and to nobody else.
///
/// # Errors
/// [`VerifyError::Unreadable`] for a key that has no canonical form, never in practice.
pub fn targets_document(version: u64, expires: Time, bins_keys: &[Key]) -> Result<Draft<Targets>, VerifyError> {
    let role = RoleName::targets();
    let delegations = Parties::default().delegations(&role, true, bins_keys)?;
    Ok(targets_draft(role, version, expires, HashMap::new(), delegations))
}

pub(crate) fn targets_draft(
    role: RoleName,
    version: u64,
    expires: Time,
    targets: HashMap<tough::TargetName, Target>,
    delegations: Option<Delegations>,
) -> Draft<Targets> {
    let mut document = Targets::new(SPEC_VERSION.into(), at_least_one(version), expires);
    // tough writes an empty `delegations` unless there is none, which other clients refuse.
    document.delegations = delegations;
    document.targets = targets;
    Draft::new(role, document)
}

/// Versions count from 1.
pub(crate) fn at_least_one(version: u64) -> NonZeroU64 {
    NonZeroU64::new(version).unwrap_or(NonZeroU64::MIN)
}
