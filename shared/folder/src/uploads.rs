//! The uploads as files in a folder.

use std::ffi::{CStr, OsStr};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use tufline_store::{Clock, Head, PastVersion, Result, StoreError, Upload, Uploads, VersionId};
use tufline_tuf::Time;

use crate::data::{DataFolder, failed};
use crate::names::{Found, find, walk};
use crate::tree::{FileState, OpenFolder};
use crate::{UPLOADS, in_turn, lock};

/// The file by which the uploads folder is recognised. Its first line is the folder's id.
const MARKER: &CStr = c".tufline-uploads";

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
    /// By what the folder is known; `None` where nothing is ever taken for gone.
    id: Option<String>,
    /// The mark as it was when it was last read and was the right one.
    mark: Mutex<Option<FileState>>,
    clock: Arc<dyn Clock>,
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
        let uploads = Self(Arc::new(Inner { root, id: Some(id), mark: Mutex::default(), clock }));
        uploads.folder()?;
        Ok(uploads)
    }

    /// The files in `DATA/<name>`, made where it is missing. It needs no mark: what is gone from it changes nothing.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn beside(data: &DataFolder, name: &str, clock: Arc<dyn Clock>) -> Result<Self> {
        let root = data.path().join(name);
        std::fs::create_dir_all(&root).map_err(|error| failed("make", &root, &error))?;
        Ok(Self(Arc::new(Inner { root, id: None, mark: Mutex::default(), clock })))
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
        let Some(id) = &self.0.id else { return Ok(folder) };
        let unread = |error: io::Error| failed("read the mark in", root, &error);
        let state = folder.state(MARKER).map_err(unread)?;
        if let Some(state) = &state
            && lock(&self.0.mark).is_some_and(|known| known.is_same(state))
        {
            return Ok(folder);
        }
        match folder.read(MARKER, 1024).map_err(unread)? {
            None => Err(not_mounted("it lacks the file `.tufline-uploads` by which it is known")),
            Some((mark, _)) if id_in(&mark) != *id => Err(not_mounted("another folder is in its place")),
            Some(_) => {
                *lock(&self.0.mark) = state;
                Ok(folder)
            }
        }
    }

    /// What is at `name` now; `None` where there is no upload.
    pub(crate) fn find(&self, folder: OpenFolder, name: &str) -> Result<Option<Found>> {
        let place = || self.path().join(name.replace('\0', "\u{FFFD}"));
        find(folder, name).map_err(|error| failed("look at", &place(), &error))
    }

    /// Opens the file of `upload`, which must still be that version. `action` is what it is opened for. What is read from it counts
    /// only after [`Opened::check`].
    pub(crate) fn open_version<'a>(&'a self, upload: &'a Upload, action: &'static str) -> Result<Opened<'a>> {
        let changed = || StoreError::new(action, self.place(&upload.name), "it changed meanwhile; it comes again");
        let found = self.find(self.folder()?, &upload.name)?.ok_or_else(changed)?;
        if upload.version.as_ref() != Some(&found.version()) {
            return Err(changed());
        }
        self.wait_for_tick(&found.state);
        let file =
            found.folder.file(&found.raw).map_err(|error| failed(action, &self.path().join(&upload.name), &error))?;
        Ok(Opened { uploads: self, upload, action, file: file.ok_or_else(changed)?, found })
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
        in_turn(&UPLOADS, move || work(&uploads)).await
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
    found: Found,
}

impl Opened<'_> {
    /// Whether what was read belongs to the version: fails if the file or its side file changed since.
    pub fn check(&self) -> Result<()> {
        let place = || self.uploads.place(&self.upload.name);
        // Of the file that is open, not of one that has taken its place.
        let now = self.found.version_now(&self.file).map_err(|error| StoreError::new(self.action, place(), error))?;
        if now.is_some() && now == self.upload.version {
            return Ok(());
        }
        Err(StoreError::new(self.action, place(), "it changed while it was read; it comes again"))
    }
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
        let found = self.run(move |uploads| uploads.find(uploads.folder()?, &name)).await?;
        let current = found.map(|found| PastVersion::Object {
            version: found.version(),
            modified: Time::from_nanosecond(found.state.changed()).unwrap_or(Time::MAX),
            in_parts: false,
        });
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

    async fn read_into(&self, buffer: BytesMut, upload: &Upload, offset: u64, length: u64) -> Result<BytesMut> {
        let upload = upload.clone();
        self.run(move |uploads| {
            let opened = uploads.open_version(&upload, "read")?;
            let bytes = fill(buffer, &opened.file, upload.length, offset, length)
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
    fill(BytesMut::new(), file, whole, offset, length).map(BytesMut::freeze)
}

/// The same in `buffer`, in place of what is there.
fn fill(mut buffer: BytesMut, file: &File, whole: u64, offset: u64, length: u64) -> io::Result<BytesMut> {
    let length = length.min(whole.saturating_sub(offset));
    // What is there already needs no zeros: it is overwritten.
    buffer.resize(usize::try_from(length).map_err(io::Error::other)?, 0);
    file.read_exact_at(&mut buffer, offset)?;
    Ok(buffer)
}
