//! Room on the disk of the data folder.
//!
//! *Invariant*: copies of uploads never take the last of it: what the repository must write to renew and to publish what it has goes on, however
//! much is uploaded.

use std::fs::File;
use std::io;
use std::sync::Mutex;

use rustix::fs::{FallocateFlags, fallocate, fstatvfs};
use rustix::io::Errno;

use crate::lock::lock;

/// So much stays free for metadata, in bytes, and uploads are not taken in where it doesn't: a generation takes some kilobytes to a few megabytes, and a timestamp one.
pub const KEPT_FREE: u64 = 64 * 1024 * 1024;

/// On a small disk, at most this part of it.
const LARGEST_SHARE: u64 = 10;

/// From this length on blocks are reserved before anything is copied, in bytes. Shorter copies that are made at once fit in what stays free.
const WORTH_RESERVING: u64 = 256 * 1024;

/// One at a time, so that each sees what the others have taken.
static RESERVING: Mutex<()> = Mutex::new(());

/// Takes the blocks for `length` bytes of `file`, which is empty: as many as its apparent length says, whether what is copied has holes or not.
/// They are given back when the file is removed.
///
/// # Errors
/// [`io::ErrorKind::StorageFull`] where they, and what is kept free, don't fit.
pub fn reserve(file: &File, length: u64) -> io::Result<()> {
    let _one = lock(&RESERVING);
    let before = FreeRoom::of(file)?;
    if before.free < length.saturating_add(before.kept()) {
        return Err(before.too_little(length));
    }
    if length < WORTH_RESERVING {
        return Ok(());
    }
    match fallocate(file, FallocateFlags::KEEP_SIZE, 0, length) {
        // Not every file system can: then what is free was looked at, and no more.
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(()),
        Err(Errno::NOSPC | Errno::DQUOT) => Err(FreeRoom::of(file)?.too_little(length)),
        Err(error) => Err(error.into()),
    }
}

/// A disk's room, in bytes.
#[derive(Debug, Clone, Copy)]
struct FreeRoom {
    free: u64,
    whole: u64,
}

impl FreeRoom {
    fn of(file: &File) -> io::Result<Self> {
        let disk = fstatvfs(file)?;
        let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
        Ok(Self { free: bytes(disk.f_bavail), whole: bytes(disk.f_blocks) })
    }

    /// What must stay free.
    fn kept(self) -> u64 {
        KEPT_FREE.min(self.whole / LARGEST_SHARE)
    }

    fn too_little(self, length: u64) -> io::Error {
        let (free, kept) = (self.free, self.kept());
        io::Error::new(
            io::ErrorKind::StorageFull,
            format!(
                "its {length} bytes don't fit: {free} are free on the disk of the data folder, of which {kept} stay free for metadata"
            ),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn what_fits_is_reserved_and_given_back() {
        let file = tempfile::tempfile().unwrap();
        reserve(&file, 0).unwrap();
        reserve(&file, 4 * WORTH_RESERVING).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 0, "its length says what was copied");
    }

    #[test]
    fn what_does_not_fit_takes_nothing() {
        let file = tempfile::tempfile().unwrap();
        for length in [FreeRoom::of(&file).unwrap().free, u64::MAX] {
            let error = reserve(&file, length).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
            assert!(error.to_string().contains("stay free for metadata"), "{error}");
        }
        assert_eq!(file.metadata().unwrap().blocks(), 0);
    }

    #[test]
    fn a_small_disk_keeps_less_free() {
        assert_eq!(FreeRoom { free: 0, whole: 100_000 }.kept(), 10_000);
        assert_eq!(FreeRoom { free: 0, whole: u64::MAX }.kept(), KEPT_FREE);
    }
}
