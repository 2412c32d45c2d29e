//! The online keys, in files.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tough::schema::key::Key as PublicKey;
use tufline_store::{ErrorKind, OnlineRole, Result, Signer, StoreError};
use tufline_tuf::root::same_key;

use crate::data::failed;
use crate::keys::KeyFile;
use crate::lock::lock;

/// [`Signer`] with a key file for each online role: `targets.pem`, `bins.pem`, `snapshot.pem`,
/// `timestamp.pem`; and from a rotation on, `timestamp.2.pem` and so on. The highest number is the
/// newest key.
///
/// It looks for the files at each use, since they may come and go.
#[derive(Debug)]
pub struct FileSigner {
    folder: PathBuf,
    opened: Mutex<BTreeMap<PathBuf, OpenedKey>>,
}

/// A key that was read, and the identity of its file, since another file may take its place.
#[derive(Debug, Clone)]
struct OpenedKey {
    /// The file's inode and modification time (seconds, nanoseconds): the file system uses inodes
    /// again.
    which: (u64, i64, i64),
    file: Arc<KeyFile>,
}

impl FileSigner {
    /// Opens the keys in `folder`.
    ///
    /// # Errors
    /// As [`KeyFile::open`]; also if a role has no key.
    pub fn open(folder: &Path) -> Result<Self> {
        let signer = Self::at(folder);
        for role in OnlineRole::ALL {
            signer.keys(role)?;
        }
        Ok(signer)
    }

    /// Uses the keys in `folder`, some of which may be lost: using a lost key fails.
    #[must_use]
    pub fn at(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), opened: Mutex::default() }
    }

    /// Whether `role` has no key.
    ///
    /// # Errors
    /// If the folder can't be read.
    pub fn lacks(&self, role: OnlineRole) -> Result<bool> {
        Ok(numbers(&self.folder, role)?.is_empty())
    }

    /// Opens the keys in `folder`, and makes those that are missing. Call it only before anything
    /// is published: devices would not trust a new key in place of a lost one.
    ///
    /// # Errors
    /// As [`KeyFile::generate`].
    pub fn generate(folder: &Path) -> Result<Self> {
        for role in OnlineRole::ALL {
            if numbers(folder, role)?.is_empty() {
                KeyFile::generate(&path(folder, role, 1))?;
            }
        }
        Self::open(folder)
    }

    /// Makes a new key for `role`; returns its path. The key signs once devices trust it.
    ///
    /// # Errors
    /// As [`KeyFile::generate`].
    pub fn add(&self, role: OnlineRole) -> Result<PathBuf> {
        let newest = numbers(&self.folder, role)?.pop().unwrap_or(0);
        let path = path(&self.folder, role, newest + 1);
        KeyFile::generate(&path)?;
        Ok(path)
    }

    /// The path of the file with `key`, a key of `role`.
    ///
    /// # Errors
    /// As [`KeyFile::open`]; also if no file has this key.
    pub fn file(&self, role: OnlineRole, key: &PublicKey) -> Result<PathBuf> {
        self.find(role, key).map(|(path, _)| path)
    }

    fn find(&self, role: OnlineRole, key: &PublicKey) -> Result<(PathBuf, Arc<KeyFile>)> {
        let found =
            self.keys(role)?.into_iter().find(|(_, file)| same_key(&file.public_key(), key));
        let missing = || {
            StoreError::new(
                ErrorKind::Missing,
                "find",
                format!("{}'s key", name(role)),
                "its file no longer exists",
            )
        };
        found.ok_or_else(missing)
    }

    /// The keys of `role`, the oldest first.
    fn keys(&self, role: OnlineRole) -> Result<Vec<(PathBuf, Arc<KeyFile>)>> {
        let numbers = numbers(&self.folder, role)?;
        if numbers.is_empty() {
            // This fails with an error that names the missing file.
            KeyFile::open(&path(&self.folder, role, 1))?;
        }
        let mut opened = lock(&self.opened);
        let mut keys = Vec::with_capacity(numbers.len());
        for number in numbers {
            let path = path(&self.folder, role, number);
            let metadata =
                std::fs::metadata(&path).map_err(|error| failed("read", &path, error))?;
            let which = (metadata.ino(), metadata.mtime(), metadata.mtime_nsec());
            let file = match opened.get(&path) {
                Some(known) if known.which == which => Arc::clone(&known.file),
                _ => Arc::new(KeyFile::open(&path)?),
            };
            opened.insert(path.clone(), OpenedKey { which, file: Arc::clone(&file) });
            keys.push((path, file));
        }
        Ok(keys)
    }
}

/// The numbers of the existing key files of `role`, in order.
fn numbers(folder: &Path, role: OnlineRole) -> Result<Vec<u32>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|error| failed("list", folder, error))?,
    };
    let mut numbers = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| failed("list", folder, error))?;
        numbers.extend(entry.file_name().to_str().and_then(|file| number(file, role)));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn number(file: &str, role: OnlineRole) -> Option<u32> {
    match file.strip_prefix(name(role))?.strip_suffix(".pem")? {
        "" => Some(1),
        number => number.strip_prefix('.')?.parse().ok().filter(|number| *number > 1),
    }
}

fn path(folder: &Path, role: OnlineRole, number: u32) -> PathBuf {
    let name = name(role);
    folder.join(if number == 1 { format!("{name}.pem") } else { format!("{name}.{number}.pem") })
}

fn name(role: OnlineRole) -> &'static str {
    match role {
        OnlineRole::Targets => "targets",
        OnlineRole::Bins => "bins",
        OnlineRole::Snapshot => "snapshot",
        OnlineRole::Timestamp => "timestamp",
    }
}

#[async_trait]
impl Signer for FileSigner {
    async fn public_keys(&self, role: OnlineRole) -> Result<Vec<PublicKey>> {
        Ok(self.keys(role)?.iter().map(|(_, file)| file.public_key()).collect())
    }

    async fn sign(&self, role: OnlineRole, key: &PublicKey, message: &[u8]) -> Result<Vec<u8>> {
        self.find(role, key)?.1.sign(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn keys_come_and_go_while_it_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let error = FileSigner::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("targets.pem"), "open makes no keys: {error}");
        let signer = FileSigner::generate(folder.path()).unwrap();
        let role = OnlineRole::Timestamp;
        let old = signer.newest_key(role).await.unwrap();
        for file in ["timestamp.x.pem", "timestamp.1.pem", "timestamp.2.tmp", "timestamps.pem"] {
            std::fs::write(folder.path().join(file), "no key").unwrap();
        }
        assert_eq!(signer.add(role).unwrap(), folder.path().join("timestamp.2.pem"));
        let new = signer.newest_key(role).await.unwrap();
        assert_eq!(signer.public_keys(role).await.unwrap(), [old.clone(), new.clone()]);
        assert_eq!(
            FileSigner::generate(folder.path()).unwrap().public_keys(role).await.unwrap().len(),
            2
        );

        std::fs::remove_file(signer.file(role, &old).unwrap()).unwrap();
        assert_eq!(signer.public_keys(role).await.unwrap(), [new]);
        assert!(signer.sign(role, &old, b"a").await.is_err());
        let again = FileSigner::generate(folder.path()).unwrap();
        assert_eq!(
            again.public_keys(role).await.unwrap().len(),
            1,
            "no first key is made beside a second"
        );
        assert_eq!(signer.add(role).unwrap(), folder.path().join("timestamp.3.pem"));
    }
}
