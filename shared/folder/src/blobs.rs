//! The targets' bytes as files.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use tufline_store::{
    Blob, Blobs, ErrorKind, Kept, Key, Result, Source, StoreError, Upload, UploadKey, Uploads,
};
use tufline_tuf::{Hasher, Sha256};

use crate::atomic_files::Temporary;
use crate::data::{DataFolder, failed};
use crate::free_space::reserve;
use crate::given;
use crate::threads::{COPIES, DATA, Threads, blocking, in_turn};
use crate::uploads::{FolderUploads, read_range};

/// From this length on, in bytes, a copy that shares the file's blocks is worth an attempt.
const WORTH_SHARING: u64 = 256 * 1024;

/// The size of the copy buffer, in bytes.
const AT_ONCE: usize = 256 * 1024;

/// [`Blobs`] on a data folder, `repository/blobs/<sha256>`.
///
/// *Invariant*: a file in `blobs/` has the digest in its name. Uploads are copied and never linked,
/// since the uploader may write to the file again.
#[derive(Clone)]
pub struct FolderBlobs {
    data: DataFolder,
    uploads: FolderUploads,
}

impl FolderBlobs {
    /// The blobs in the data folder `data`, which are copied from `uploads`.
    #[must_use]
    pub fn new(data: &DataFolder, uploads: &FolderUploads) -> Self {
        Self { data: data.clone(), uploads: uploads.clone() }
    }

    /// The path of a blob.
    fn blob(&self, sha256: &Sha256) -> Result<PathBuf> {
        self.data.object(&Key::Blob(*sha256))
    }

    /// The path of the copy of `upload` with this digest before it becomes a blob. The name
    /// contains the digest, so a copy can't become another digest's blob, and two copies made at
    /// once don't collide. All copies are in one folder, since making and removing a folder for
    /// each would take longer than the copying.
    fn incoming(&self, upload: &Upload, sha256: &Sha256) -> Result<PathBuf> {
        let version = upload.version.as_ref().ok_or_else(|| {
            let why = "it has no version; look at it again";
            StoreError::new(ErrorKind::Invalid, "copy", self.uploads.place(&upload.name), why)
        })?;
        let path = self.data.object(&Key::Incoming(UploadKey::new(&upload.name, version)))?;
        let (name, version) = (path.parent().unwrap_or(&path).display(), version);
        Ok(PathBuf::from(format!("{name}.{version}.{sha256}")))
    }

    fn copy_in_now(&self, upload: &Upload) -> Result<Sha256> {
        let opened = self.uploads.open_version(upload, "copy")?;
        let place = || PathBuf::from(self.uploads.place(&upload.name));
        let (temporary, sha256) = self
            .copy(&opened.file, upload.length)
            .map_err(|error| failed("copy", &place(), error))?;
        opened.check()?;
        // The same bytes under many names are copied each time, but only the first copy has to
        // stay.
        let blob = self.blob(&sha256)?;
        if std::fs::metadata(&blob).is_ok_and(|metadata| metadata.len() == upload.length) {
            return Ok(sha256);
        }
        // The copy need not be durable: after a crash it is made again.
        let incoming = self.incoming(upload, &sha256)?;
        temporary.put_aside(&incoming).map_err(|error| failed("copy to", &incoming, error))?;
        Ok(sha256)
    }

    /// A temporary copy of `file`, which has `length` bytes, and its digest.
    fn copy(&self, file: &File, length: u64) -> io::Result<(Temporary, Sha256)> {
        let mut temporary = self.data.disk().temporary()?;
        let mut hasher = Hasher::new();
        if length >= WORTH_SHARING && share(file, &temporary.file) {
            // It hashes the copy, to which nobody else writes.
            temporary.file.rewind()?;
            pump(&mut temporary.file, length, &mut |bytes| {
                hasher.update(bytes);
                Ok(())
            })?;
        } else {
            reserve(&temporary.file, length)?;
            // If the file grows meanwhile, it is another version: it copies no more than was
            // reserved.
            let mut file = file.take(length.saturating_add(1));
            pump(&mut file, length, &mut |bytes| {
                hasher.update(bytes);
                temporary.file.write_all(bytes)
            })?;
        }
        Ok((temporary, hasher.finish()))
    }

    fn keep_now(&self, upload: &Upload, source: Source, sha256: &Sha256) -> Result<()> {
        let disk = self.data.disk();
        let blob = self.blob(sha256)?;
        if let Ok(metadata) = std::fs::metadata(&blob)
            && metadata.len() != upload.length
        {
            let why = format!(
                "it has {} bytes instead of {}; the disk damaged it: remove it, and it is stored \
                 again",
                metadata.len(),
                upload.length
            );
            return Err(StoreError::new(ErrorKind::Corrupt, "keep", blob.display(), why));
        }
        if source == Source::Upload && !blob.exists() {
            let found = self.copy_in_now(upload)?;
            if found != *sha256 {
                return Err(StoreError::new(
                    ErrorKind::Conflict,
                    "keep",
                    self.uploads.place(&upload.name),
                    format!("its SHA-256 is {found} and not {sha256}; it is retried"),
                ));
            }
        }
        let incoming = self.incoming(upload, sha256)?;
        let placed = if blob.exists() { Ok(()) } else { disk.place(&incoming, &blob).map(|_| ()) };
        let kept = match placed {
            // Another thread has just kept the same copy.
            Err(error) if error.kind() == io::ErrorKind::NotFound && blob.exists() => Ok(()),
            result => result.map_err(|error| failed("keep", &incoming, error)),
        };
        // A copy is left over if another thread's copy became the blob, or if none did and it must
        // be made again. If it can't be removed now, the next start removes it.
        let _ = std::fs::remove_file(&incoming);
        kept?;
        disk.sync_entry(&blob).map_err(|error| failed("sync", &blob, error))
    }

    async fn run<T: Send + 'static>(
        &self,
        threads: &'static Threads,
        work: impl FnOnce(&Self) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let blobs = self.clone();
        in_turn(threads, move || work(&blobs)).await
    }
}

/// Tries to make `to` a copy of `from` that shares its blocks until one of the two is written to;
/// returns whether it did.
#[cfg(target_os = "linux")]
fn share(from: &File, to: &File) -> bool {
    rustix::fs::ioctl_ficlone(to, from).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn share(_from: &File, _to: &File) -> bool {
    false
}

/// Reads `from` to its end, about `length` bytes, and passes it to `take`, piece by piece.
fn pump(
    from: &mut impl Read,
    length: u64,
    take: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut buffer =
        vec![0; usize::try_from(length).map_or(AT_ONCE, |length| AT_ONCE.min(length + 1))];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            count => take(buffer.get(..count).unwrap_or_default())?,
        }
    }
}

/// The length of the file at `path`; `None` if it is missing.
pub(crate) fn length(path: &Path) -> io::Result<Option<u64>> {
    match std::fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata.len())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Opens the file at `path`, with its length; `None` if it is missing.
pub(crate) fn open(path: &Path) -> io::Result<Option<(File, u64)>> {
    match given::open(path) {
        Ok(file) => {
            let length = file.metadata()?.len();
            Ok(Some((file, length)))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[async_trait]
impl Blobs for FolderBlobs {
    async fn copy_in(&self, upload: &Upload) -> Result<Option<Sha256>> {
        let upload = upload.clone();
        self.run(&COPIES, move |blobs| blobs.copy_in_now(&upload).map(Some)).await
    }

    /// Always `None`: nobody but this process could hash the upload, and it has done so already.
    async fn check(&self, _upload: &Upload) -> Result<Option<Sha256>> {
        Ok(None)
    }

    async fn keep(&self, upload: &Upload, source: Source, sha256: &Sha256) -> Result<Kept> {
        let (upload, sha256) = (upload.clone(), *sha256);
        // An upload that was not copied before is copied now.
        let threads = if source == Source::Upload { &COPIES } else { &DATA };
        // There is no time limit, so the blob is whole after one call.
        self.run(threads, move |blobs| {
            blobs.keep_now(&upload, source, &sha256).map(|()| Kept::Whole)
        })
        .await
    }

    async fn head(&self, sha256: &Sha256) -> Result<Option<Blob>> {
        let path = self.blob(sha256)?;
        self.run(&DATA, move |blobs| {
            let blob = length(&path).map(|found| found.map(|length| Blob { length, sha256: None }));
            blob.and_then(|blob| blobs.data.disk().sync_entry(&path).map(|()| blob))
                .map_err(|error| failed("look at", &path, error))
        })
        .await
    }

    async fn read(&self, sha256: &Sha256, offset: u64, length: u64) -> Result<Option<Bytes>> {
        let path = self.blob(sha256)?;
        // For devices, so it must not wait for other work.
        blocking(move || {
            let bytes = open(&path).and_then(|found| {
                found.map(|(file, whole)| read_range(&file, whole, offset, length)).transpose()
            });
            bytes.map_err(|error| failed("read", &path, error))
        })
        .await
    }
}
