//! What clients of a mirror see.

use std::io;

use anyhow::{Context, bail};
use serde::de::DeserializeOwned;
use tough::schema::{Root, Signed, Snapshot, Targets, Timestamp};
use tufline_tuf::{RoleKeys, RoleName, SignedDocument, verify_published};

use crate::source::Seen;

/// The documents whose keys stand in the root, and the newest root's version.
pub struct Shown {
    root: u64,
    timestamp: (Signed<Timestamp>, Vec<u8>),
    snapshot: (Signed<Snapshot>, Vec<u8>),
    targets: Vec<u8>,
}

impl Shown {
    /// What was verified.
    pub fn of(seen: &Seen) -> anyhow::Result<Self> {
        let read = |name: &str| seen.files.get(name).cloned().ok_or_else(|| io::ErrorKind::NotFound.into());
        Self::read(&read).context("the timestamp, the snapshot or the targets of the repository were not read")
    }

    /// What `read` has; `None` where something is missing or damaged.
    pub fn read(read: &dyn Fn(&str) -> io::Result<Vec<u8>>) -> Option<Self> {
        let timestamp: (Signed<Timestamp>, _) = document(read("timestamp.json").ok()?)?;
        let version = timestamp.0.signed.meta.get("snapshot.json")?.version;
        let snapshot: (Signed<Snapshot>, _) = document(read(&format!("{version}.snapshot.json")).ok()?)?;
        let version = snapshot.0.signed.meta.get("targets.json")?.version;
        let targets = read(&format!("{version}.targets.json")).ok()?;
        let mut root = 0;
        while read(&format!("{}.root.json", root + 1)).is_ok() {
            root += 1;
        }
        Some(Self { root, timestamp, snapshot, targets })
    }

    /// The newest root's version.
    pub fn root(&self) -> u64 {
        self.root
    }

    /// The snapshot's version.
    pub fn snapshot_version(&self) -> u64 {
        self.snapshot.0.signed.version.get()
    }

    /// The timestamp's file.
    pub fn timestamp_bytes(&self) -> &[u8] {
        &self.timestamp.1
    }

    /// The names of all files but roots and the timestamp: what is not among them is of older versions.
    pub fn files(&self) -> impl Iterator<Item = String> {
        let roles = self.snapshot.0.signed.meta.iter().map(|(file, meta)| format!("{}.{file}", meta.version));
        roles.chain([format!("{}.snapshot.json", self.snapshot_version())])
    }

    /// Refuses to go back (TUF specification 5.4.3, 5.5.5), unless a newer root makes that possible: after keys were stolen and
    /// replaced, versions may begin again below the thief's (5.3.11).
    pub fn expect_not_newer(&self, new: &Self) -> anyhow::Result<()> {
        let (old_root, new_root) = (self.root, new.root);
        let older = |what: &str, old: u64, new: u64| {
            if new < old && new_root <= old_root {
                bail!(
                    "the copy has version {old} of the {what}, and the repository shows version {new}: somebody shows an old state"
                );
            }
            Ok(())
        };
        older("root", old_root, new_root)?;
        older("timestamp", self.timestamp.0.signed.version.get(), new.timestamp.0.signed.version.get())?;
        older("snapshot", self.snapshot_version(), new.snapshot_version())
    }

    /// Whether a client accepts all of it that trusts `root`, as far as a root decides.
    pub fn verifies_under(&self, root: &Root) -> bool {
        accepts::<Timestamp>(root, &RoleName::timestamp(), &self.timestamp.1)
            && accepts::<Snapshot>(root, &RoleName::snapshot(), &self.snapshot.1)
            && accepts::<Targets>(root, &RoleName::targets(), &self.targets)
    }
}

fn document<T: DeserializeOwned>(bytes: Vec<u8>) -> Option<(Signed<T>, Vec<u8>)> {
    Some((serde_json::from_slice(&bytes).ok()?, bytes))
}

fn accepts<T: SignedDocument>(root: &Root, role: &RoleName, bytes: &[u8]) -> bool {
    RoleKeys::in_root(root, role).is_ok_and(|keys| verify_published::<T>(bytes.to_vec().into(), &keys).is_ok())
}
