//! The uploads as files in a folder.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use tufline_store::{
    Clock, ErrorKind, Head, PastVersion, Result, StoreError, Upload, Uploads, VersionId, Written,
};
use tufline_tuf::Time;

use crate::data::{DataFolder, failed};
use crate::given;
use crate::lock::lock;
use crate::open_folder::{FileState, OpenFolder};
use crate::threads::{UPLOADS, in_turn};
use crate::upload_names::{Found, Stamp, find, walk};

/// The most names that [`Uploads::list`] returns at once.
const PAGE: usize = 1000;

/// Longer than a tick of a file system's clock, which ticks every 1 to 10 ms. Two changes of a file
/// within one tick may leave the same times, so a file is read only once its last change is older
/// than a tick.
const TICK: Duration = Duration::from_millis(12);

/// [`Uploads`] on a folder: a file's name is its path below the folder, with `/`.
///
/// The version of an upload is a fingerprint of the file's length, times and inode, and of the
/// contents of the side file `NAME.tuf.json`, whose text is the custom metadata. Files have no
/// history, so earlier versions aren't known.
///
/// These are not uploads: names with a segment that begins with `.`; names of incomplete files
/// (`upload_names.rs`); side files beside their target. Anything but a regular file, such as a
/// symbolic link, is an upload that cannot become a target. A `*.tuf.json` without its target
/// counts as an upload, so that it is refused under its own name instead of being ignored silently;
/// the [`crate::Watcher`] first leaves time for its target to arrive.
///
/// *Invariant*: nothing counts as gone unless the folder is the one used before, or one that was
/// accepted in its place ([`FolderUploads::take`]). While a disk is not mounted, every request
/// fails. The folder itself contains no mark of its identity, since a tool that makes it equal to
/// another folder (`rsync --delete`) would remove such a mark.
///
/// *Invariant*: once a [`crate::Watcher`] watches the folder, a file's bytes are returned only in
/// the very state that the watcher reported. Others that list the names (a start does) may find a
/// file before the watcher does, while it is being written. Without a watcher, as during an import,
/// the caller has written the files itself.
#[derive(Clone)]
pub struct FolderUploads(Arc<UploadsState>);

struct UploadsState {
    root: PathBuf,
    /// The folder's identity; `None` for deliveries, where any folder will do.
    known: Option<Known>,
    /// What the watcher has reported; `None` without a watcher.
    told: Mutex<Option<Told>>,
    clock: Arc<dyn Clock>,
}

/// The stamp with which the watcher reported each name; `None` for a file that was there when the
/// watcher began and has not been reported yet.
pub(crate) type Told = Arc<Mutex<BTreeMap<String, Option<Stamp>>>>;

/// The identity of the uploads folder, as the data folder records it.
struct Known {
    data: DataFolder,
    /// The folder's [`OpenFolder::identity`].
    identity: Mutex<String>,
}

impl Known {
    fn record(&self) -> PathBuf {
        self.data.path().join(RECORD)
    }

    fn is(&self, identity: &str) -> bool {
        *lock(&self.identity) == identity
    }
}

/// The folder that is now in the place of the uploads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundFolder {
    /// The same folder as before.
    Known,
    /// Another folder, with this identity.
    Other(String),
    /// No folder: a disk may not be mounted.
    Missing,
}

/// The file in the data folder that records the identity of the uploads folder.
const RECORD: &str = "uploads.id";

impl FolderUploads {
    /// Opens the uploads in the folder at `root`.
    ///
    /// On first use with this data folder, it makes a missing `root`, and records its identity.
    /// From then on no other folder counts ([`FolderUploads::standing`]).
    ///
    /// # Errors
    /// If the folder cannot be made or read on first use, or the record cannot be read.
    pub fn open(data: &DataFolder, root: impl AsRef<Path>, clock: Arc<dyn Clock>) -> Result<Self> {
        let root = std::path::absolute(root.as_ref())
            .map_err(|error| failed("find", root.as_ref(), error))?;
        let record = data.path().join(RECORD);
        let identity = match given::read_to_string(&record) {
            Ok(identity) => Some(identity.trim().to_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed("read", &record, error)),
        };
        let known = Known {
            data: data.clone(),
            identity: Mutex::new(identity.clone().unwrap_or_default()),
        };
        let uploads = Self(Arc::new(UploadsState {
            root,
            known: Some(known),
            told: Mutex::default(),
            clock,
        }));
        if identity.is_none() {
            let root = uploads.path();
            std::fs::create_dir_all(root).map_err(|error| failed("make", root, error))?;
            let identity = OpenFolder::open(root).and_then(|folder| folder.identity());
            // After a crash before this point, the next start does it.
            uploads.take(&identity.map_err(|error| failed("look at", root, error))?)?;
        }
        Ok(uploads)
    }

    /// Whether `data` has recorded the identity of its uploads folder.
    #[must_use]
    pub fn is_recorded(data: &DataFolder) -> bool {
        data.path().join(RECORD).exists()
    }

    /// Which folder is in the place of the uploads now.
    ///
    /// # Errors
    /// If it can't be opened.
    pub fn standing(&self) -> Result<FoundFolder> {
        let Some((_, identity)) = self.look()? else { return Ok(FoundFolder::Missing) };
        let known = self.0.known.as_ref().is_none_or(|known| known.is(&identity));
        Ok(if known { FoundFolder::Known } else { FoundFolder::Other(identity) })
    }

    /// Accepts the folder with this identity as the uploads folder: from now on what isn't in it
    /// counts as gone. The caller must have looked into it.
    ///
    /// # Errors
    /// If the data folder can't be written.
    pub fn take(&self, identity: &str) -> Result<()> {
        let Some(known) = &self.0.known else { return Ok(()) };
        let (record, bytes) = (known.record(), format!("{identity}\n"));
        let disk = known.data.disk();
        let written = disk.create(&record, bytes.as_bytes()).and_then(|written| match written {
            Written::Done => Ok(Written::Done),
            Written::Lost => disk.replace(&record, bytes.as_bytes(), |_| true),
        });
        // `Lost` means that somebody removed the record meanwhile: then the next start records the
        // folder that is there.
        let (Written::Done | Written::Lost) =
            written.map_err(|error| failed("write", &record, error))?;
        identity.clone_into(&mut lock(&known.identity));
        Ok(())
    }

    /// The names of all uploads in the folder with this identity, whether it is the known one or
    /// not.
    ///
    /// # Errors
    /// If this folder is no longer there, or can't be read.
    pub async fn names_in(&self, identity: &str) -> Result<HashSet<String>> {
        let identity = identity.to_owned();
        self.run(move |uploads| {
            let folder = uploads.look()?.filter(|(_, found)| *found == identity);
            let (folder, _) = folder.ok_or_else(|| uploads.not_there("it has just changed"))?;
            let mut names = HashSet::new();
            walk(&folder, "", "", &mut |_, _, name| {
                names.insert(name);
                Ok(true)
            })
            .map_err(|error| failed("list", uploads.path(), error))?;
            Ok(names)
        })
        .await
    }

    /// The files in `DATA/<name>`, for deliveries; it makes a missing folder. Any folder will do,
    /// since a file that is gone from it changes nothing.
    ///
    /// # Errors
    /// If the folder cannot be made.
    pub fn beside(data: &DataFolder, name: &str, clock: Arc<dyn Clock>) -> Result<Self> {
        let root = data.path().join(name);
        std::fs::create_dir_all(&root).map_err(|error| failed("make", &root, error))?;
        Ok(Self(Arc::new(UploadsState { root, known: None, told: Mutex::default(), clock })))
    }

    /// The absolute path of the folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.root
    }

    /// The folder in the place of the uploads, whichever it is, and its identity; `None` if there
    /// is none.
    fn look(&self) -> Result<Option<(OpenFolder, String)>> {
        let root = self.path();
        let folder = match OpenFolder::open(root) {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(None);
            }
            result => result.map_err(|error| failed("open", root, error))?,
        };
        let identity = folder.identity().map_err(|error| failed("look at", root, error))?;
        Ok(Some((folder, identity)))
    }

    fn not_there(&self, why: &str) -> StoreError {
        let root = self.path().display();
        let why = format!("the uploads folder {root} is not mounted, or was replaced: {why}");
        StoreError::new(ErrorKind::Missing, "open", root, why)
    }

    /// The folder itself, if it is the known one.
    pub(crate) fn folder(&self) -> Result<OpenFolder> {
        match self.look()? {
            None => Err(self.not_there(
                "there is no folder; bring it back, and it goes on by \
                                        itself",
            )),
            Some((folder, identity))
                if self.0.known.as_ref().is_none_or(|known| known.is(&identity)) =>
            {
                Ok(folder)
            }
            Some(_) => Err(self.not_there(
                "another folder is in its place, as after a copy of the data folder; it is \
                 accepted once it has the published files, or after `tufline accept-removals`",
            )),
        }
    }

    /// The upload at `name` now; `None` if there is none.
    pub(crate) fn find(&self, folder: OpenFolder, name: &str) -> Result<Option<Found>> {
        let place = || self.path().join(name.replace('\0', "\u{FFFD}"));
        find(folder, name).map_err(|error| failed("look at", &place(), error))
    }

    /// Opens the file of `upload`, which must still be that version. `action` names the purpose in
    /// errors. Bytes read from it count only after [`OpenedUpload::check`].
    pub(crate) fn open_version<'a>(
        &'a self,
        upload: &'a Upload,
        action: &'static str,
    ) -> Result<OpenedUpload<'a>> {
        let unfinished = |why: &str| {
            StoreError::new(ErrorKind::Unfinished, action, self.place(&upload.name), why)
        };
        let changed = || unfinished("it changed meanwhile; it is retried");
        let found = self.find(self.folder()?, &upload.name)?.ok_or_else(changed)?;
        if upload.version.as_ref() != Some(&found.version()) {
            return Err(changed());
        }
        if !self.counts(&upload.name, &found)? {
            return Err(unfinished("it is being written, or has just changed; it is retried"));
        }
        self.wait_for_tick(&found.state);
        let file = found
            .folder
            .file(&found.raw)
            .map_err(|error| failed(action, &self.path().join(&upload.name), error))?;
        Ok(OpenedUpload { uploads: self, upload, action, file: file.ok_or_else(changed)?, found })
    }

    /// Whether the bytes found at `name` may be returned: without a watcher always, otherwise in
    /// the reported state only.
    fn counts(&self, name: &str, found: &Found) -> Result<bool> {
        let Some(told) = lock(&self.0.told).clone() else { return Ok(true) };
        let told = lock(&told).get(name).copied().flatten();
        let stamp =
            found.stamp().map_err(|error| failed("look at", &self.path().join(name), error))?;
        Ok(told == Some(stamp))
    }

    /// From now on only files that the watcher has reported count.
    pub(crate) fn only(&self, told: &Told) {
        *lock(&self.0.told) = Some(Arc::clone(told));
    }

    /// How long the file has been unchanged, by the file system's clock; zero if that clock is
    /// ahead of ours.
    pub(crate) fn unchanged_for(&self, state: &FileState) -> Duration {
        let age = self.0.clock.now().as_nanosecond() - state.changed();
        Duration::from_nanos(u64::try_from(age.max(0)).unwrap_or(u64::MAX))
    }

    /// Blocks until a further change of the file would show in its times.
    fn wait_for_tick(&self, state: &FileState) {
        let age = self.0.clock.now().as_nanosecond() - state.changed();
        let tick = i128::try_from(TICK.as_nanos()).unwrap_or_default();
        // A time far ahead comes from another machine's clock, or is made up: waiting for it would
        // not help.
        if (-tick..tick).contains(&age) {
            std::thread::sleep(TICK);
        }
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let uploads = self.clone();
        in_turn(&UPLOADS, move || work(&uploads)).await
    }

    pub(crate) fn current(&self, name: &str) -> Result<Option<Upload>> {
        Ok(self.find(self.folder()?, name)?.map(|found| found.upload(name)))
    }
}

/// The open file of one version of an upload.
pub struct OpenedUpload<'a> {
    uploads: &'a FolderUploads,
    upload: &'a Upload,
    action: &'static str,
    pub file: File,
    found: Found,
}

impl OpenedUpload<'_> {
    /// Checks that the bytes read belong to the version: fails if the file or its side file has
    /// changed since.
    pub fn check(&self) -> Result<()> {
        let place = || self.uploads.place(&self.upload.name);
        // The state of the open file, not of one that has taken its place.
        let now = self.found.version_now(&self.file);
        let now = now.map_err(|error| failed(self.action, Path::new(&place()), error))?;
        if now.is_some() && now == self.upload.version {
            return Ok(());
        }
        let why = "it changed while it was read; it is retried";
        Err(StoreError::new(ErrorKind::Unfinished, self.action, place(), why))
    }
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
            .map_err(|error| failed("list", uploads.path(), error))?;
            Ok(listed)
        })
        .await
    }

    async fn read_into(
        &self,
        buffer: BytesMut,
        upload: &Upload,
        offset: u64,
        length: u64,
    ) -> Result<BytesMut> {
        let upload = upload.clone();
        self.run(move |uploads| {
            let opened = uploads.open_version(&upload, "read")?;
            let bytes = fill(buffer, &opened.file, upload.length, offset, length)
                .map_err(|error| failed("read", &uploads.path().join(&upload.name), error))?;
            opened.check()?;
            Ok(bytes)
        })
        .await
    }

    fn place(&self, name: &str) -> String {
        format!("{}/{name}", self.path().display())
    }
}

/// Reads up to `length` bytes of `file` from `offset`, within its first `whole` bytes.
pub fn read_range(file: &File, whole: u64, offset: u64, length: u64) -> io::Result<Bytes> {
    fill(BytesMut::new(), file, whole, offset, length).map(BytesMut::freeze)
}

/// The same, into `buffer`, replacing its contents.
fn fill(
    mut buffer: BytesMut,
    file: &File,
    whole: u64,
    offset: u64,
    length: u64,
) -> io::Result<BytesMut> {
    let length = length.min(whole.saturating_sub(offset));
    // Existing bytes need no zeros, since they are overwritten.
    buffer.resize(usize::try_from(length).map_err(io::Error::other)?, 0);
    file.read_exact_at(&mut buffer, offset)?;
    Ok(buffer)
}
