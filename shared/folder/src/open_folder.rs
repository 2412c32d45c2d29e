//! Reads a folder of files that others write, without ever leaving it.
//!
//! Every step starts from an open folder and follows no symbolic link. So it reads nothing outside
//! the folder, whatever a name says, and whatever is moved meanwhile.

use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fstat, fstatfs, openat, statat, unlinkat,
};
#[cfg(target_os = "linux")]
use rustix::fs::{ResolveFlags, StatxFlags, openat2, statx};
use rustix::io::Errno;

const OPEN_FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// The longest path that the system accepts, in bytes.
#[cfg(target_os = "linux")]
const LONGEST_PATH: usize = 4095;

/// An open folder. It stays the same folder, even if another takes its place or is mounted over it.
#[derive(Debug)]
pub struct OpenFolder(OwnedFd);

/// A file's metadata: length, times, owner, inode.
#[derive(Debug, Clone, Copy)]
pub struct FileState(Stat);

/// An entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderEntry {
    /// The name. Bytes that aren't UTF-8 read as U+FFFD.
    pub name: String,
    /// Whether it is a folder. Otherwise it is a file of any kind.
    pub is_folder: bool,
}

/// What is at a name in a folder.
#[derive(Debug, Clone, Copy)]
pub enum Look {
    /// A regular file.
    File(FileState),
    Folder,
    /// Anything else, with a description for people.
    Other(FileState, &'static str),
}

/// Whether `error` means that there is no such file, for any of the reasons for which a name can
/// lead nowhere.
fn is_absence(error: Errno) -> bool {
    matches!(
        error,
        Errno::NOENT
            | Errno::NOTDIR
            | Errno::LOOP
            | Errno::NAMETOOLONG
            | Errno::ILSEQ
            | Errno::NXIO
    )
}

fn found<T>(result: rustix::io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if is_absence(error) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl OpenFolder {
    /// Opens the folder at `path`, following links.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(openat(CWD, path, OPEN_FOLDER, Mode::empty())?))
    }

    /// Opens the folder `segment` in this one; `None` if there is none.
    pub fn folder(&self, segment: &CStr) -> io::Result<Option<Self>> {
        Ok(found(openat(&self.0, segment, OPEN_FOLDER | OFlags::NOFOLLOW, Mode::empty()))?
            .map(Self))
    }

    /// Opens the folder to which `segments` lead; `None` if there is none.
    pub fn descend(&self, segments: &[&str]) -> io::Result<Option<Self>> {
        if let Some(opened) = self.descend_at_once(segments) {
            return opened;
        }
        let mut folder = self.try_clone()?;
        for segment in segments {
            let Some(raw) = folder.raw_name(segment)? else { return Ok(None) };
            let Some(below) = folder.folder(&raw)? else { return Ok(None) };
            folder = below;
        }
        Ok(Some(folder))
    }

    /// The same in one system call; `None` if the system doesn't have it, or if a segment isn't the
    /// exact name on disk (<https://man7.org/linux/man-pages/man2/openat2.2.html>).
    #[cfg(target_os = "linux")]
    fn descend_at_once(&self, segments: &[&str]) -> Option<io::Result<Option<Self>>> {
        let path = segments.join("/");
        if path.contains(char::REPLACEMENT_CHARACTER) || path.len() > LONGEST_PATH {
            return None;
        }
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        match openat2(&self.0, &path, OPEN_FOLDER, Mode::empty(), resolve) {
            // An older system, a container that forbids it, a race, or an invalid path.
            Err(Errno::NOSYS | Errno::PERM | Errno::AGAIN | Errno::INVAL) => None,
            opened => Some(found(opened).map(|opened| opened.map(Self))),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn descend_at_once(&self, _segments: &[&str]) -> Option<io::Result<Option<Self>>> {
        None
    }

    /// Another handle on this folder.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self(self.0.try_clone()?))
    }

    /// What is at `segment` in this folder; `None` if nothing is. It doesn't follow a link.
    pub fn look(&self, segment: &CStr) -> io::Result<Option<Look>> {
        let stat = found(statat(&self.0, segment, AtFlags::SYMLINK_NOFOLLOW))?;
        Ok(stat.map(|stat| match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Look::File(FileState(stat)),
            FileType::Directory => Look::Folder,
            FileType::Symlink => Look::Other(FileState(stat), "a symbolic link"),
            FileType::Fifo => Look::Other(FileState(stat), "a named pipe"),
            FileType::Socket => Look::Other(FileState(stat), "a socket"),
            FileType::CharacterDevice | FileType::BlockDevice => {
                Look::Other(FileState(stat), "a device")
            }
            FileType::Unknown => Look::Other(FileState(stat), "no regular file"),
        }))
    }

    /// The first symbolic link in the place of one of the folders `segments`, if there is one.
    pub fn link_on_the_way(&self, segments: &[&str]) -> io::Result<Option<FileState>> {
        let mut folder = self.try_clone()?;
        for segment in segments {
            let Some(raw) = folder.raw_name(segment)? else { return Ok(None) };
            match folder.look(&raw)? {
                Some(Look::Folder) => {}
                Some(Look::Other(state, _)) if state.is_link() => return Ok(Some(state)),
                _ => return Ok(None),
            }
            let Some(below) = folder.folder(&raw)? else { return Ok(None) };
            folder = below;
        }
        Ok(None)
    }

    /// Opens the regular file `segment` in this folder for reading; `None` if there is none.
    pub fn file(&self, segment: &CStr) -> io::Result<Option<File>> {
        // Without NONBLOCK, opening a FIFO would wait for a writer.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Some(descriptor) = found(openat(&self.0, segment, flags, Mode::empty()))? else {
            return Ok(None);
        };
        let file = File::from(descriptor);
        Ok(FileState::of(&file)?.map(|_| file))
    }

    /// Removes the regular file `segment` from this folder if no process has it locked; returns
    /// whether it did.
    pub fn remove_abandoned(&self, segment: &CStr) -> io::Result<bool> {
        let Some(file) = self.file(segment)? else { return Ok(false) };
        if file.try_lock().is_err() {
            return Ok(false);
        }
        unlinkat(&self.0, segment, AtFlags::empty())?;
        Ok(true)
    }

    /// At most `limit` bytes of the regular file `segment`, with its whole length; `None` if there
    /// is no such file.
    pub fn read(&self, segment: &CStr, limit: u64) -> io::Result<Option<(Vec<u8>, u64)>> {
        let Some(file) = self.file(segment)? else { return Ok(None) };
        let length = file.metadata()?.len();
        let mut bytes = Vec::new();
        file.take(limit).read_to_end(&mut bytes)?;
        Ok(Some((bytes, length)))
    }

    /// The exact name on disk of the entry that a [`FolderEntry`] calls `segment`.
    ///
    /// U+FFFD may stand for bytes that aren't UTF-8. If several entries read so, it is the first in
    /// order.
    pub fn raw_name(&self, segment: &str) -> io::Result<Option<CString>> {
        let Ok(raw) = CString::new(segment) else { return Ok(None) };
        let is_there = || found(statat(&self.0, &raw, AtFlags::SYMLINK_NOFOLLOW));
        if !segment.contains(char::REPLACEMENT_CHARACTER) || is_there()?.is_some() {
            return Ok(Some(raw));
        }
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.0)? {
            let name = entry?.file_name().to_owned();
            if lossy(&name) == segment {
                names.push(name);
            }
        }
        Ok(names.into_iter().min())
    }

    /// The folders and files of all kinds in this folder, in the order of their paths (a folder's
    /// ends in `/`).
    pub fn entries(&self) -> io::Result<Vec<FolderEntry>> {
        let mut entries = Vec::new();
        for entry in Dir::read_from(&self.0)? {
            let entry = entry?;
            if matches!(entry.file_name().to_bytes(), b"." | b"..") {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::Unknown => {
                    found(statat(&self.0, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW))?
                        .map_or(FileType::Unknown, |stat| FileType::from_raw_mode(stat.st_mode))
                }
                kind => kind,
            };
            entries.push(FolderEntry {
                name: lossy(entry.file_name()),
                is_folder: kind == FileType::Directory,
            });
        }
        entries.sort_unstable_by(|one, other| one.key().cmp(other.key()));
        Ok(entries)
    }

    /// Text that distinguishes this folder from another in its place: its disk, its inode, and its
    /// creation time if the file system has it, since another folder may get the same inode later.
    /// After a restart of the machine the same folder may have another identity.
    pub fn identity(&self) -> io::Result<String> {
        let stat = fstat(&self.0)?;
        Ok(format!("{} {} {}", stat.st_dev, stat.st_ino, self.made().unwrap_or_default()))
    }

    /// <https://man7.org/linux/man-pages/man2/statx.2.html>
    #[cfg(target_os = "linux")]
    fn made(&self) -> Option<String> {
        let stat = statx(&self.0, c"", AtFlags::EMPTY_PATH, StatxFlags::BTIME).ok()?;
        let told = stat.stx_mask & StatxFlags::BTIME.bits() != 0;
        told.then(|| format!("{}.{:0>9}", stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec))
    }

    #[cfg(not(target_os = "linux"))]
    fn made(&self) -> Option<String> {
        None
    }

    /// The file system of this folder.
    pub fn system(&self) -> io::Result<rustix::fs::StatFs> {
        Ok(fstatfs(&self.0)?)
    }
}

fn lossy(name: &CStr) -> String {
    OsStr::from_bytes(name.to_bytes()).to_string_lossy().into_owned()
}

impl FolderEntry {
    /// The sort key of entries.
    fn key(&self) -> impl Iterator<Item = u8> + '_ {
        self.name.bytes().chain(self.is_folder.then_some(b'/'))
    }
}

impl FileState {
    /// The state of an open file; `None` if it isn't a regular file.
    pub fn of(file: &File) -> io::Result<Option<Self>> {
        let stat = fstat(file)?;
        Ok((FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile).then_some(Self(stat)))
    }

    /// The device and the inode of the file.
    pub fn place(&self) -> (u64, u64) {
        (self.0.st_dev, self.0.st_ino)
    }

    /// The user id of its owner.
    pub fn owner(&self) -> u32 {
        self.0.st_uid
    }

    fn is_link(&self) -> bool {
        FileType::from_raw_mode(self.0.st_mode) == FileType::Symlink
    }

    /// The length in bytes.
    pub fn length(&self) -> u64 {
        u64::try_from(self.0.st_size).unwrap_or_default()
    }

    /// Text that changes whenever the file is written to, renamed or replaced: length, times and
    /// inode.
    ///
    /// No program can set the change time, so restoring the modification time hides nothing.
    pub fn fingerprint(&self) -> String {
        let Stat { st_size, st_ino, st_mtime, st_mtime_nsec, st_ctime, st_ctime_nsec, .. } = self.0;
        format!("{st_size} {st_ino} {st_mtime}.{st_mtime_nsec:0>9} {st_ctime}.{st_ctime_nsec:0>9}")
    }

    /// A short form of [`FileState::fingerprint`], comparable only within this process.
    pub fn stamp(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.fingerprint().hash(&mut hasher);
        hasher.finish()
    }

    /// When the file last changed in any way, in nanoseconds since 1970, by the file system's
    /// clock.
    pub fn changed(&self) -> i128 {
        let nanoseconds = |seconds, rest| i128::from(seconds) * 1_000_000_000 + rest;
        let changed = nanoseconds(self.0.st_ctime, i128::from(self.0.st_ctime_nsec));
        changed.max(nanoseconds(self.0.st_mtime, i128::from(self.0.st_mtime_nsec)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_in_the_order_of_their_paths() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a-b", "a.b", "a0", "B"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        std::fs::create_dir(folder.path().join("a")).unwrap();
        std::os::unix::fs::symlink("a0", folder.path().join("link")).unwrap();
        let entries = OpenFolder::open(folder.path()).unwrap().entries().unwrap();
        let names: Vec<_> = entries.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names, ["B", "a-b", "a.b", "a", "a0", "link"], "as a-b, a.b, a/…, a0 sort");
    }

    #[test]
    fn segments_lead_down_and_never_out() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("a/b")).unwrap();
        std::fs::write(folder.path().join("a/b/file"), "x").unwrap();
        std::os::unix::fs::symlink("a", folder.path().join("link")).unwrap();
        std::os::unix::fs::symlink("b", folder.path().join("a/link")).unwrap();
        let raw = OsStr::from_bytes(b"caf\xe9");
        std::fs::create_dir_all(folder.path().join(raw).join("b")).unwrap();
        let open = OpenFolder::open(folder.path()).unwrap();
        let leads = |segments: &[&str]| open.descend(segments).unwrap().is_some();
        assert!(leads(&["a", "b"]) && leads(&["caf\u{FFFD}", "b"]));
        assert!(
            !leads(&["link", "b"])
                && !leads(&["a", "link"])
                && !leads(&["a", "b", "file"])
                && !leads(&["b"])
        );
        assert!(!leads(&["a\0"]) && !leads(&[&"x".repeat(300)]) && !leads(&vec!["a"; 3000]));
        assert!(open.descend(&["a", "b"]).unwrap().unwrap().file(c"file").unwrap().is_some());
    }

    #[test]
    fn links_lead_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "x").unwrap();
        std::os::unix::fs::symlink("file", folder.path().join("link")).unwrap();
        std::os::unix::fs::symlink("/", folder.path().join("root")).unwrap();
        let open = OpenFolder::open(folder.path()).unwrap();
        assert!(open.file(c"file").unwrap().is_some());
        assert!(open.file(c"link").unwrap().is_none());
        assert!(matches!(open.look(c"link").unwrap(), Some(Look::Other(_, "a symbolic link"))));
        assert!(open.link_on_the_way(&["root", "etc"]).unwrap().is_some());
        assert!(open.link_on_the_way(&["file", "x"]).unwrap().is_none());
        assert!(open.folder(c"root").unwrap().is_none());
        assert!(open.folder(c"file").unwrap().is_none());
        assert!(open.file(c".").unwrap().is_none(), "a folder is no file");
    }
}
