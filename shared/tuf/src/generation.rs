//! The next generation: what a batch of changes makes of the newest one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroU64;

use tough::schema::decoded::Decoded;
use tough::schema::key::Key;
use tough::schema::{Delegations, Hashes, Metafile, Snapshot, Target, Targets};

use crate::config::{Expiry, RemovalLimit};
use crate::manifest::{Applied, Content, MANIFEST_FORMAT, Manifest, Outcome, RemovalWindow, RoleEntry};
use crate::name::{RoleName, TargetName};
use crate::sha256::Sha256;
use crate::signed::{Draft, VerifyError};
use crate::time::{Time, after, seconds_between};
use crate::{json, trie};

/// The version of the TUF specification that the documents follow.
pub const SPEC_VERSION: &str = "1.0.33";

/// What a change makes of one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// It has this content.
    Set(Content),
    /// It is gone.
    Remove,
    /// It is again what is published: this content, or nothing.
    Revert(Option<Content>),
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
    /// The documents that it changes.
    pub drafts: Vec<Draft<Targets>>,
}

/// Why a batch cannot be folded in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GenerationError {
    /// A document that the batch touches was not given.
    #[error("the document of role {0} is missing")]
    Missing(RoleName),
    /// A document cannot be written or read.
    #[error(transparent)]
    Document(#[from] VerifyError),
    /// More targets would go at once than the configured limit allows.
    #[error("{removals} of {targets} targets would be removed at once")]
    TooManyRemovals {
        /// Removals in the window, with this batch's.
        removals: u64,
        /// Targets when the window began.
        targets: u64,
    },
}

/// The first generation: no targets, version 1 of everything. Bins will be signed with `bins_key`.
///
/// # Errors
/// [`GenerationError::Document`], never in practice.
pub fn first(now: Time, expiry: &Expiry, bins_key: Key) -> Result<Next, GenerationError> {
    let role = RoleName::targets();
    let draft = targets_draft(role.clone(), 1, after(now, expiry.targets.seconds()), Listed::default());
    let manifest = Manifest {
        format: MANIFEST_FORMAT,
        generation: 1,
        created: now,
        serial: 1,
        targets: 0,
        bins_key: Some(bins_key),
        roles: BTreeMap::from([(role.clone(), entry(&draft)?)]),
        changed: vec![role],
        renew_snapshot: false,
        snapshot_expires: after(now, expiry.snapshot.seconds()),
        changes: Vec::new(),
        removals: RemovalWindow::default(),
    };
    Ok(Next { manifest, drafts: vec![draft] })
}

/// The role in whose document `name` stands, in generation `manifest`.
#[must_use]
pub fn role_of(manifest: &Manifest, name: &TargetName) -> RoleName {
    trie::leaf(name, |role| manifest.roles.contains_key(role))
}

/// What `documents` say about `name`.
#[must_use]
pub fn content_of(document: &Targets, name: &TargetName) -> Option<Content> {
    let target =
        document.targets.iter().find_map(|(found, target)| (found.raw() == name.as_str()).then_some(target))?;
    Some(content(target))
}

/// A batch with what is needed to fold it in.
#[derive(Debug, Clone)]
pub struct Batch<'a> {
    /// The changes, in the order in which they came.
    pub edits: &'a [TargetEdit],
    /// Roles to draft anew though nothing in them changes; `snapshot` asks for a new snapshot.
    pub renew: &'a BTreeSet<RoleName>,
    /// The documents of all roles that the batch touches ([`role_of`]) or renews, as `base` has them.
    pub documents: &'a BTreeMap<RoleName, Draft<Targets>>,
    /// How long new documents are valid.
    pub expiry: &'a Expiry,
    /// A role that lists more targets than this is split.
    pub max_targets_per_bin: usize,
    /// The limit on removals; `None` once an operator accepted them.
    pub limit: Option<RemovalLimit>,
    /// The time of the new generation.
    pub now: Time,
}

/// Generation `base + 1`.
///
/// *Invariants*: every changed document takes its own next number from the serial; no role leaves the index; a document
/// that does not change keeps its version and bytes.
///
/// # Errors
/// [`GenerationError`].
pub fn next(base: &Manifest, batch: &Batch<'_>) -> Result<Next, GenerationError> {
    let mut edited: BTreeMap<RoleName, EditedRole> = BTreeMap::new();
    let mut changes = Vec::with_capacity(batch.edits.len());
    let (mut targets, mut removed) = (base.targets, 0);
    for TargetEdit { name, version, uploaded, edit } in batch.edits {
        let role = role_of(base, name);
        if !edited.contains_key(&role) {
            edited.insert(role.clone(), EditedRole::new(document_of(batch, &role)?));
        }
        let Some(document) = edited.get_mut(&role) else { return Err(GenerationError::Missing(role)) };
        let (content, outcome) = match edit {
            Edit::Set(content) => (Some(content), Outcome::Set(content.clone())),
            Edit::Remove => (None, Outcome::Removed),
            Edit::Revert(published) => (published.as_ref(), Outcome::Reverted),
        };
        let Put { was_there, changed } = document.put(name, content);
        match (was_there, content.is_some()) {
            (false, true) => targets += 1,
            (true, false) => {
                targets = targets.saturating_sub(1);
                removed += u64::from(*edit == Edit::Remove);
            }
            _ => {}
        }
        changes.push(Applied {
            name: name.clone(),
            version: version.clone(),
            uploaded: uploaded.filter(|_| changed),
            outcome,
        });
    }
    let removals = count_removals(base, batch, removed, targets)?;
    for role in batch.renew.iter().filter(|role| **role != RoleName::snapshot()) {
        if !edited.contains_key(role) {
            edited.insert(role.clone(), EditedRole::new(document_of(batch, role)?));
        }
    }

    let mut serial = base.serial;
    let mut roles = base.roles.clone();
    let (mut renewed, mut drafts) = (Vec::new(), Vec::new());
    for (role, document) in edited {
        if !document.changed && !batch.renew.contains(&role) {
            continue;
        }
        for (role, listed) in settle(role, document.listed, batch.max_targets_per_bin, base.bins_key.as_ref())? {
            serial += 1;
            let expires = after(batch.now, batch.expiry.targets.seconds());
            let draft = targets_draft(role.clone(), serial, expires, listed);
            roles.insert(role.clone(), entry(&draft)?);
            renewed.push(role);
            drafts.push(draft);
        }
    }
    let manifest = Manifest {
        format: MANIFEST_FORMAT,
        generation: base.generation + 1,
        created: batch.now,
        serial,
        targets,
        bins_key: base.bins_key.clone(),
        roles,
        changed: renewed,
        renew_snapshot: batch.renew.contains(&RoleName::snapshot()),
        snapshot_expires: after(batch.now, batch.expiry.snapshot.seconds()),
        changes,
        removals,
    };
    Ok(Next { manifest, drafts })
}

/// The snapshot of a generation. It carries versions only: no two documents of the targets family share a number, so the
/// number alone says which document is meant (TUF specification 4.4, METAFILES).
#[must_use]
pub fn snapshot(manifest: &Manifest) -> Draft<Snapshot> {
    let mut snapshot = Snapshot::new(SPEC_VERSION.into(), at_least_one(manifest.generation), manifest.snapshot_expires);
    for (role, entry) in &manifest.roles {
        let metafile =
            Metafile { length: None, hashes: None, version: at_least_one(entry.version), _extra: HashMap::new() };
        snapshot.meta.insert(format!("{role}.json"), metafile);
    }
    Draft::new(RoleName::snapshot(), snapshot)
}

/// What a role's document lists: targets, or the roles that have them.
#[derive(Default)]
struct Listed {
    targets: HashMap<tough::TargetName, Target>,
    delegations: Option<Delegations>,
}

impl Listed {
    /// Whether it may stay as it is: few targets, in few bytes. One alone can't be split further.
    fn fits(&self, most: usize) -> bool {
        let length = |(name, target): (&tough::TargetName, &Target)| {
            let custom = if target.custom.is_empty() {
                0
            } else {
                json::to_vec(&target.custom).map_or(0, |custom| custom.len())
            };
            name.raw().len() + BYTES_OF_A_TARGET + custom
        };
        self.targets.len() <= 1
            || self.targets.len() <= most && self.targets.iter().map(length).sum::<usize>() <= LARGEST_ROLE
    }
}

/// Clients take 5 MB of a targets file at most by default, and less is better on a bad network: a role that would be larger
/// is split, however few its targets are. In bytes.
const LARGEST_ROLE: usize = 500_000;

/// The JSON of a target but for its name and custom metadata, at most.
const BYTES_OF_A_TARGET: usize = 140;

/// The documents that come of a role's: itself or, where it lists too much, itself delegating and the bins below it. Only
/// such as need it are split, so that the cost of a generation is that of its change.
fn settle(
    role: RoleName,
    listed: Listed,
    most: usize,
    bins_key: Option<&Key>,
) -> Result<Vec<(RoleName, Listed)>, GenerationError> {
    let children = trie::children(&role);
    let (Some(bins_key), false) = (bins_key, listed.delegations.is_some() || listed.fits(most) || children.is_empty())
    else {
        return Ok(vec![(role, listed)]);
    };
    let depth = trie::prefix(&role).unwrap_or_default().len();
    let mut below: BTreeMap<RoleName, Listed> = children.into_iter().map(|child| (child, Listed::default())).collect();
    for (name, target) in listed.targets {
        let checked: TargetName = name.raw().parse().map_err(|_| GenerationError::Missing(role.clone()))?;
        let child = trie::digits(&checked).get(..=depth).and_then(|prefix| prefix.parse().ok());
        let bin =
            child.and_then(|child| below.get_mut(&child)).ok_or_else(|| GenerationError::Missing(role.clone()))?;
        bin.targets.insert(name, target);
    }
    let delegations = Some(trie::delegations(&role, bins_key)?);
    let mut documents = vec![(role, Listed { targets: HashMap::new(), delegations })];
    for (child, listed) in below {
        documents.extend(settle(child, listed, most, Some(bins_key))?);
    }
    Ok(documents)
}

/// A role's document while it is edited.
struct EditedRole {
    listed: Listed,
    changed: bool,
}

/// What an edit met.
#[derive(Default)]
struct Put {
    /// Whether the target was there before.
    was_there: bool,
    /// Whether it is another now.
    changed: bool,
}

impl EditedRole {
    fn new(document: &Targets) -> Self {
        let listed = Listed { targets: document.targets.clone(), delegations: document.delegations.clone() };
        Self { listed, changed: false }
    }

    /// Gives `name` this content, or removes it.
    fn put(&mut self, name: &TargetName, content: Option<&Content>) -> Put {
        // Tufline's names are a subset of those that tough resolves to themselves.
        let Ok(key) = tough::TargetName::new(name.as_str()) else { return Put::default() };
        let before = match content.map(target) {
            Some(target) => self.listed.targets.insert(key.clone(), target),
            None => self.listed.targets.remove(&key),
        };
        let changed = before.as_ref() != self.listed.targets.get(&key);
        self.changed |= changed;
        Put { was_there: before.is_some(), changed }
    }
}

fn document_of<'a>(batch: &Batch<'a>, role: &RoleName) -> Result<&'a Targets, GenerationError> {
    batch.documents.get(role).map(Draft::document).ok_or_else(|| GenerationError::Missing(role.clone()))
}

fn targets_draft(role: RoleName, version: u64, expires: Time, listed: Listed) -> Draft<Targets> {
    let mut document = Targets::new(SPEC_VERSION.into(), at_least_one(version), expires);
    // tough writes an empty `delegations` unless there is none, which other clients refuse.
    document.delegations = listed.delegations;
    document.targets = listed.targets;
    Draft::new(role, document)
}

fn entry(draft: &Draft<Targets>) -> Result<RoleEntry, VerifyError> {
    Ok(RoleEntry {
        version: draft.document().version.get(),
        draft: Sha256::of(&draft.to_bytes()?),
        expires: draft.document().expires,
    })
}

fn target(content: &Content) -> Target {
    Target {
        length: content.length,
        hashes: Hashes { sha256: Decoded::from(content.sha256.as_bytes().to_vec()), _extra: HashMap::new() },
        custom: content.custom.clone().into_iter().collect(),
        _extra: HashMap::new(),
    }
}

pub(crate) fn content(target: &Target) -> Content {
    let mut sha256 = [0; 32];
    if target.hashes.sha256.len() == sha256.len() {
        sha256.copy_from_slice(&target.hashes.sha256);
    }
    Content {
        sha256: Sha256::from_bytes(sha256),
        length: target.length,
        custom: target.custom.clone().into_iter().collect(),
    }
}

/// Versions count from 1.
pub(crate) fn at_least_one(version: u64) -> NonZeroU64 {
    NonZeroU64::new(version).unwrap_or(NonZeroU64::MIN)
}

/// Counts `removed` removals into the window, unless they are too many: more than the limit's share of what there was and
/// more than its number, or all that is left of several targets in one batch (an emptied folder).
fn count_removals(
    base: &Manifest,
    batch: &Batch<'_>,
    removed: u64,
    left: u64,
) -> Result<RemovalWindow, GenerationError> {
    if removed == 0 {
        return Ok(base.removals.clone());
    }
    let open = base
        .removals
        .since
        .is_some_and(|since| seconds_between(since, batch.now).unsigned_abs() <= RemovalLimit::WINDOW_SECONDS);
    let mut window = if open {
        base.removals.clone()
    } else {
        RemovalWindow { since: Some(batch.now), targets: base.targets, removed: 0 }
    };
    window.removed += removed;
    if let Some(limit) = batch.limit.filter(|limit| limit.percent < 100) {
        let share = window.removed * 100 > window.targets * u64::from(limit.percent);
        let emptied = removed > 1 && left == 0;
        if (share && window.removed > limit.at_least) || emptied {
            return Err(GenerationError::TooManyRemovals { removals: window.removed, targets: window.targets });
        }
    }
    Ok(window)
}
