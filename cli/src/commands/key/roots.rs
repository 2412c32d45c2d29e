//! The roots that a key rotation needs: one that lists the new keys beside the old ones, and one
//! that drops the old ones.

use std::path::{Path, PathBuf};

use anyhow::bail;
use tough::schema::key::Key;
use tough::schema::{RoleType, Root};
use tufline_tuf::Time;
use tufline_tuf::root::{self, KeyName, RootFile, RootKey, needed};

use crate::ceremony::{create, open};
use crate::text::{self, Quoted};

/// A role, and the new key that replaces its others.
pub type NewKey = (RoleType, Key);

/// A root's file, and the least number of signatures that it still lacks.
pub struct PreparedRoot {
    path: PathBuf,
    file: RootFile,
    missing: u64,
}

impl PreparedRoot {
    /// The next root after `before`, in `folder`: the file that is there, or a new unsigned one.
    /// For each role in `keys` it lists the new key beside the old ones or, if `alone`, only the
    /// new key.
    pub fn after(
        before: &Root,
        folder: &Path,
        keys: &[NewKey],
        alone: bool,
        expires: Time,
    ) -> anyhow::Result<Self> {
        let path = folder.join(format!("{}.root.json", before.version.get() + 1));
        let file = if path.exists() {
            let file = open(&path)?;
            if file.version() != before.version.get() + 1
                || !keys.iter().all(|key| lists(file.root(), key, alone))
            {
                bail!(
                    "{} exists, but is not the root that is needed now: move it away first",
                    path.quoted()
                );
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

    pub fn root(&self) -> &Root {
        self.file.root()
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file and the number of its missing signatures, for people; `None` if none is missing.
    pub fn to_sign(&self) -> Option<String> {
        let missing = text::count(self.missing, "signature");
        (self.missing > 0).then(|| format!("{} ({missing} missing)", self.path.quoted()))
    }
}

/// Whether `root` lists the role's new key and, if `alone`, no other.
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
