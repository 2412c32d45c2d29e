//! What clients of a mirror see.

use std::io;

use anyhow::{Context, bail};
use tufline_metadata::{File, Snapshot, Targets, Timestamp, TrustedRoot, metadata_path};

use crate::source::VerifiedRepository;

/// The documents whose keys the root lists, and the newest root's version.
pub struct MirrorState {
    root: u64,
    timestamp: (Timestamp, Vec<u8>),
    snapshot: (Snapshot, Vec<u8>),
    targets: Vec<u8>,
}

impl MirrorState {
    /// The state of a repository that was verified.
    pub fn of(seen: &VerifiedRepository) -> anyhow::Result<Self> {
        let read = |name: &str| {
            seen.files.get(name).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
        };
        let shown = Self::read(seen.root.version(), &read);
        shown.context("the timestamp, the snapshot or the targets of the repository were not read")
    }

    /// The state of the files that `read` returns, with version `root` as the newest root; `None`
    /// if a file is missing or damaged.
    pub fn read(root: u64, read: &dyn Fn(&str) -> io::Result<Vec<u8>>) -> Option<Self> {
        let bytes = read("timestamp.json").ok()?;
        let timestamp = File::<Timestamp>::read(&bytes).ok()?.unverified().clone();
        let timestamp = (timestamp, bytes);
        let bytes = read(&metadata_path("snapshot", Some(timestamp.0.snapshot().version))).ok()?;
        let snapshot = (File::<Snapshot>::read(&bytes).ok()?.unverified().clone(), bytes);
        let targets =
            read(&metadata_path("targets", Some(snapshot.0.role("targets")?.version))).ok()?;
        Some(Self { root, timestamp, snapshot, targets })
    }

    pub fn root(&self) -> u64 {
        self.root
    }

    pub fn snapshot_version(&self) -> u64 {
        self.snapshot.0.version
    }

    pub fn timestamp_bytes(&self) -> &[u8] {
        &self.timestamp.1
    }

    /// The names of all current files, without roots and the timestamp. Other versioned files are
    /// older.
    pub fn files(&self) -> impl Iterator<Item = String> {
        let roles =
            self.snapshot.0.roles().map(|(role, meta)| metadata_path(role, Some(meta.version)));
        roles.chain([metadata_path("snapshot", Some(self.snapshot_version()))])
    }

    /// Refuses to go back to older versions (TUF specification 5.4.3, 5.5.5) unless the root is
    /// newer: after stolen keys were replaced, versions may start again below the thief's (5.3.11).
    pub fn expect_not_newer(&self, new: &Self) -> anyhow::Result<()> {
        let (old_root, new_root) = (self.root, new.root);
        let older = |what: &str, old: u64, new: u64| {
            if new < old && new_root <= old_root {
                bail!(
                    "the copy has version {old} of the {what}, but the repository shows version \
                     {new}: somebody shows an old state"
                );
            }
            Ok(())
        };
        older("root", old_root, new_root)?;
        older("timestamp", self.timestamp.0.version, new.timestamp.0.version)?;
        older("snapshot", self.snapshot_version(), new.snapshot_version())
    }

    /// Whether the timestamp, the snapshot and the targets all verify with the keys of `root`.
    pub fn verifies_under(&self, root: &TrustedRoot) -> bool {
        root.verify::<Timestamp>(&self.timestamp.1).is_ok()
            && root.verify::<Snapshot>(&self.snapshot.1).is_ok()
            && root.verify::<Targets>(&self.targets).is_ok()
    }
}
