//! The bytes received so far of a target. They survive broken connections, kills and reboots.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tufline_client::FoundTarget;
use tufline_metadata::Hasher;

use crate::durable;
use crate::patience::now;

/// Received bytes are flushed to disk after this many bytes…
const SYNC_AFTER_BYTES: u64 = 4 << 20;

/// …or after this much time. A power cut costs no more than that.
const SYNC_AFTER: Duration = Duration::from_secs(10);

/// The suffixes of the files beside a part: its note…
const NOTE: &str = ".note";

/// …the list of its chunks…
pub const LIST: &str = ".list";

/// …and the received bytes of an incomplete chunk.
pub const PACKED: &str = ".packed";

/// The bytes received so far of a target, in a file beside the target's final place.
///
/// *Invariant*: the bytes that the note calls safe are on disk, since the note is written after
/// them. They are hashed again before more are added, and the file moves into its place only if its
/// digest is the signed one.
pub struct Part<'t> {
    found: &'t FoundTarget,
    path: PathBuf,
    file: File,
    hasher: Hasher<'t>,
    length: u64,
    /// Whether the file has more bytes behind these, which nobody has checked.
    has_tail: bool,
    note: Note,
    synced_at: Instant,
}

/// The record of a part, in a file beside it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    /// The target's digest, as the metadata lists it.
    digest: String,
    /// The number of bytes that are on disk.
    safe: u64,
    /// The `ETag` of the file on the server that these bytes came from.
    etag: Option<String>,
    /// Its chunks made another file, so the target must be fetched whole.
    #[serde(default)]
    is_whole: bool,
    /// Some bytes came from chunks. Only the complete target shows whether they are right.
    #[serde(default)]
    by_chunks: bool,
}

impl<'t> Part<'t> {
    /// Reads the part in `file`, which this process has locked. A part of another version is
    /// dropped.
    fn read(found: &'t FoundTarget, path: PathBuf, file: File) -> io::Result<Self> {
        let digest = found.target.digest().unwrap_or_default();
        let note = fs::read(note_path(&path))
            .ok()
            .and_then(|note| serde_json::from_slice::<Note>(&note).ok());
        let note =
            note.filter(|note| note.digest == digest).unwrap_or(Note { digest, ..Note::default() });
        let mut part = Self {
            found,
            path,
            file,
            hasher: found.target.hasher(),
            length: 0,
            has_tail: false,
            note,
            synced_at: now(),
        };
        part.hash_kept()?;
        Ok(part)
    }

    /// The part's path: a hidden file named by the target's name, so that each target has at most
    /// one part.
    fn path(found: &FoundTarget, to: &Path) -> PathBuf {
        let name = hex::encode(Sha256::digest(&found.name).get(..16).unwrap_or_default());
        to.with_file_name(format!(".{name}.part"))
    }

    fn hash_kept(&mut self) -> io::Result<()> {
        let kept = self.note.safe.min(self.file.metadata()?.len()).min(self.found.target.length);
        self.file.seek(SeekFrom::Start(0))?;
        self.length = hash_rest(&mut (&self.file).take(kept), &mut self.hasher)?;
        self.has_tail = self.file.metadata()?.len() > self.length;
        // After a power cut the file may be shorter than the note says.
        self.note.safe = self.length;
        Ok(())
    }

    /// The number of received bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    pub fn is_whole(&self) -> bool {
        self.length == self.found.target.length
    }

    pub fn etag(&self) -> Option<&str> {
        self.note.etag.as_deref()
    }

    /// Notes the `ETag` of the file that the next bytes come from; `None` if it has none.
    pub fn set_etag(&mut self, etag: Option<String>) {
        self.note.etag = etag;
    }

    /// Drops all received bytes.
    pub fn begin_anew(&mut self) -> io::Result<()> {
        self.note = Note {
            digest: self.note.digest.clone(),
            is_whole: self.note.is_whole,
            ..Note::default()
        };
        durable::remove(&note_path(&self.path))?;
        self.hasher = self.found.target.hasher();
        self.length = 0;
        self.drop_tail()
    }

    /// Requires a fetch of the whole target from now on, even after a reboot, because its chunks
    /// made another file.
    pub fn take_whole(&mut self) -> io::Result<()> {
        self.begin_anew()?;
        self.note.is_whole = true;
        self.write_note()
    }

    /// Allows chunks again.
    pub fn forget_whole(&mut self) -> io::Result<()> {
        if !self.note.is_whole {
            return Ok(());
        }
        self.note.is_whole = false;
        self.write_note()
    }

    /// Notes that chunks are added from now on.
    pub fn begin_chunks(&mut self) -> io::Result<()> {
        if self.note.by_chunks {
            return Ok(());
        }
        self.note.by_chunks = true;
        self.write_note()
    }

    /// Whether some bytes came from chunks.
    pub fn is_by_chunks(&self) -> bool {
        self.note.by_chunks
    }

    /// Drops bytes that came from chunks: a fetch of the whole target can't continue from them.
    pub fn begin_whole(&mut self) -> io::Result<()> {
        if self.note.by_chunks { self.begin_anew() } else { Ok(()) }
    }

    /// Removes the list of chunks, and the received bytes of an incomplete chunk.
    pub fn forget_list(&mut self) -> io::Result<()> {
        [LIST, PACKED].iter().try_for_each(|suffix| durable::remove(&self.beside(suffix)))
    }

    /// Whether the target must be fetched whole.
    pub fn comes_whole(&self) -> bool {
        self.note.is_whole
    }

    /// The path of a file beside the part.
    pub fn beside(&self, suffix: &str) -> PathBuf {
        durable::with_suffix(&self.path, suffix)
    }

    /// The part's file. It may have more bytes than [`Self::length`].
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Counts the next bytes, which are in the file already.
    pub fn accept(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
    }

    /// Cuts off the bytes behind [`Self::length`].
    pub fn drop_tail(&mut self) -> io::Result<()> {
        self.has_tail = false;
        self.file.set_len(self.length)?;
        self.file.seek(SeekFrom::Start(self.length)).map(|_| ())
    }

    /// Adds the next bytes. The caller adds no more than the target has.
    pub fn add(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.has_tail {
            self.drop_tail()?;
        }
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
        if self.length - self.note.safe >= SYNC_AFTER_BYTES
            || now().duration_since(self.synced_at) >= SYNC_AFTER
        {
            self.sync()?;
        }
        Ok(())
    }

    /// Flushes the received bytes to disk, and then notes that they are safe.
    pub fn sync(&mut self) -> io::Result<()> {
        if self.length == self.note.safe {
            return Ok(());
        }
        self.file.sync_data()?;
        self.note.safe = self.length;
        self.synced_at = now();
        self.write_note()
    }

    fn write_note(&self) -> io::Result<()> {
        durable::write(&note_path(&self.path), &serde_json::to_vec(&self.note)?)
    }

    /// Moves the file into its place, if its digest is the signed one. Otherwise removes it, and
    /// returns why.
    pub fn finish(self, to: &Path) -> io::Result<Result<(), String>> {
        if let Err(error) = self.hasher.check() {
            Self::remove(&self.path)?;
            return Ok(Err(error.to_string()));
        }
        if self.has_tail {
            self.file.set_len(self.length)?;
        }
        self.file.sync_all()?;
        durable::rename(&self.path, to)?;
        remove_beside(&self.path)?;
        Ok(Ok(()))
    }

    fn remove(path: &Path) -> io::Result<()> {
        durable::remove(&note_path(path))?;
        durable::remove(path)
    }
}

/// Opens and locks the part of a target that will be at `to`. `None` if the target is there
/// already.
///
/// *Invariant*: one process at a time has a part. A later process waits, and finds the part as the
/// first one left it, or the target in its place.
pub fn open_unless_there<'t>(found: &'t FoundTarget, to: &Path) -> io::Result<Option<Part<'t>>> {
    // Check the place before anything is fetched.
    if fs::metadata(to).is_ok_and(|about| !about.is_file()) {
        let why = "it is there, and is not a regular file";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    let path = Part::path(found, to);
    loop {
        let before = identity(to)?;
        if before.is_some() && is_there(found, to)? {
            // A process was killed after it moved the part, and left these.
            if !path.exists() {
                remove_beside(&path)?;
            }
            return Ok(None);
        }
        let file = durable::create_or_open(&path)?;
        file.lock()?;
        // The process that had the lock may have moved the part into place, or begun a new one.
        let is_still_there = identity(&path)? == Some(identity_of(&file.metadata()?));
        if is_still_there && identity(to)? == before {
            return Part::read(found, path, file).map(Some);
        }
    }
}

/// What changes when a file is replaced or written: device, inode and modification time.
fn identity(path: &Path) -> io::Result<Option<(u64, u64, i64, i64)>> {
    match fs::metadata(path) {
        Ok(about) => Ok(Some(identity_of(&about))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn identity_of(about: &fs::Metadata) -> (u64, u64, i64, i64) {
    (about.dev(), about.ino(), about.mtime(), about.mtime_nsec())
}

/// Whether `path` has this target's bytes already.
pub fn is_there(found: &FoundTarget, path: &Path) -> io::Result<bool> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let about = file.metadata()?;
    if !about.is_file() || about.len() != found.target.length {
        return Ok(false);
    }
    let mut hasher = found.target.hasher();
    hash_rest(&mut file, &mut hasher)?;
    Ok(hasher.check().is_ok())
}

/// Hashes everything up to the end of `file`, and returns the number of bytes.
fn hash_rest(file: &mut impl Read, hasher: &mut Hasher<'_>) -> io::Result<u64> {
    let (mut length, mut buffer) = (0, vec![0; 1 << 16]);
    loop {
        let read = file.read(&mut buffer)?;
        let Some(bytes @ [_, ..]) = buffer.get(..read) else { return Ok(length) };
        hasher.update(bytes);
        length += read as u64;
    }
}

fn remove_beside(part: &Path) -> io::Result<()> {
    [NOTE, LIST, PACKED]
        .iter()
        .try_for_each(|suffix| durable::remove(&durable::with_suffix(part, suffix)))
}

fn note_path(part: &Path) -> PathBuf {
    durable::with_suffix(part, NOTE)
}
