//! Guards the free space on the disk of the data folder.
//!
//! *Invariant*: copies of uploads never take the last free space. So the repository can always
//! renew its metadata and publish what it has, however much is uploaded.

use std::fs::File;
use std::io;
use std::sync::Mutex;

use rustix::fs::{FallocateFlags, fallocate, fstatvfs};
use rustix::io::Errno;

use crate::lock::lock;

/// How many bytes stay free for metadata: an upload that would leave less is not accepted. A
/// generation takes some kilobytes to a few megabytes, and a timestamp about a kilobyte.
pub const KEPT_FREE: u64 = 64 * 1024 * 1024;

/// On a small disk, one part in this many stays free.
const LARGEST_SHARE: u64 = 10;

/// From this length on, in bytes, blocks are reserved before the copy. Shorter copies at the same
/// time fit in the space that stays free.
const WORTH_RESERVING: u64 = 256 * 1024;

/// Lets one thread reserve at a time, so that each sees what the others have taken.
static RESERVING: Mutex<()> = Mutex::new(());

/// Reserves the blocks for `length` bytes of the empty `file`, whether or not the bytes to copy
/// have holes. Removing the file frees them.
///
/// # Errors
/// [`io::ErrorKind::StorageFull`] if they don't fit beside the space that stays free.
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
        // Not every file system can reserve: then the check above must do.
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
                "its {length} bytes don't fit: the disk of the data folder has {free} free, of \
                 which {kept} stay free for metadata"
            ),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn what_fits_is_reserved_and_freed_again() {
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
