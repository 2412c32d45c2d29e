//! The uploads as files in a folder.

use std::ffi::{CStr, CString, OsStr};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tufline_store::{Clock, Head, PastVersion, Result, StoreError, Upload, Uploads, VersionId};
use tufline_tuf::{SIDE_FILE_SUFFIX, Sha256};

use crate::blocking;
use crate::data::{DataFolder, failed};
use crate::tree::{FileState, OpenFolder};

/// The file by which the uploads folder is recognised. Its first line is the folder's id.
const MARKER: &CStr = c".tufline-uploads";

/// How much of a side file is read: more than the policy allows, so that it is refused for its length.
const LARGEST_SIDE_FILE: u64 = 16 * 1024;

/// Names of more segments are longer than any target name (`tufline_tuf::TargetName`): they aren't looked for.
const DEEPEST: usize = 64;

/// The most names that [`Uploads::list`] answers at once.
const PAGE: usize = 1000;

/// File systems tell times from a clock that ticks every 1 to 10 ms: what changes a file twice within a tick may leave
/// the same times. A file is read for good only when its last change is older than that.
const TICK: Duration = Duration::from_millis(12);

/// [`Uploads`] on a folder: a file's name is its path below the folder, with `/`.
///
/// The version of an upload is a fingerprint of the file's length, times and inode and of the contents of the side file
/// `NAME.tuf.json`, whose text is the custom metadata. Files have no history, so what was there before isn't known.
///
/// Not uploads: names with a segment that begins with `.`; names that end in `.part` or `.tmp`; whatever isn't a regular
/// file, symbolic links with it; side files beside their target. A `*.tuf.json` with nothing beside it counts as an
/// upload, so that it is refused under its own name instead of being ignored without a word; the [`crate::Watcher`]
/// leaves time for its target to arrive first.
///
/// *Invariant*: nothing counts as gone unless the folder is there that was marked when it was first used: while a disk
/// is not mounted, every request fails.
#[derive(Clone)]
pub struct FolderUploads(Arc<Inner>);

struct Inner {
    root: PathBuf,
    id: String,
    clock: Arc<dyn Clock>,
}

/// What is at a name now.
pub struct Found {
    folder: OpenFolder,
    raw: CString,
    state: FileState,
    side: Option<(Vec<u8>, u64)>,
}

impl FolderUploads {
    /// The uploads in the folder at `root`.
    ///
    /// On first use with this data folder, `root` is made if missing, marked with the file `.tufline-uploads`, and the mark is
    /// remembered; from then on it must be there.
    ///
    /// # Errors
    /// The marked folder is not there; the folder cannot be made, written or read.
    pub fn open(data: &DataFolder, root: impl AsRef<Path>, clock: Arc<dyn Clock>) -> Result<Self> {
        let root = std::path::absolute(root.as_ref()).map_err(|error| failed("find", root.as_ref(), &error))?;
        let record = data.path().join("uploads.id");
        let id = match std::fs::read_to_string(&record) {
            Ok(id) => id.trim().to_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                std::fs::create_dir_all(&root).map_err(|error| failed("make", &root, &error))?;
                let id = mark(&root).map_err(|error| failed("mark", &root, &error))?;
                // A crash before this: the next start finds the mark and takes it.
                let _ = data
                    .disk()
                    .create(&record, format!("{id}\n").as_bytes())
                    .map_err(|error| failed("create", &record, &error))?;
                id
            }
            Err(error) => return Err(failed("read", &record, &error)),
        };
        let uploads = Self(Arc::new(Inner { root, id, clock }));
        uploads.folder()?;
        Ok(uploads)
    }

    /// Where the folder is: an absolute path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.root
    }

    /// The folder itself, if it is the marked one.
    pub(crate) fn folder(&self) -> Result<OpenFolder> {
        let root = self.path();
        let not_mounted = |why: &str| {
            StoreError::new(
                "open",
                root.display(),
                format!(
                    "the uploads folder {} is not mounted: {why}; bring it back, or delete `uploads.id` in the data folder to take \
                     what is there now for all uploads",
                    root.display()
                ),
            )
        };
        let folder = match OpenFolder::open(root) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Err(not_mounted("there is no folder"));
            }
            result => result.map_err(|error| failed("open", root, &error))?,
        };
        let mark = folder.read(MARKER, 1024).map_err(|error| failed("read the mark in", root, &error))?;
        match mark {
            None => Err(not_mounted("it lacks the file `.tufline-uploads` by which it is known")),
            Some((mark, _)) if id_in(&mark) != self.0.id => Err(not_mounted("another folder is in its place")),
            Some(_) => Ok(folder),
        }
    }

    /// What is at `name` now; `None` where there is no upload.
    pub(crate) fn find(&self, folder: OpenFolder, name: &str) -> Result<Option<Found>> {
        let place = || self.path().join(name.replace('\0', "\u{FFFD}"));
        find(folder, name).map_err(|error| failed("look at", &place(), &error))
    }

    /// Opens the file of `upload`, which must still be that version. `action` is what it is opened for.
    pub(crate) fn open_version<'a>(&'a self, upload: &'a Upload, action: &'static str) -> Result<Opened<'a>> {
        let changed = || StoreError::new(action, self.place(&upload.name), "it changed meanwhile; it comes again");
        let found = self.find(self.folder()?, &upload.name)?.ok_or_else(changed)?;
        self.wait_for_tick(&found.state);
        let file =
            found.folder.file(&found.raw).map_err(|error| failed(action, &self.path().join(&upload.name), &error))?;
        let opened = Opened { uploads: self, upload, action, file: file.ok_or_else(changed)? };
        opened.check()?;
        Ok(opened)
    }

    /// Blocks until a change to the file would show in its times.
    fn wait_for_tick(&self, state: &FileState) {
        let age = self.0.clock.now().as_nanosecond() - state.changed();
        let tick = i128::try_from(TICK.as_nanos()).unwrap_or_default();
        // A time far ahead of ours is another machine's clock, or made up: waiting for it would not help.
        if (-tick..tick).contains(&age) {
            std::thread::sleep(TICK);
        }
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce(&Self) -> Result<T> + Send + 'static) -> Result<T> {
        let uploads = self.clone();
        blocking(move || work(&uploads)).await
    }

    fn current(&self, name: &str) -> Result<Option<Upload>> {
        Ok(self.find(self.folder()?, name)?.map(|found| found.upload(name)))
    }
}

/// The file of a version of an upload, open.
pub struct Opened<'a> {
    uploads: &'a FolderUploads,
    upload: &'a Upload,
    action: &'static str,
    /// The file.
    pub file: File,
}

impl Opened<'_> {
    /// Whether what was read belongs to the version: fails if the file or its side file changed since.
    pub fn check(&self) -> Result<()> {
        let place = || self.uploads.place(&self.upload.name);
        let changed = || StoreError::new(self.action, place(), "it changed while it was read; it comes again");
        let found = self.uploads.find(self.uploads.folder()?, &self.upload.name)?.ok_or_else(changed)?;
        // The file that is open, not one that has taken its place.
        let state = FileState::of(&self.file).map_err(|error| StoreError::new(self.action, place(), error))?;
        let found = Found { state: state.ok_or_else(changed)?, ..found };
        if self.upload.version.as_ref() == Some(&found.version()) { Ok(()) } else { Err(changed()) }
    }
}

impl Found {
    fn version(&self) -> VersionId {
        let mut text = self.state.fingerprint().into_bytes();
        if let Some((bytes, length)) = &self.side {
            text.extend(format!("\n{length}\n").as_bytes());
            text.extend(bytes);
        }
        let mut version = Sha256::of(&text).to_string();
        version.truncate(32);
        VersionId(version)
    }

    fn upload(&self, name: &str) -> Upload {
        Upload {
            name: name.to_owned(),
            version: Some(self.version()),
            length: self.state.length(),
            custom: self.side.as_ref().map(|(bytes, _)| custom(bytes)),
            sha256: None,
        }
    }
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
    for segment in above {
        let Some(raw) = folder.raw_name(segment)? else { return Ok(None) };
        let Some(below) = folder.folder(&raw)? else { return Ok(None) };
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

fn find(folder: OpenFolder, name: &str) -> io::Result<Option<Found>> {
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
/// A folder that may not be read is passed over (a mounted disk's `lost+found` is one); a request for a name in it
/// fails, so nothing in it counts as gone.
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
        result => result?,
    };
    let files: std::collections::HashSet<&str> =
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
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    tracing::warn!(folder = path, "folder passed over: it may not be read");
                    true
                }
                Err(error) => return Err(error),
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
            Some(raw) => stamp_of(folder, &raw)?,
            None => None,
        };
        stamps.extend(stamp.map(|stamp| (path, stamp)));
        Ok(true)
    })?;
    Ok(stamps)
}

fn id_in(mark: &[u8]) -> String {
    String::from_utf8_lossy(mark).lines().next().unwrap_or_default().trim().to_owned()
}

/// Marks the folder at `root`, unless it is marked already; answers its id.
fn mark(root: &Path) -> io::Result<String> {
    let path = root.join(OsStr::from_bytes(MARKER.to_bytes()));
    match std::fs::read(&path) {
        Ok(mark) if !id_in(&mark).is_empty() => return Ok(id_in(&mark)),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        // Missing, or empty after a crash.
        _ => {}
    }
    let mut random = [0; 16];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| io::Error::other("no randomness to be had"))?;
    let id = hex::encode(random);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&path)?;
    writeln!(
        file,
        "{id}\nBy this file tufline knows that its uploads folder is mounted. Without it nothing is published or removed."
    )?;
    file.sync_all()?;
    File::open(root)?.sync_all()?;
    Ok(id)
}

#[async_trait]
impl Uploads for FolderUploads {
    async fn head(&self, name: &str) -> Result<Head> {
        let name = name.to_owned();
        let current = self.run(move |uploads| uploads.current(&name)).await?;
        Ok(current.map_or(Head::Gone { marker: None }, Head::Object))
    }

    async fn head_version(&self, name: &str, version: &VersionId) -> Result<Option<Upload>> {
        let name = name.to_owned();
        let current = self.run(move |uploads| uploads.current(&name)).await?;
        Ok(current.filter(|upload| upload.version.as_ref() == Some(version)))
    }

    async fn versions(&self, name: &str) -> Result<Vec<PastVersion>> {
        let name = name.to_owned();
        let current = self.run(move |uploads| uploads.current(&name)).await?;
        let current = current.and_then(|upload| upload.version).map(PastVersion::Object);
        Ok(current.into_iter().chain([PastVersion::Forgotten]).collect())
    }

    async fn list(&self, after: Option<&str>) -> Result<Vec<String>> {
        let after = after.unwrap_or_default().to_owned();
        self.run(move |uploads| {
            let mut listed: Vec<String> = Vec::new();
            walk(&uploads.folder()?, "", &after, &mut |_, _, name| {
                // Two names that aren't UTF-8 may read the same.
                if listed.last().is_none_or(|last| *last != name) {
                    listed.push(name);
                }
                Ok(listed.len() < PAGE)
            })
            .map_err(|error| failed("list", uploads.path(), &error))?;
            Ok(listed)
        })
        .await
    }

    async fn read(&self, upload: &Upload, offset: u64, length: u64) -> Result<Bytes> {
        let upload = upload.clone();
        self.run(move |uploads| {
            let opened = uploads.open_version(&upload, "read")?;
            let bytes = read_range(&opened.file, upload.length, offset, length)
                .map_err(|error| failed("read", &uploads.path().join(&upload.name), &error))?;
            opened.check()?;
            Ok(bytes)
        })
        .await
    }

    fn place(&self, name: &str) -> String {
        format!("{}/{name}", self.path().display())
    }
}

/// Up to `length` bytes of `file` from `offset`, within its first `whole` bytes.
pub fn read_range(file: &File, whole: u64, offset: u64, length: u64) -> io::Result<Bytes> {
    let length = length.min(whole.saturating_sub(offset));
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes.into())
}
