//! Finds out whether a process has a file open for writing, as far as the system tells without
//! special rights.
//!
//! A lease (`F_SETLEASE`, <https://man7.org/linux/man-pages/man2/f_getlease.2const.html>) would
//! tell this exactly for one file, but no library offers it without unsafe code. So this looks
//! through the open files of all processes
//! (<https://man7.org/linux/man-pages/man5/proc_pid_fd.5.html>). That takes some milliseconds, so
//! the watcher uses it only if it has noticed nothing about a file's writer.
//!
//! *Invariant*: it says that a file is closed only if it can see every process that may write to
//! it. It cannot on a file system that other machines write to, within a container, or if it may
//! not look at the processes of the file's owner.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::open_folder::{FileState, OpenFolder};

/// The file systems to which no other machine writes, by their magic numbers
/// (<https://man7.org/linux/man-pages/man2/statfs.2.html>): ext2 to ext4, XFS, Btrfs, F2FS, tmpfs,
/// ZFS, bcachefs, overlayfs.
const LOCAL: [u64; 8] = [
    0xEF53,
    0x5846_5342,
    0x9123_683E,
    0xF2F5_2010,
    0x0102_1994,
    0x2FC1_2FC1,
    0xCA45_1A4E,
    0x794C_7630,
];

/// The initial PID namespace, which sees the processes of all others (the kernel's
/// `PROC_PID_INIT_INO`).
const FIRST_NAMESPACE: &str = "pid:[4026531836]";

/// What is known about a file's writers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Writers {
    /// No process has it open for writing.
    None,
    /// No writer was seen, but not all processes could be.
    Unknown,
    /// At least one process has it open for writing.
    Some,
}

/// The files that are open for writing.
#[derive(Debug, Default)]
pub struct OpenFiles {
    open: HashSet<(u64, u64)>,
    /// The users whose processes could not be looked at.
    hidden: HashSet<u32>,
    /// Whether there may be further writers that can't be seen.
    more: bool,
}

impl OpenFiles {
    /// Looks through all processes for writers of `files`, which are on the file system of
    /// `folder`.
    pub fn among(folder: &OpenFolder, files: &[FileState]) -> Self {
        let places: HashSet<(u64, u64)> = files.iter().map(FileState::place).collect();
        let mut found =
            Self { more: !is_local(folder) || !sees_all_processes(), ..Self::default() };
        let Ok(processes) = std::fs::read_dir("/proc") else { return Self { more: true, ..found } };
        for process in processes.flatten() {
            if process.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit) {
                found.look_at(&process.path(), &places);
            }
        }
        found
    }

    fn look_at(&mut self, process: &Path, places: &HashSet<(u64, u64)>) {
        let descriptors = match std::fs::read_dir(process.join("fd")) {
            Ok(descriptors) => descriptors,
            Err(error) => {
                // After any other error the process has ended.
                if error.kind() == std::io::ErrorKind::PermissionDenied {
                    self.hidden
                        .extend(std::fs::metadata(process).ok().map(|process| process.uid()));
                }
                return;
            }
        };
        for descriptor in descriptors.flatten() {
            let Ok(file) = std::fs::metadata(descriptor.path()) else { continue };
            let place = (file.dev(), file.ino());
            if file.is_file()
                && places.contains(&place)
                && is_for_writing(process, &descriptor.file_name())
            {
                self.open.insert(place);
            }
        }
    }

    /// What is known about the writers of `file`.
    pub fn writers(&self, file: &FileState) -> Writers {
        if self.open.contains(&file.place()) {
            Writers::Some
        } else if self.more || self.hidden.contains(&file.owner()) {
            Writers::Unknown
        } else {
            Writers::None
        }
    }
}

/// Whether a descriptor of `process` is open for writing
/// (<https://man7.org/linux/man-pages/man5/proc_pid_fdinfo.5.html>: `flags`, octal). One that has
/// just been closed is not.
fn is_for_writing(process: &Path, descriptor: &std::ffi::OsStr) -> bool {
    /// The bits of `O_WRONLY` and `O_RDWR`.
    const WRITING: u32 = 0o3;
    let text = std::fs::read_to_string(process.join("fdinfo").join(descriptor)).unwrap_or_default();
    let flags = text.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok());
    flags.is_some_and(|flags| flags & WRITING != 0)
}

fn is_local(folder: &OpenFolder) -> bool {
    folder
        .system()
        .is_ok_and(|system| u64::try_from(system.f_type).is_ok_and(|kind| LOCAL.contains(&kind)))
}

/// Whether every process of the machine has an entry in `/proc`: not in a container, and not if
/// `/proc` is mounted with `hidepid`.
fn sees_all_processes() -> bool {
    let namespace = std::fs::read_link("/proc/self/ns/pid");
    namespace.is_ok_and(|namespace| namespace == Path::new(FIRST_NAMESPACE))
        && Path::new("/proc/1/stat").exists()
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn a_writer_is_seen_while_it_has_the_file_open() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let look = || {
            let file = File::open(&path).unwrap();
            let state = FileState::of(&file).unwrap().unwrap();
            OpenFiles::among(&OpenFolder::open(folder.path()).unwrap(), &[state]).writers(&state)
        };
        let writer = File::create(&path).unwrap();
        assert_eq!(look(), Writers::Some);
        drop(writer);
        let _reader = File::open(&path).unwrap();
        assert_ne!(look(), Writers::Some);
    }
}
