//! From an upload's name to what lies in the folder, and back.

use std::collections::{BTreeSet, HashSet};
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::sync::Mutex;

use rustix::io::Errno;
use tufline_store::{Upload, VersionId};
use tufline_tuf::{SIDE_FILE_SUFFIX, Sha256};

use crate::lock;
use crate::tree::{FileState, OpenFolder};

/// How much of a side file is read: more than the policy allows, so that it is refused for its length.
const LARGEST_SIDE_FILE: u64 = 16 * 1024;

/// Names of more segments are longer than any target name (`tufline_tuf::TargetName`): they aren't looked for.
const DEEPEST: usize = 64;

/// What is at a name now.
pub struct Found {
    /// The folder that holds the file.
    pub folder: OpenFolder,
    /// Its name there.
    pub raw: CString,
    /// Its state.
    pub state: FileState,
    /// As much of the side file as is read, and its whole length.
    pub side: Option<(Vec<u8>, u64)>,
}

impl Found {
    /// The version.
    pub fn version(&self) -> VersionId {
        version(&self.state, self.side.as_ref())
    }

    /// The version of `file`, which was opened as this, with the side file that is beside it now; `None` where it is no regular file.
    pub fn version_now(&self, file: &File) -> io::Result<Option<VersionId>> {
        let Some(state) = FileState::of(file)? else { return Ok(None) };
        let side = self.folder.read(&side_file(&self.raw)?, LARGEST_SIDE_FILE)?;
        Ok(Some(version(&state, side.as_ref())))
    }

    /// The upload, which was found at `name`.
    pub fn upload(&self, name: &str) -> Upload {
        Upload {
            name: name.to_owned(),
            version: Some(self.version()),
            length: self.state.length(),
            custom: self.side.as_ref().map(|(bytes, _)| custom(bytes)),
            sha256: None,
            uploaded: None,
        }
    }
}

fn version(state: &FileState, side: Option<&(Vec<u8>, u64)>) -> VersionId {
    let mut text = state.fingerprint().into_bytes();
    if let Some((bytes, length)) = side {
        text.extend(format!("\n{length}\n").as_bytes());
        text.extend(bytes);
    }
    let mut version = Sha256::of(&text).to_string();
    version.truncate(32);
    VersionId(version)
}

/// A side file's text. What isn't UTF-8 becomes a text that is not JSON either, so that the policy refuses it.
fn custom(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => format!("\u{FFFD}{}", String::from_utf8_lossy(bytes)),
    }
}

/// The segments of `name`, if it can be an upload's.
fn segments(name: &str) -> Option<Vec<&str>> {
    let segments: Vec<&str> = name.split('/').collect();
    let usable = segments.iter().all(|segment| !segment.is_empty() && !segment.starts_with('.'));
    (usable && segments.len() <= DEEPEST).then_some(segments)
}

/// Whether `name` is that of a file that is still being written, by the custom of those who write.
fn is_unfinished(name: &str) -> bool {
    [".part", ".tmp"].iter().any(|ending| name.ends_with(ending))
}

/// The folder and the raw name of the file `name`.
fn locate(mut folder: OpenFolder, name: &str) -> io::Result<Option<(OpenFolder, CString)>> {
    let Some(segments) = segments(name) else { return Ok(None) };
    let Some((last, above)) = segments.split_last() else { return Ok(None) };
    if !above.is_empty() {
        let Some(below) = folder.descend(above)? else { return Ok(None) };
        folder = below;
    }
    let raw = folder.raw_name(last)?;
    Ok(raw.map(|raw| (folder, raw)))
}

/// The name of the side file of `raw`.
fn side_file(raw: &CStr) -> io::Result<CString> {
    let name = [raw.to_bytes(), SIDE_FILE_SUFFIX.as_bytes()].concat();
    CString::new(name).map_err(io::Error::other)
}

/// Whether `raw` is the side file of a file beside it.
fn is_side_file(folder: &OpenFolder, raw: &CStr) -> io::Result<bool> {
    let Some(target) = raw.to_bytes().strip_suffix(SIDE_FILE_SUFFIX.as_bytes()) else { return Ok(false) };
    let target = CString::new(target).map_err(io::Error::other)?;
    Ok(!target.is_empty() && folder.state(&target)?.is_some())
}

/// What is at `name` below `folder` now; `None` where there is no upload.
pub fn find(folder: OpenFolder, name: &str) -> io::Result<Option<Found>> {
    let Some((folder, raw)) = locate(folder, name)? else { return Ok(None) };
    let Some(state) = folder.state(&raw)? else { return Ok(None) };
    if is_unfinished(name) || is_side_file(&folder, &raw)? {
        return Ok(None);
    }
    let side = folder.read(&side_file(&raw)?, LARGEST_SIDE_FILE)?;
    Ok(Some(Found { folder, raw, state, side }))
}

/// What is at a name, as a watcher sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// An upload, with a number that differs whenever it is another: cheaper than its version, and comparable within this
    /// process only.
    Upload(u64),
    /// A folder.
    Folder,
    /// Neither.
    Nothing,
}

/// What is at `name` below `root`.
pub fn see(root: &OpenFolder, name: &str) -> io::Result<Seen> {
    let Some((folder, raw)) = locate(root.try_clone()?, name)? else { return Ok(Seen::Nothing) };
    if is_side_file(&folder, &raw)? {
        return Ok(Seen::Nothing);
    }
    if !is_unfinished(name)
        && let Some(stamp) = stamp_of(&folder, &raw)?
    {
        return Ok(Seen::Upload(stamp));
    }
    Ok(folder.folder(&raw)?.map_or(Seen::Nothing, |_| Seen::Folder))
}

fn stamp_of(folder: &OpenFolder, raw: &CStr) -> io::Result<Option<u64>> {
    let Some(state) = folder.state(raw)? else { return Ok(None) };
    let side = folder.state(&side_file(raw)?)?;
    Ok(Some(state.stamp() ^ side.map_or(0, |side| side.stamp().rotate_left(1))))
}

/// Calls `visit` for each upload below the folder `name` (empty, or ending in `/`), in the order of names, beginning
/// after `after`, until it answers false. Answers whether it never did.
///
/// A folder that can't be read is passed over (a mounted disk's `lost+found` may not be, one on a damaged place can't); a request for a name in
/// it fails, so nothing in it counts as gone.
pub fn walk(
    folder: &OpenFolder,
    name: &str,
    after: &str,
    visit: &mut dyn FnMut(&OpenFolder, &str, String) -> io::Result<bool>,
) -> io::Result<bool> {
    if name.split('/').count() > DEEPEST {
        return Ok(true);
    }
    let entries = match folder.entries() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) if !name.is_empty() && !is_of_process(&error) => {
            tell_once(name, &error);
            return Ok(true);
        }
        result => result?,
    };
    let files: HashSet<&str> =
        entries.iter().filter(|entry| !entry.is_folder).map(|entry| entry.name.as_str()).collect();
    for entry in entries.iter().filter(|entry| !entry.name.starts_with('.')) {
        let path = format!("{name}{}", entry.name);
        if entry.is_folder {
            let path = path + "/";
            if *path < *after && !after.starts_with(&path) {
                continue;
            }
            let Some(raw) = folder.raw_name(&entry.name)? else { continue };
            let goes_on = match folder.folder(&raw) {
                Ok(Some(below)) => walk(&below, &path, after, visit)?,
                Ok(None) => true,
                Err(error) if is_of_process(&error) => return Err(error),
                Err(error) => {
                    tell_once(&path, &error);
                    true
                }
            };
            if !goes_on {
                return Ok(false);
            }
            continue;
        }
        let is_side = entry.name.strip_suffix(SIDE_FILE_SUFFIX).is_some_and(|target| files.contains(target));
        if *path > *after && !is_unfinished(&path) && !is_side && !visit(folder, &entry.name, path)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether it is the process that lacks something, and not the folder.
fn is_of_process(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::INTR))
}

/// The folders and files that were told of: they are looked at every few seconds.
static TOLD: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Of more than this the others are not told.
const MOST_TOLD: usize = 1000;

fn tell_once(name: &str, error: &io::Error) {
    let mut told = lock(&TOLD);
    if told.len() < MOST_TOLD && told.insert(name.to_owned()) {
        tracing::warn!(name, %error, "passed over: it can't be read");
    }
}

/// The stamps of all uploads below the folder `name` (empty, or ending in `/`).
pub fn stamps(root: OpenFolder, name: &str) -> io::Result<Vec<(String, u64)>> {
    let mut folder = root;
    for segment in name.split_terminator('/') {
        let Some(raw) = folder.raw_name(segment)? else { return Ok(Vec::new()) };
        let Some(below) = folder.folder(&raw)? else { return Ok(Vec::new()) };
        folder = below;
    }
    let mut stamps = Vec::new();
    walk(&folder, name, "", &mut |folder, segment, path| {
        let stamp = match folder.raw_name(segment)? {
            Some(raw) => stamp_of(folder, &raw),
            None => Ok(None),
        };
        match stamp {
            Err(error) if is_of_process(&error) => return Err(error),
            Err(error) => tell_once(&path, &error),
            Ok(stamp) => stamps.extend(stamp.map(|stamp| (path, stamp))),
        }
        Ok(true)
    })?;
    Ok(stamps)
}
