//! The data folder: its layout's version, its lock, and its clean-up after a crash.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tufline_store::{Bucket, ErrorKind, Key, Result, StoreError};

use crate::atomic_files::Disk;
use crate::given;

/// The layout that this code reads and writes, in `DATA/format`.
const FORMAT: &str = "1";

/// An open data folder. Clones share it; the lock, if taken, is held until the last clone is
/// dropped.
#[derive(Debug, Clone)]
pub struct DataFolder(Arc<OpenData>);

#[derive(Debug)]
struct OpenData {
    root: PathBuf,
    disk: Disk,
    _lock: Option<File>,
}

impl DataFolder {
    /// Opens the folder at `root` for the one process that runs the stages. It makes a missing
    /// folder, and cleans up after a process that was killed.
    ///
    /// # Errors
    /// If another process uses the folder (`already in use by another tufline (pid …)`), if its
    /// format is another version's, or if it cannot be made or written.
    pub fn lock(root: impl AsRef<Path>) -> Result<Self> {
        let root = absolute(root.as_ref())?;
        std::fs::create_dir_all(&root).map_err(|error| failed("make", &root, error))?;
        let lock = take_lock(&root.join("lock"))?;
        let is_new = !root.join("format").exists();
        let folder = Self::prepare(root, Some(lock))?;
        if !is_new {
            folder.clean()?;
        }
        Ok(folder)
    }

    /// Opens the folder at `root`, which must exist, without the lock: another process may run the
    /// stages.
    ///
    /// # Errors
    /// If the folder is missing, its format is another version's, or it cannot be written.
    pub fn open(root: impl AsRef<Path>) -> Result<Self> {
        let root = absolute(root.as_ref())?;
        if !root.join("format").exists() {
            return Err(StoreError::new(
                ErrorKind::Missing,
                "open",
                root.display(),
                "it is not the data folder of a repository; name the right one, or start `tufline \
                 local` to make it",
            ));
        }
        Self::prepare(root, None)
    }

    /// Whether a process runs the stages on the folder at `root`. This disturbs no running process;
    /// only one that starts at this very moment may find the lock taken.
    #[must_use]
    pub fn is_running(root: impl AsRef<Path>) -> bool {
        given::open(&root.as_ref().join("lock"))
            .is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

    fn prepare(root: PathBuf, lock: Option<File>) -> Result<Self> {
        let disk = Disk::new(root.join("tmp"));
        let format = root.join("format");
        match given::read_to_string(&format) {
            Ok(found) if found.trim() == FORMAT => {}
            Ok(found) => {
                let found: String = found.trim().chars().take(40).collect();
                return Err(StoreError::new(
                    ErrorKind::Invalid,
                    "open",
                    root.display(),
                    format!(
                        "its format is {found:?} and this tufline reads {FORMAT:?}; use the \
                         tufline that made it, or another folder"
                    ),
                ));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                disk.make(&root.join("tmp"))
                    .map_err(|error| failed("make", &root.join("tmp"), error))?;
                let _ = disk
                    .create(&format, format!("{FORMAT}\n").as_bytes())
                    .map_err(|error| failed("create", &format, error))?;
            }
            Err(error) => return Err(failed("read", &format, error)),
        }
        for folder in ["tmp", "repository/incoming", "ledger"].map(|folder| root.join(folder)) {
            disk.make(&folder).map_err(|error| failed("make", &folder, error))?;
        }
        Ok(Self(Arc::new(OpenData { root, disk, _lock: lock })))
    }

    /// Removes half-written files and abandoned copies, and makes durable what a killed process had
    /// made visible but not yet durable.
    fn clean(&self) -> Result<()> {
        for folder in [self.path().join("tmp"), self.path().join("repository/incoming")] {
            let emptied = match std::fs::remove_dir_all(&folder) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                result => result,
            };
            emptied
                .and_then(|()| std::fs::create_dir(&folder))
                .map_err(|error| failed("clear", &folder, error))?;
        }
        let root = File::open(self.path()).map_err(|error| failed("open", self.path(), error))?;
        #[cfg(target_os = "linux")]
        rustix::fs::syncfs(&root).map_err(|error| failed("sync", self.path(), error.into()))?;
        #[cfg(not(target_os = "linux"))]
        rustix::fs::sync();
        root.sync_all().map_err(|error| failed("sync", self.path(), error))
    }

    /// The absolute path of the folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.root
    }

    /// The path of the folder with the private keys.
    #[must_use]
    pub fn keys(&self) -> PathBuf {
        self.path().join("keys")
    }

    pub(crate) fn disk(&self) -> &Disk {
        &self.0.disk
    }

    pub(crate) fn bucket(&self, bucket: Bucket) -> PathBuf {
        self.path().join(match bucket {
            Bucket::Repository => "repository",
            Bucket::Ledger => "ledger",
        })
    }

    /// The path of the object `key`.
    ///
    /// # Errors
    /// If the path would lead out of the folder.
    pub(crate) fn object(&self, key: &Key) -> Result<PathBuf> {
        let path = key.path();
        // A key may contain an upload's version, which can be any string.
        let plain = |segment: &str| !matches!(segment, "" | "." | "..") && !segment.contains('\0');
        if !path.split('/').all(plain) {
            let why = "it is not a path within the data folder";
            return Err(StoreError::new(ErrorKind::Invalid, "use", format!("{path:?}"), why));
        }
        Ok(self.bucket(key.bucket()).join(path))
    }
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|error| failed("find", path, error))
}

/// The error as a port reports it: `action` failed on `path`. Its kind follows from the operating
/// system's error.
pub fn failed(action: &'static str, path: &Path, error: io::Error) -> StoreError {
    let is_full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    let failed = StoreError::from_source(kind_of(&error), action, path.display(), error);
    let why =
        if is_full { failed.why + "; make room, and it goes on by itself" } else { failed.why };
    StoreError { why, ..failed }
}

/// The kind of an operating system's error (<https://man7.org/linux/man-pages/man3/errno.3.html>).
fn kind_of(error: &io::Error) -> ErrorKind {
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::Denied,
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ErrorKind::Missing,
        io::ErrorKind::AlreadyExists => ErrorKind::Conflict,
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => ErrorKind::Corrupt,
        io::ErrorKind::InvalidInput
        | io::ErrorKind::InvalidFilename
        | io::ErrorKind::IsADirectory
        | io::ErrorKind::FileTooLarge
        | io::ErrorKind::Unsupported => ErrorKind::Invalid,
        // A full disk, a disk that fails or hangs, too many open files.
        _ => ErrorKind::Retry,
    }
}

fn take_lock(path: &Path) -> Result<File> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
    let mut file = file.map_err(|error| failed("open", path, error))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let pid = std::fs::read_to_string(path).unwrap_or_default();
            let pid = if pid.trim().is_empty() { "unknown" } else { pid.trim() };
            let folder = path.parent().unwrap_or(path);
            return Err(StoreError::new(
                ErrorKind::Conflict,
                "open",
                folder.display(),
                format!(
                    "already in use by another tufline (pid {pid}); stop it, or use another data \
                     folder"
                ),
            ));
        }
        Err(TryLockError::Error(error)) => return Err(failed("lock", path, error)),
    }
    // The pid is only for the message above. The lock itself is the operating system's, and ends
    // with the process.
    file.set_len(0)
        .and_then(|()| file.write_all(std::process::id().to_string().as_bytes()))
        .map_err(|error| failed("write", path, error))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The error numbers come from <https://man7.org/linux/man-pages/man3/errno.3.html>.
    #[test]
    fn each_error_of_the_operating_system_has_its_kind_and_is_kept_as_the_source() {
        use rustix::io::Errno;
        for (errno, kind) in [
            (Errno::ACCESS, ErrorKind::Denied),
            (Errno::PERM, ErrorKind::Denied),
            (Errno::ROFS, ErrorKind::Denied),
            (Errno::NOENT, ErrorKind::Missing),
            (Errno::NOTDIR, ErrorKind::Missing),
            (Errno::EXIST, ErrorKind::Conflict),
            (Errno::ISDIR, ErrorKind::Invalid),
            (Errno::NAMETOOLONG, ErrorKind::Invalid),
            (Errno::NOSPC, ErrorKind::Retry),
            (Errno::DQUOT, ErrorKind::Retry),
            (Errno::IO, ErrorKind::Retry),
            (Errno::MFILE, ErrorKind::Retry),
            (Errno::STALE, ErrorKind::Retry),
        ] {
            let error = failed("read", Path::new("/a"), errno.into());
            assert_eq!(error.kind, kind, "{error}");
            let source =
                std::error::Error::source(&error).unwrap().downcast_ref::<io::Error>().unwrap();
            assert_eq!(source.raw_os_error(), Some(errno.raw_os_error()));
            let is_full = matches!(errno, Errno::NOSPC | Errno::DQUOT);
            let then = if is_full { "; make room, and it goes on by itself" } else { "" };
            assert_eq!(error.to_string(), format!("read /a: {source}{then}"));
        }
    }

    #[test]
    fn one_process_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataFolder::lock(folder.path().join("new/data")).unwrap();
        let again = data.clone();
        drop(data);
        let error = DataFolder::lock(again.path()).unwrap_err().to_string();
        assert!(
            error.contains(&format!(
                "already in use by another tufline (pid {})",
                std::process::id()
            )),
            "{error}"
        );
        DataFolder::open(again.path()).unwrap();
        let path = again.path().to_owned();
        drop(again);
        DataFolder::lock(path).unwrap();
    }

    #[test]
    fn another_version_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        drop(DataFolder::lock(folder.path()).unwrap());
        std::fs::write(folder.path().join("format"), "2\n").unwrap();
        for result in [DataFolder::lock(folder.path()), DataFolder::open(folder.path())] {
            let error = result.unwrap_err().to_string();
            assert!(error.contains("its format is \"2\"") && !error.contains('\n'), "{error}");
        }
        assert!(DataFolder::open(folder.path().join("missing")).is_err());
    }

    #[test]
    fn leftovers_of_a_crash_are_removed_and_the_rest_stays() {
        let folder = tempfile::tempdir().unwrap();
        drop(DataFolder::lock(folder.path()).unwrap());
        std::fs::write(folder.path().join("tmp/77-0"), "half").unwrap();
        std::fs::create_dir_all(folder.path().join("repository/incoming/a")).unwrap();
        std::fs::write(folder.path().join("repository/incoming/a/b"), "half").unwrap();
        std::fs::write(folder.path().join("repository/kept"), "whole").unwrap();
        drop(DataFolder::lock(folder.path()).unwrap());
        assert_eq!(std::fs::read_dir(folder.path().join("tmp")).unwrap().count(), 0);
        assert_eq!(
            std::fs::read_dir(folder.path().join("repository/incoming")).unwrap().count(),
            0
        );
        assert!(folder.path().join("repository/kept").exists());
    }

    #[test]
    fn no_key_leads_out_of_the_folder() {
        use tufline_store::{UploadKey, VersionId};
        let folder = tempfile::tempdir().unwrap();
        let data = DataFolder::lock(folder.path()).unwrap();
        for version in ["../../../x", "..", "a//b", "a\0b", "/x", "./x", ".."] {
            let key = Key::Hashed(UploadKey::new("a", &VersionId(version.into())));
            match data.object(&key) {
                Err(error) => assert!(!error.to_string().contains('\0'), "{error}"),
                Ok(path) => assert!(path.ends_with("...json"), "{version:?} gave {path:?}"),
            }
        }
    }
}
