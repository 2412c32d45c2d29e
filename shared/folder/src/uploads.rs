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
use tufline_store::{Clock, ErrorKind, Head, PastVersion, Result, StoreError, Upload, Uploads, VersionId, Written};
use tufline_tuf::Time;

use crate::data::{DataFolder, failed};
use crate::given;
use crate::lock::lock;
use crate::open_folder::{FileState, OpenFolder};
use crate::threads::{UPLOADS, in_turn};
use crate::upload_names::{Found, Stamp, find, walk};

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
/// Not uploads: names with a segment that begins with `.`; names of incomplete files (`names.rs`); side files beside their target. What isn't a
/// regular file, symbolic links with it, is an upload of which no target can be made. A `*.tuf.json` with nothing beside it counts as an
/// upload, so that it is refused under its own name instead of being ignored without a word; the [`crate::Watcher`]
/// leaves time for its target to arrive first.
///
/// *Invariant*: nothing counts as gone unless the folder is there that was used before, or one that somebody took in its place
/// ([`FolderUploads::take`]): while a disk is not mounted, every request fails. Nothing in the folder says which one it is, since tools that make
/// it like another (`rsync --delete`) would remove that.
///
/// *Invariant*: once a [`crate::Watcher`] watches the folder, the bytes of a file are given to nobody but in the very state in which the watcher told of it:
/// whoever else lists the names (a start does) may come upon a file before the watcher does, in the middle of its being written. Where none watches, as while
/// something is imported, whoever asks for a file has written it.
#[derive(Clone)]
pub struct FolderUploads(Arc<UploadsState>);

struct UploadsState {
    root: PathBuf,
    /// Which folder it is; `None` where nothing is ever taken for gone.
    known: Option<Known>,
    /// What a watcher told; `None` where none watches.
    told: Mutex<Option<Told>>,
    clock: Arc<dyn Clock>,
}

/// What was told of each name, by its stamp then; and what lay there when the watcher began, without one.
pub(crate) type Told = Arc<Mutex<BTreeMap<String, Option<Stamp>>>>;

/// Which folder the uploads lie in.
struct Known {
    data: DataFolder,
    /// [`OpenFolder::identity`].
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

/// Which folder is at the uploads' place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundFolder {
    /// The one of before.
    Known,
    /// Another one: this.
    Other(String),
    /// None.
    Missing,
}

/// In the data folder: which folder the uploads lie in.
const RECORD: &str = "uploads.id";

impl FolderUploads {
    /// The uploads in the folder at `root`.
    ///
    /// On first use with this data folder, `root` is made if missing, and remembered; from then on no other counts ([`FolderUploads::standing`]).
    ///
    /// # Errors
    /// The folder cannot be made or read, on first use.
    pub fn open(data: &DataFolder, root: impl AsRef<Path>, clock: Arc<dyn Clock>) -> Result<Self> {
        let root = std::path::absolute(root.as_ref()).map_err(|error| failed("find", root.as_ref(), error))?;
        let record = data.path().join(RECORD);
        let identity = match given::read_to_string(&record) {
            Ok(identity) => Some(identity.trim().to_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed("read", &record, error)),
        };
        let known = Known { data: data.clone(), identity: Mutex::new(identity.clone().unwrap_or_default()) };
        let uploads = Self(Arc::new(UploadsState { root, known: Some(known), told: Mutex::default(), clock }));
        if identity.is_none() {
            let root = uploads.path();
            std::fs::create_dir_all(root).map_err(|error| failed("make", root, error))?;
            let identity = OpenFolder::open(root).and_then(|folder| folder.identity());
            // A crash before this: the next start does it.
            uploads.take(&identity.map_err(|error| failed("look at", root, error))?)?;
        }
        Ok(uploads)
    }

    /// Whether there is a record in `data` of which folder the uploads lie in.
    #[must_use]
    pub fn is_recorded(data: &DataFolder) -> bool {
        data.path().join(RECORD).exists()
    }

    /// Which folder is at the uploads' place now.
    ///
    /// # Errors
    /// It can't be looked at.
    pub fn standing(&self) -> Result<FoundFolder> {
        let Some((_, identity)) = self.look()? else { return Ok(FoundFolder::Missing) };
        let known = self.0.known.as_ref().is_none_or(|known| known.is(&identity));
        Ok(if known { FoundFolder::Known } else { FoundFolder::Other(identity) })
    }

    /// From now on the folder that has this identity is the one of the uploads, and what isn't in it is gone: whoever calls this has looked into it.
    ///
    /// # Errors
    /// The data folder can't be written.
    pub fn take(&self, identity: &str) -> Result<()> {
        let Some(known) = &self.0.known else { return Ok(()) };
        let (record, bytes) = (known.record(), format!("{identity}\n"));
        let disk = known.data.disk();
        let written = disk.create(&record, bytes.as_bytes()).and_then(|written| match written {
            Written::Done => Ok(Written::Done),
            Written::Lost => disk.replace(&record, bytes.as_bytes(), |_| true),
        });
        // Lost: somebody removed it meanwhile, and the next start takes what is there.
        let (Written::Done | Written::Lost) = written.map_err(|error| failed("write", &record, error))?;
        identity.clone_into(&mut lock(&known.identity));
        Ok(())
    }

    /// The names of all that is in the folder which has this identity, whether it is the known one or not.
    ///
    /// # Errors
    /// It is not there any more, or can't be read.
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

    /// The files in `DATA/<name>`, made where it is missing. It may be any folder: what is gone from it changes nothing.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn beside(data: &DataFolder, name: &str, clock: Arc<dyn Clock>) -> Result<Self> {
        let root = data.path().join(name);
        std::fs::create_dir_all(&root).map_err(|error| failed("make", &root, error))?;
        Ok(Self(Arc::new(UploadsState { root, known: None, told: Mutex::default(), clock })))
    }

    /// Where the folder is: an absolute path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.root
    }

    /// The folder at the uploads' place, whichever it is, and its identity; `None` where there is none.
    fn look(&self) -> Result<Option<(OpenFolder, String)>> {
        let root = self.path();
        let folder = match OpenFolder::open(root) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
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
            None => Err(self.not_there("there is no folder; bring it back, it goes on by itself")),
            Some((folder, identity)) if self.0.known.as_ref().is_none_or(|known| known.is(&identity)) => Ok(folder),
            Some(_) => Err(self.not_there(
                "another folder is in its place, as where the data folder was copied; it is taken once it has the published files, or after `tufline \
                 accept-removals`",
            )),
        }
    }

    /// What is at `name` now; `None` where there is no upload.
    pub(crate) fn find(&self, folder: OpenFolder, name: &str) -> Result<Option<Found>> {
        let place = || self.path().join(name.replace('\0', "\u{FFFD}"));
        find(folder, name).map_err(|error| failed("look at", &place(), error))
    }

    /// Opens the file of `upload`, which must still be that version. `action` is what it is opened for. What is read from it counts
    /// only after [`OpenedUpload::check`].
    pub(crate) fn open_version<'a>(&'a self, upload: &'a Upload, action: &'static str) -> Result<OpenedUpload<'a>> {
        let unfinished = |why: &str| StoreError::new(ErrorKind::Unfinished, action, self.place(&upload.name), why);
        let changed = || unfinished("it changed meanwhile; it comes again");
        let found = self.find(self.folder()?, &upload.name)?.ok_or_else(changed)?;
        if upload.version.as_ref() != Some(&found.version()) {
            return Err(changed());
        }
        if !self.counts(&upload.name, &found)? {
            return Err(unfinished("it is being written, or has just changed; it comes again"));
        }
        self.wait_for_tick(&found.state);
        let file =
            found.folder.file(&found.raw).map_err(|error| failed(action, &self.path().join(&upload.name), error))?;
        Ok(OpenedUpload { uploads: self, upload, action, file: file.ok_or_else(changed)?, found })
    }

    /// Whether the bytes that were found at `name` may be given away.
    fn counts(&self, name: &str, found: &Found) -> Result<bool> {
        let Some(told) = lock(&self.0.told).clone() else { return Ok(true) };
        let told = lock(&told).get(name).copied().flatten();
        let stamp = found.stamp().map_err(|error| failed("look at", &self.path().join(name), error))?;
        Ok(told == Some(stamp))
    }

    /// From now on only what is told counts.
    pub(crate) fn only(&self, told: &Told) {
        *lock(&self.0.told) = Some(Arc::clone(told));
    }

    /// How long the file has been unchanged, by the file system's clock; zero where that is ahead.
    pub(crate) fn unchanged_for(&self, state: &FileState) -> Duration {
        let age = self.0.clock.now().as_nanosecond() - state.changed();
        Duration::from_nanos(u64::try_from(age.max(0)).unwrap_or(u64::MAX))
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

    pub(crate) fn current(&self, name: &str) -> Result<Option<Upload>> {
        Ok(self.find(self.folder()?, name)?.map(|found| found.upload(name)))
    }
}

/// The file of a version of an upload, open.
pub struct OpenedUpload<'a> {
    uploads: &'a FolderUploads,
    upload: &'a Upload,
    action: &'static str,
    /// The file.
    pub file: File,
    found: Found,
}

impl OpenedUpload<'_> {
    /// Whether what was read belongs to the version: fails if the file or its side file changed since.
    pub fn check(&self) -> Result<()> {
        let place = || self.uploads.place(&self.upload.name);
        // Of the file that is open, not of one that has taken its place.
        let now = self.found.version_now(&self.file);
        let now = now.map_err(|error| failed(self.action, Path::new(&place()), error))?;
        if now.is_some() && now == self.upload.version {
            return Ok(());
        }
        let why = "it changed while it was read; it comes again";
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

    async fn read_into(&self, buffer: BytesMut, upload: &Upload, offset: u64, length: u64) -> Result<BytesMut> {
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
