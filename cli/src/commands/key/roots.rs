//! The roots that a replacement needs: one that lists the new keys beside the old ones, and one without those.

use std::path::{Path, PathBuf};

use anyhow::bail;
use tough::schema::key::Key;
use tough::schema::{RoleType, Root};
use tufline_tuf::Time;
use tufline_tuf::root::{self, KeyName, RootFile, RootKey, needed};

use crate::ceremony::{create, open};
use crate::text::{self, Quoted};

/// A role, and the key that shall be its only one.
pub type NewKey = (RoleType, Key);

/// A root's file, and how many signatures it lacks at least.
pub struct PreparedRoot {
    path: PathBuf,
    file: RootFile,
    missing: u64,
}

impl PreparedRoot {
    /// The root that comes after `before`: the file in `folder`, made there unless it is there already, unsigned. It lists `keys`
    /// beside others, or, if `alone`, no others.
    pub fn after(before: &Root, folder: &Path, keys: &[NewKey], alone: bool, expires: Time) -> anyhow::Result<Self> {
        let path = folder.join(format!("{}.root.json", before.version.get() + 1));
        let file = if path.exists() {
            let file = open(&path)?;
            if file.version() != before.version.get() + 1 || !keys.iter().all(|key| lists(file.root(), key, alone)) {
                bail!("{} is there, but is not the root that is needed now: put it away first", path.quoted());
            }
            file
        } else {
            let file = with(&root::next(before, expires)?, keys, alone)?;
            create(&path, &file)?;
            file
        };
        let missing = needed(&file, Some(before));
        Ok(Self { path, file, missing })
    }

    /// The root.
    pub fn root(&self) -> &Root {
        self.file.root()
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is missing, if anything is.
    pub fn to_sign(&self) -> Option<String> {
        let missing = text::count(self.missing, "signature");
        (self.missing > 0).then(|| format!("{} ({missing} missing)", self.path.quoted()))
    }
}

/// Whether the role's keys are as they shall be.
fn lists(root: &Root, (role, key): &NewKey, alone: bool) -> bool {
    let Some(entry) = root.roles.get(role) else { return false };
    let mut keys = entry.keyids.iter().filter_map(|id| root.keys.get(id));
    keys.any(|listed| root::same_key(listed, key)) && (!alone || entry.keyids.len() == 1)
}

fn with(file: &RootFile, keys: &[NewKey], alone: bool) -> anyhow::Result<RootFile> {
    let mut file = file.clone();
    for new in keys {
        let (role, key) = new;
        if !lists(file.root(), new, false) {
            file = root::add_key(&file, *role, RootKey { holder: None, key: key.clone() })?;
        }
        if !alone {
            continue;
        }
        let root = file.root().clone();
        for id in root.roles.get(role).map(|entry| entry.keyids.as_slice()).unwrap_or_default() {
            if root.keys.get(id).is_none_or(|listed| !root::same_key(listed, key)) {
                file = root::remove_key(&file, *role, &KeyName(hex::encode(id)))?;
            }
        }
    }
    Ok(file)
}
