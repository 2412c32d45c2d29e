//! From an upload's name to what lies in the folder, and back.

use std::collections::{BTreeSet, HashSet};
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::sync::Mutex;

use rustix::io::Errno;
use tufline_store::{Upload, VersionId};
use tufline_tuf::{SIDE_FILE_SUFFIX, Sha256};

use crate::lock::lock;
use crate::open_folder::{FileState, Look, OpenFolder};

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
    /// Why no target can be made of it, if none can.
    pub unusable: Option<String>,
}

impl Found {
    /// The version.
    pub fn version(&self) -> VersionId {
        version(&self.state, self.side.as_ref(), self.unusable.as_deref())
    }

    /// The version of `file`, which was opened as this, with the side file that is beside it now; `None` where it is no regular file.
    pub fn version_now(&self, file: &File) -> io::Result<Option<VersionId>> {
        let Some(state) = FileState::of(file)? else { return Ok(None) };
        let side = self.folder.read(&side_file(&self.raw)?, LARGEST_SIDE_FILE)?;
        Ok(Some(version(&state, side.as_ref(), None)))
    }

    /// What a watcher compares of it.
    pub fn stamp(&self) -> io::Result<Stamp> {
        Ok(Stamp {
            file: self.state.stamp(),
            side: state(&self.folder, &side_file(&self.raw)?)?.map(|side| side.stamp()),
        })
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
            unusable: self.unusable.clone(),
        }
    }
}

fn version(state: &FileState, side: Option<&(Vec<u8>, u64)>, unusable: Option<&str>) -> VersionId {
    let mut text = state.fingerprint().into_bytes();
    text.extend(unusable.map(|unusable| format!("\n{unusable}")).unwrap_or_default().into_bytes());
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

/// How the names end that ordinary tools give to what isn't complete: downloads and copies under way, and editors' copies. What they write
/// under a name that begins with a dot, as rsync does (`.NAME.XXXXXX`), is no upload anyway.
///
/// `docs/embedded.md` lists them.
const UNFINISHED: [&str; 13] = [
    ".part",       // Firefox, curl's users, KDE, youtube-dl
    ".partial",    // rclone (`NAME.XXXXXXXX.partial`), Edge
    ".tmp",        // many
    ".temp",       // many
    ".filepart",   // WinSCP
    ".crdownload", // Chrome
    ".download",   // Safari
    ".opdownload", // Opera
    ".aria2",      // aria2's record of a download, beside it
    ".swp",        // Vim
    ".swo",        // Vim, of a second one
    ".swx",        // Vim, at its start
    "~",           // Vim, Emacs, nano: what was there before
];

/// Why nothing of this name is a target, if it is one of an incomplete file.
fn unfinished(name: &str) -> Option<String> {
    let ending = UNFINISHED.into_iter().find(|ending| name.ends_with(ending))?;
    Some(format!("{name} refused: what is called *{ending} is incomplete or an editor's copy; rename it to publish it"))
}

/// How the names begin of files that `tufline upload` writes until they are complete. It holds a lock on each while it writes
/// ([`crate::open_folder::OpenFolder::remove_abandoned`]).
pub const TEMPORARY_PREFIX: &str = ".tufline-new-";

/// Where a name leads.
enum UploadPlace {
    /// To this name in a folder.
    At(OpenFolder, CString),
    /// Through this symbolic link.
    BehindLink(FileState),
    Nowhere,
}

/// The folder and the raw name of the file `name`.
fn locate(mut folder: OpenFolder, name: &str) -> io::Result<UploadPlace> {
    let Some(segments) = segments(name) else { return Ok(UploadPlace::Nowhere) };
    let Some((last, above)) = segments.split_last() else { return Ok(UploadPlace::Nowhere) };
    if !above.is_empty() {
        match folder.descend(above)? {
            Some(below) => folder = below,
            None => return Ok(folder.link_on_the_way(above)?.map_or(UploadPlace::Nowhere, UploadPlace::BehindLink)),
        }
    }
    let raw = folder.raw_name(last)?;
    Ok(raw.map_or(UploadPlace::Nowhere, |raw| UploadPlace::At(folder, raw)))
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
    Ok(!target.is_empty() && matches!(folder.look(&target)?, Some(Look::File(_) | Look::Other(..))))
}

/// What is at `name` below `folder` now; `None` where there is no upload.
///
/// *Invariant*: a link, or whatever else isn't a regular file, in the place of a file or of a folder on the way to it, is something that no
/// target can be made of, and not nothing: so it removes no target.
pub fn find(folder: OpenFolder, name: &str) -> io::Result<Option<Found>> {
    let unusable = |what: &str, why: &str| {
        Some(format!("{name} refused: {what}; {why}, and what is published of that name stays until it is deleted"))
    };
    let (folder, raw) = match locate(folder.try_clone()?, name)? {
        UploadPlace::At(folder, raw) => (folder, raw),
        UploadPlace::BehindLink(state) => {
            let why = unusable(
                "a symbolic link stands where its folder belongs",
                "links are not followed: put a folder there",
            );
            return Ok(Some(Found { folder, raw: CString::default(), state, side: None, unusable: why }));
        }
        UploadPlace::Nowhere => return Ok(None),
    };
    let look = folder.look(&raw)?;
    if matches!(look, None | Some(Look::Folder)) || is_side_file(&folder, &raw)? {
        return Ok(None);
    }
    let (state, mut why) = match look {
        Some(Look::File(state)) => (state, unfinished(name)),
        Some(Look::Other(state, what)) => (state, unusable(&format!("it is {what}"), "put a regular file there")),
        None | Some(Look::Folder) => return Ok(None),
    };
    let side_name = side_file(&raw)?;
    let side = if why.is_none() { folder.read(&side_name, LARGEST_SIDE_FILE)? } else { None };
    if why.is_none()
        && side.is_none()
        && let Some(Look::Other(_, what)) = folder.look(&side_name)?
    {
        why = unusable(&format!("its {SIDE_FILE_SUFFIX} is {what}"), "put a regular file there, or remove it");
    }
    Ok(Some(Found { folder, raw, state, side, unusable: why }))
}

/// What a watcher compares of an upload: numbers that differ whenever the file, or its side file, is another. Cheaper than its version, and
/// comparable within this process only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stamp {
    /// Of the file.
    pub file: u64,
    /// Of its side file.
    pub side: Option<u64>,
}

/// A file and its side file.
#[derive(Debug, Clone, Copy)]
pub struct Pair {
    /// The file.
    pub file: FileState,
    /// What is beside it.
    pub side: Option<FileState>,
}

/// What is at a name, as a watcher sees it.
#[derive(Debug, Clone)]
pub enum Seen {
    /// An upload.
    Upload(Stamp, Box<Pair>),
    /// A folder.
    Folder,
    /// Neither.
    Nothing,
}

/// What is at `name` below `root`.
pub fn see(root: &OpenFolder, name: &str) -> io::Result<Seen> {
    let UploadPlace::At(folder, raw) = locate(root.try_clone()?, name)? else { return Ok(Seen::Nothing) };
    if is_side_file(&folder, &raw)? {
        return Ok(Seen::Nothing);
    }
    if unfinished(name).is_none()
        && let Some((stamp, pair)) = stamp_of(&folder, &raw)?
    {
        return Ok(Seen::Upload(stamp, Box::new(pair)));
    }
    Ok(folder.folder(&raw)?.map_or(Seen::Nothing, |_| Seen::Folder))
}

fn state(folder: &OpenFolder, raw: &CStr) -> io::Result<Option<FileState>> {
    Ok(match folder.look(raw)? {
        Some(Look::File(state) | Look::Other(state, _)) => Some(state),
        None | Some(Look::Folder) => None,
    })
}

fn stamp_of(folder: &OpenFolder, raw: &CStr) -> io::Result<Option<(Stamp, Pair)>> {
    let Some(file) = state(folder, raw)? else { return Ok(None) };
    let side = state(folder, &side_file(raw)?)?;
    Ok(Some((Stamp { file: file.stamp(), side: side.map(|side| side.stamp()) }, Pair { file, side })))
}

/// Calls `visit` for each upload below the folder `name` (empty, or ending in `/`), in the order of names, beginning
/// after `after`, until it answers false. Answers whether it never did. What killed uploads left is removed on the way.
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
        tell_once(name, &io::Error::other("its name has more segments than a target's can have"));
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
    for entry in entries.iter().filter(|entry| entry.name.starts_with(TEMPORARY_PREFIX)) {
        collect(folder, name, &entry.name);
    }
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
        if *path > *after && unfinished(&path).is_none() && !is_side && !visit(folder, &entry.name, path)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Removes what a killed `tufline upload` left of a file. That one can't be removed is no trouble of anybody's: it is no upload.
fn collect(folder: &OpenFolder, name: &str, left: &str) {
    let removed = CString::new(left).map_err(io::Error::other).and_then(|raw| folder.remove_abandoned(&raw));
    match removed {
        Ok(true) => tracing::info!("{name}{left} was left by an upload that nobody goes on with: it is removed"),
        Ok(false) => {}
        Err(error) => tell_once(&format!("{name}{left}"), &error),
    }
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
pub fn stamps(root: OpenFolder, name: &str) -> io::Result<Vec<(String, Stamp)>> {
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
            Ok(found) => stamps.extend(found.map(|(stamp, _)| (path, stamp))),
        }
        Ok(true)
    })?;
    Ok(stamps)
}
