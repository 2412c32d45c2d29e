//! The model client: the strictest device possible. It has seen everything that was ever shown, and
//! accepts nothing that is older, unsigned, incomplete or was never uploaded.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use tough::schema::{Snapshot, Targets, Timestamp};
use tufline_store::memory::Memory;
use tufline_store::{Clock, Key};
use tufline_tuf::time::{after, seconds_between};
use tufline_tuf::{RoleKeys, RoleName, Sha256, Signed, Time, root, trie, verify};

use crate::schedule::Violation;

/// The published targets: the digest of each one's bytes, by name.
pub type Shown = BTreeMap<String, Sha256>;

/// The longest life of a document by the default policy, plus what clocks may differ, in seconds.
const LONGEST_LIFE_SECONDS: u64 = 90 * 86_400 + 100;

/// How long ago a published content may have been in effect, in seconds: the window of the
/// judgement, and what passes until the timestamp is written.
const WINDOW_SECONDS: i64 = 600 + 180;

/// For each name, what was in effect from when on: the digest of its newest upload that is not
/// refused, or nothing.
#[derive(Default)]
pub struct History(BTreeMap<String, Vec<(Time, Option<Sha256>)>>);

impl History {
    /// Records that this content is in effect from `now` on.
    pub fn add(&mut self, name: &str, now: Time, content: Option<Sha256>) {
        self.0.entry(name.to_owned()).or_default().push((now, content));
    }

    /// Whether the content was in effect at any time of the window before `now`.
    fn in_effect(&self, name: &str, content: Option<&Sha256>, now: Time) -> bool {
        let Some(entries) = self.0.get(name) else { return content.is_none() };
        let ends = entries.iter().skip(1).map(|(begin, _)| Some(*begin)).chain([None]);
        let lately =
            |end: Option<Time>| end.is_none_or(|end| seconds_between(end, now) <= WINDOW_SECONDS);
        let before_all =
            content.is_none() && entries.first().is_some_and(|(begin, _)| lately(Some(*begin)));
        before_all
            || entries
                .iter()
                .zip(ends)
                .any(|((_, found), end)| found.as_ref() == content && lately(end))
    }
}

pub struct Client {
    timestamp: u64,
    snapshot: u64,
    roles: BTreeMap<String, u64>,
    seen: Option<Bytes>,
    shown: Shown,
    /// When the last of the published documents expires.
    last_expiry: Time,
}

impl Client {
    /// Updates from the repository as it is now, if that has changed. `uploaded` has everything
    /// that was ever uploaded under each name.
    pub fn update(
        &mut self,
        world: &Memory,
        uploaded: &BTreeMap<String, BTreeSet<Sha256>>,
        history: &History,
    ) -> Result<(), Violation> {
        let Some(timestamp) = world.object("metadata/timestamp.json") else { return Ok(()) };
        if self.seen.as_ref() == Some(&timestamp) {
            return Ok(());
        }
        let (shown, state) = read(world, &timestamp, None)?;
        // Another timestamp of the same version counts too: clients that have the first never see
        // the second.
        if state.timestamp <= self.timestamp || state.snapshot < self.snapshot {
            return Err(Violation::new("rollback", "an older timestamp or snapshot is shown"));
        }
        for (role, version) in &self.roles {
            if state.roles.get(role).is_none_or(|now| now < version) {
                return Err(Violation::new(
                    "rollback",
                    format!("role {role} is older than before, or gone"),
                ));
            }
        }
        for (name, sha256) in &shown {
            if !uploaded.get(name).is_some_and(|digests| digests.contains(sha256)) {
                return Err(Violation::new(
                    "forgery",
                    format!("{name} = {sha256} was never uploaded"),
                ));
            }
        }
        let names: BTreeSet<&String> = shown.keys().chain(self.shown.keys()).collect();
        for name in names {
            let (before, after) = (self.shown.get(name), shown.get(name));
            if before != after && !history.in_effect(name, after, world.now()) {
                return Err(Violation::new("not in effect", format!("{name} becomes {after:?}")));
            }
        }
        if state.last_expiry > after(world.now(), LONGEST_LIFE_SECONDS) {
            return Err(Violation::new(
                "lasting",
                format!("something is in force until {}", state.last_expiry),
            ));
        }
        *self = state;
        self.seen = Some(timestamp);
        self.shown = shown;
        Ok(())
    }
}

impl Default for Client {
    fn default() -> Self {
        let (roles, shown) = (BTreeMap::new(), Shown::new());
        Self { timestamp: 0, snapshot: 0, roles, seen: None, shown, last_expiry: Time::MIN }
    }
}

/// What a new client finds at `now`, with all expiries checked.
pub fn shown(world: &Memory, now: Time) -> Result<Shown, Violation> {
    let timestamp = world.object("metadata/timestamp.json");
    let timestamp =
        timestamp.ok_or_else(|| Violation::new("unreadable", "nothing is published"))?;
    read(world, &timestamp, Some(now)).map(|(shown, _)| shown)
}

fn read(
    world: &Memory,
    timestamp: &Bytes,
    now: Option<Time>,
) -> Result<(Shown, Client), Violation> {
    let unreadable =
        |error: tufline_tuf::VerifyError| Violation::new("unreadable", error.to_string());
    let get = |key: Key| {
        let path = key.path();
        world
            .object(&path)
            .ok_or_else(|| Violation::new("unreadable", format!("{path} is missing")))
    };
    let mut version = 1;
    let mut trusted = root::read(&get(Key::root(1))?, 1).map_err(unreadable)?;
    while let Some(bytes) = world.object(&Key::root(version + 1).path()) {
        version += 1;
        let keys = root::own_keys(trusted.document()).map_err(unreadable)?;
        verify::<tough::schema::Root>(bytes.clone(), &keys).map_err(unreadable)?;
        trusted = root::read(&bytes, version).map_err(unreadable)?;
    }
    let keys = |role: &RoleName| RoleKeys::in_root(trusted.document(), role).map_err(unreadable);

    let timestamp: Signed<Timestamp> = verify(timestamp.clone(), &keys(&RoleName::timestamp())?)
        .and_then(|signed| fresh(signed, now))
        .map_err(unreadable)?;
    let meta = timestamp.document().meta.get("snapshot.json").unwrap();
    let bytes = get(Key::snapshot(meta.version.get()))?;
    if meta.length != Some(bytes.len() as u64)
        || meta.hashes.as_ref().unwrap().sha256[..] != Sha256::of(&bytes).as_bytes()[..]
    {
        return Err(Violation::new(
            "unreadable",
            "the snapshot is not the one that the timestamp means",
        ));
    }
    let snapshot: Signed<Snapshot> = verify(bytes, &keys(&RoleName::snapshot())?)
        .and_then(|signed| signed.expect_version(meta.version.get()))
        .and_then(|signed| fresh(signed, now))
        .map_err(unreadable)?;

    let (mut shown, mut roles, mut last_expiry) = (Shown::new(), BTreeMap::new(), Time::MIN);
    let mut files: Vec<_> = snapshot.document().meta.iter().collect();
    // Roles that delegate come before the roles that they delegate to.
    files.sort_by_key(|(file, _)| if *file == "targets.json" { 0 } else { file.len() });
    let mut delegated: BTreeMap<RoleName, RoleKeys> = BTreeMap::new();
    for (file, meta) in files {
        let role: RoleName = file.strip_suffix(".json").unwrap().parse().unwrap();
        let bytes = get(Key::Metadata { role: role.clone(), version: meta.version.get() })?;
        let keys = match delegated.get(&role) {
            Some(keys) => keys.clone(),
            None => keys(&role)?,
        };
        let targets: Signed<Targets> = verify(bytes, &keys)
            .and_then(|signed| signed.expect_version(meta.version.get()))
            .and_then(|signed| fresh(signed, now))
            .map_err(unreadable)?;
        roles.insert(file.clone(), meta.version.get());
        last_expiry = last_expiry.max(targets.document().expires);
        for entry in
            targets.document().delegations.iter().flat_map(|delegations| &delegations.roles)
        {
            let child: RoleName = entry.name.parse().unwrap();
            if trie::prefix(&child).is_none() {
                return Err(Violation::new("delegation", format!("nobody decided on {child}")));
            }
            if !snapshot.document().meta.contains_key(&format!("{child}.json")) {
                return Err(Violation::new(
                    "unreadable",
                    format!("{child} is not in the snapshot"),
                ));
            }
            let delegations = targets.document().delegations.as_ref().unwrap();
            delegated.insert(
                child.clone(),
                RoleKeys::in_delegations(delegations, &child).map_err(unreadable)?,
            );
        }
        for (name, target) in &targets.document().targets {
            let digest = Sha256::of(name.raw().as_bytes()).to_string();
            // A client looks for the target in the existing role with the longest prefix.
            let found = (1..=64).rev().map(|length| format!("bin-{}.json", &digest[..length]));
            let found = found.into_iter().find(|file| snapshot.document().meta.contains_key(file));
            if found.as_deref().unwrap_or("targets.json") != file {
                return Err(Violation::new(
                    "unreadable",
                    format!("{} stands in {role}, where no client looks", name.raw()),
                ));
            }
            let sha256: Sha256 = hex::encode(&target.hashes.sha256[..]).parse().unwrap();
            let blob = world.blob(&sha256);
            if blob.as_ref().map(|bytes| bytes.len() as u64) != Some(target.length) {
                return Err(Violation::new(
                    "unreadable",
                    format!("the bytes of {} are missing", name.raw()),
                ));
            }
            shown.insert(name.raw().to_owned(), sha256);
        }
    }
    let last_expiry =
        last_expiry.max(timestamp.document().expires).max(snapshot.document().expires);
    let (timestamp, snapshot) = (timestamp.version(), snapshot.version());
    let client = Client { timestamp, snapshot, roles, last_expiry, ..Client::default() };
    Ok((shown, client))
}

fn fresh<T: tufline_tuf::RoleDocument>(
    signed: Signed<T>,
    now: Option<Time>,
) -> Result<Signed<T>, tufline_tuf::VerifyError> {
    match now {
        Some(now) => signed.expect_fresh(now),
        None => Ok(signed),
    }
}
