//! The model client: the strictest device there could be. It saw everything that was ever shown, and trusts nothing that
//! is older, unsigned, incomplete or was never uploaded.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use tough::schema::{Snapshot, Targets, Timestamp};
use tufline_store::Key;
use tufline_store::memory::Memory;
use tufline_tuf::{RoleKeys, RoleName, Sha256, Signed, Time, root, verify};

use crate::schedule::Violation;

/// What each name's targets were, by the digest of their bytes.
pub type Shown = BTreeMap<String, Sha256>;

#[derive(Default)]
pub struct Client {
    timestamp: u64,
    snapshot: u64,
    roles: BTreeMap<String, u64>,
    seen: Option<Bytes>,
}

impl Client {
    /// Updates from what the repository holds now, if that changed. `uploaded` says what was ever uploaded under a name.
    pub fn update(&mut self, world: &Memory, uploaded: &BTreeMap<String, BTreeSet<Sha256>>) -> Result<(), Violation> {
        let Some(timestamp) = world.object("metadata/timestamp.json") else { return Ok(()) };
        if self.seen.as_ref() == Some(&timestamp) {
            return Ok(());
        }
        let (shown, state) = read(world, &timestamp, None)?;
        // Another timestamp of the same version: clients that have the first never see the second.
        if state.timestamp <= self.timestamp || state.snapshot < self.snapshot {
            return Err(Violation::new("rollback", "an older timestamp or snapshot is shown"));
        }
        for (role, version) in &self.roles {
            if state.roles.get(role).is_none_or(|now| now < version) {
                return Err(Violation::new("rollback", format!("role {role} is older than before, or gone")));
            }
        }
        for (name, sha256) in &shown {
            if !uploaded.get(name).is_some_and(|digests| digests.contains(sha256)) {
                return Err(Violation::new("forgery", format!("{name} = {sha256} was never uploaded")));
            }
        }
        *self = state;
        self.seen = Some(timestamp);
        Ok(())
    }
}

/// What a fresh client finds at `now`, with all expiries checked.
pub fn shown(world: &Memory, now: Time) -> Result<Shown, Violation> {
    let timestamp = world.object("metadata/timestamp.json");
    let timestamp = timestamp.ok_or_else(|| Violation::new("unreadable", "nothing is published"))?;
    read(world, &timestamp, Some(now)).map(|(shown, _)| shown)
}

fn read(world: &Memory, timestamp: &Bytes, now: Option<Time>) -> Result<(Shown, Client), Violation> {
    let unreadable = |error: tufline_tuf::VerifyError| Violation::new("unreadable", error.to_string());
    let get = |key: Key| {
        let path = key.path();
        world.object(&path).ok_or_else(|| Violation::new("unreadable", format!("{path} is missing")))
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
        return Err(Violation::new("unreadable", "the snapshot is not the one that the timestamp means"));
    }
    let snapshot: Signed<Snapshot> = verify(bytes, &keys(&RoleName::snapshot())?)
        .and_then(|signed| signed.expect_version(meta.version.get()))
        .and_then(|signed| fresh(signed, now))
        .map_err(unreadable)?;

    let (mut shown, mut roles) = (Shown::new(), BTreeMap::new());
    let mut files: Vec<_> = snapshot.document().meta.iter().collect();
    // Those that delegate before those that they delegate to.
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
        for entry in targets.document().delegations.iter().flat_map(|delegations| &delegations.roles) {
            let child: RoleName = entry.name.parse().unwrap();
            if !snapshot.document().meta.contains_key(&format!("{child}.json")) {
                return Err(Violation::new("unreadable", format!("{child} is not in the snapshot")));
            }
            let delegations = targets.document().delegations.as_ref().unwrap();
            delegated.insert(child.clone(), RoleKeys::in_delegations(delegations, &child).map_err(unreadable)?);
        }
        for (name, target) in &targets.document().targets {
            let digest = Sha256::of(name.raw().as_bytes()).to_string();
            // Where a client looks for it: in the role of the longest prefix that there is.
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
                return Err(Violation::new("unreadable", format!("the bytes of {} are missing", name.raw())));
            }
            shown.insert(name.raw().to_owned(), sha256);
        }
    }
    let client = Client { timestamp: timestamp.version(), snapshot: snapshot.version(), roles, seen: None };
    Ok((shown, client))
}

fn fresh<T: tufline_tuf::SignedDocument>(
    signed: Signed<T>,
    now: Option<Time>,
) -> Result<Signed<T>, tufline_tuf::VerifyError> {
    match now {
        Some(now) => signed.expect_fresh(now),
        None => Ok(signed),
    }
}
