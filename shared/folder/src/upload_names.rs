//! Maps an upload's name to the file in the folder, and back.

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

/// How many bytes of a side file are read: more than the policy allows, so that a longer one is
/// refused for its length.
const LARGEST_SIDE_FILE: u64 = 16 * 1024;

/// The most segments of a name. A name with more is longer than any target name
/// (`tufline_tuf::TargetName`), so it isn't looked for.
const DEEPEST: usize = 64;

/// The upload that is at a name now.
pub struct Found {
    /// The folder that holds the file.
    pub folder: OpenFolder,
    /// The file's name there.
    pub raw: CString,
    pub state: FileState,
    /// The bytes read of the side file, and its whole length.
    pub side: Option<(Vec<u8>, u64)>,
    /// Why it cannot become a target, if it cannot.
    pub unusable: Option<String>,
}

impl Found {
    /// The version of the upload, see [`FolderUploads`](crate::FolderUploads).
    pub fn version(&self) -> VersionId {
        version(&self.state, self.side.as_ref(), self.unusable.as_deref())
    }

    /// The version of `file`, opened earlier as this upload, with the side file that is beside it
    /// now; `None` if it isn't a regular file.
    pub fn version_now(&self, file: &File) -> io::Result<Option<VersionId>> {
        let Some(state) = FileState::of(file)? else { return Ok(None) };
        let side = self.folder.read(&side_file(&self.raw)?, LARGEST_SIDE_FILE)?;
        Ok(Some(version(&state, side.as_ref(), None)))
    }

    /// What a watcher compares.
    pub fn stamp(&self) -> io::Result<Stamp> {
        Ok(Stamp {
            file: self.state.stamp(),
            side: state(&self.folder, &side_file(&self.raw)?)?.map(|side| side.stamp()),
        })
    }

    /// The upload as the port returns it, found at `name`.
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

/// A side file's text. If it isn't UTF-8, the result is a text that isn't JSON, so the policy
/// refuses it.
fn custom(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => format!("\u{FFFD}{}", String::from_utf8_lossy(bytes)),
    }
}

/// The segments of `name`, if an upload can have this name.
fn segments(name: &str) -> Option<Vec<&str>> {
    let segments: Vec<&str> = name.split('/').collect();
    let usable = segments.iter().all(|segment| !segment.is_empty() && !segment.starts_with('.'));
    (usable && segments.len() <= DEEPEST).then_some(segments)
}

/// The endings of names that ordinary tools give to incomplete files: unfinished downloads and
/// copies, and editors' copies. A name that begins with a dot, as rsync uses (`.NAME.XXXXXX`), is
/// no upload anyway.
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
    ".swo",        // Vim, a second one
    ".swx",        // Vim, at its start
    "~",           // Vim, Emacs, nano: backup copies
];

/// Why a file of this name cannot become a target, if the name is one of an incomplete file.
fn unfinished(name: &str) -> Option<String> {
    let ending = UNFINISHED.into_iter().find(|ending| name.ends_with(ending))?;
    Some(format!(
        "{name} rejected: a file named *{ending} is incomplete or an editor's copy; rename it to \
         publish it"
    ))
}

/// The prefix of the names under which `tufline upload` writes files until they are complete. It
/// holds a lock on each while it writes (`OpenFolder::remove_abandoned`).
pub const TEMPORARY_PREFIX: &str = ".tufline-new-";

/// Where a name leads.
enum UploadPlace {
    /// To this raw name in a folder.
    At(OpenFolder, CString),
    /// Through this symbolic link, which is not followed.
    BehindLink(FileState),
    Nowhere,
}

/// Finds the folder and the raw name of the file `name`.
fn locate(mut folder: OpenFolder, name: &str) -> io::Result<UploadPlace> {
    let Some(segments) = segments(name) else { return Ok(UploadPlace::Nowhere) };
    let Some((last, above)) = segments.split_last() else { return Ok(UploadPlace::Nowhere) };
    if !above.is_empty() {
        match folder.descend(above)? {
            Some(below) => folder = below,
            None => {
                return Ok(folder
                    .link_on_the_way(above)?
                    .map_or(UploadPlace::Nowhere, UploadPlace::BehindLink));
            }
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

/// Whether `raw` is the side file of another file in the folder.
fn is_side_file(folder: &OpenFolder, raw: &CStr) -> io::Result<bool> {
    let Some(target) = raw.to_bytes().strip_suffix(SIDE_FILE_SUFFIX.as_bytes()) else {
        return Ok(false);
    };
    let target = CString::new(target).map_err(io::Error::other)?;
    Ok(!target.is_empty() && matches!(folder.look(&target)?, Some(Look::File(_) | Look::Other(..))))
}

/// The upload at `name` below `folder` now; `None` if there is none.
///
/// *Invariant*: a link, or anything else but a regular file, in the place of a file or of a folder
/// above it counts as an upload that cannot become a target, and not as a missing one. So it
/// removes no target.
pub fn find(folder: OpenFolder, name: &str) -> io::Result<Option<Found>> {
    let unusable = |what: &str, why: &str| {
        Some(format!(
            "{name} rejected: {what}; {why}; what is published under that name stays until it is \
             deleted"
        ))
    };
    let (folder, raw) = match locate(folder.try_clone()?, name)? {
        UploadPlace::At(folder, raw) => (folder, raw),
        UploadPlace::BehindLink(state) => {
            let why = unusable(
                "a symbolic link is in the place of its folder",
                "links are not followed: put a folder there",
            );
            return Ok(Some(Found {
                folder,
                raw: CString::default(),
                state,
                side: None,
                unusable: why,
            }));
        }
        UploadPlace::Nowhere => return Ok(None),
    };
    let look = folder.look(&raw)?;
    if matches!(look, None | Some(Look::Folder)) || is_side_file(&folder, &raw)? {
        return Ok(None);
    }
    let (state, mut why) = match look {
        Some(Look::File(state)) => (state, unfinished(name)),
        Some(Look::Other(state, what)) => {
            (state, unusable(&format!("it is {what}"), "put a regular file there"))
        }
        None | Some(Look::Folder) => return Ok(None),
    };
    let side_name = side_file(&raw)?;
    let side = if why.is_none() { folder.read(&side_name, LARGEST_SIDE_FILE)? } else { None };
    if why.is_none()
        && side.is_none()
        && let Some(Look::Other(_, what)) = folder.look(&side_name)?
    {
        why = unusable(
            &format!("its {SIDE_FILE_SUFFIX} is {what}"),
            "put a regular file there, or remove it",
        );
    }
    Ok(Some(Found { folder, raw, state, side, unusable: why }))
}

/// What a watcher compares: numbers that change whenever the file or its side file changes. They
/// are cheaper than the upload's version, and comparable only within this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stamp {
    /// The stamp of the file.
    pub file: u64,
    /// The stamp of its side file, if it has one.
    pub side: Option<u64>,
}

/// A file and its side file.
#[derive(Debug, Clone, Copy)]
pub struct Pair {
    pub file: FileState,
    /// The side file, if there is one.
    pub side: Option<FileState>,
}

/// What is at a name, as a watcher sees it.
#[derive(Debug, Clone)]
pub enum Seen {
    Upload(Stamp, Box<Pair>),
    Folder,
    /// Neither an upload nor a folder.
    Nothing,
}

/// Looks at `name` below `root`, for the watcher.
pub fn see(root: &OpenFolder, name: &str) -> io::Result<Seen> {
    let UploadPlace::At(folder, raw) = locate(root.try_clone()?, name)? else {
        return Ok(Seen::Nothing);
    };
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
    Ok(Some((
        Stamp { file: file.stamp(), side: side.map(|side| side.stamp()) },
        Pair { file, side },
    )))
}

/// Calls `visit` for each upload below the folder `name` (empty, or ending in `/`), in the order of
/// names, beginning after `after`, until it returns false. Returns whether it never did. On the way
/// it removes leftovers of killed uploads.
///
/// It skips a folder that can't be read, such as a disk's `lost+found`, or one on a damaged part of
/// a disk. A request for a name in such a folder fails, so nothing in it counts as gone.
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
        let is_side =
            entry.name.strip_suffix(SIDE_FILE_SUFFIX).is_some_and(|target| files.contains(target));
        if *path > *after
            && unfinished(&path).is_none()
            && !is_side
            && !visit(folder, &entry.name, path)?
        {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Removes the leftover of a killed `tufline upload`. If that fails, no harm is done: it isn't an
/// upload.
fn collect(folder: &OpenFolder, name: &str, left: &str) {
    let removed =
        CString::new(left).map_err(io::Error::other).and_then(|raw| folder.remove_abandoned(&raw));
    match removed {
        Ok(true) => tracing::info!("removed {name}{left}, which an interrupted upload left"),
        Ok(false) => {}
        Err(error) => tell_once(&format!("{name}{left}"), &error),
    }
}

/// Whether the error is a shortage of the process, such as of file descriptors, and not a fault of
/// the folder.
fn is_of_process(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::INTR))
}

/// The folders and files that were logged. Each is logged only once, though it is looked at every
/// few seconds.
static TOLD: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// How many folders and files are logged at most.
const MOST_TOLD: usize = 1000;

fn tell_once(name: &str, error: &io::Error) {
    let mut told = lock(&TOLD);
    if told.len() < MOST_TOLD && told.insert(name.to_owned()) {
        tracing::warn!(name, %error, "skipped: it can't be read");
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
