//! A target's bytes on their way: what came is kept over cuts, kills and reboots.

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

/// What came is put on disk after so many bytes…
const SYNC_AFTER_BYTES: u64 = 4 << 20;

/// …or so much time, so that a cut of the power costs no more than this.
const SYNC_AFTER: Duration = Duration::from_secs(10);

/// The files beside a part: its note…
const NOTE: &str = ".note";

/// …the list of its chunks…
pub const LIST: &str = ".list";

/// …and what came of a chunk that isn't whole.
pub const PACKED: &str = ".packed";

/// What came so far of a target, beside the place where it will be.
///
/// *Invariant*: what the note calls safe is on disk, byte for byte as it came: the note is written after it. It is hashed again before anything is added,
/// and the whole is moved into its place only if it is what was signed.
pub struct Part<'t> {
    found: &'t FoundTarget,
    path: PathBuf,
    file: File,
    hasher: Hasher<'t>,
    length: u64,
    /// Whether the file has bytes behind these, of which nobody knows whether they are right.
    has_tail: bool,
    note: Note,
    synced_at: Instant,
}

/// What is known of a part, in a file beside it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    /// Of the target whose part it is, as listed.
    digest: String,
    /// So many of its bytes are on disk.
    safe: u64,
    /// By which the server tells these bytes from others.
    etag: Option<String>,
    /// The list of its chunks made another file of it: it comes whole.
    #[serde(default)]
    is_whole: bool,
    /// Some of it came by chunks: whether they are right is known when all are there.
    #[serde(default)]
    by_chunks: bool,
}

impl<'t> Part<'t> {
    /// What is kept of this target, of which nobody else has `file`: another version's is forgotten.
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

    /// A hidden file, by the target's name: there is one part of each target at most.
    fn path(found: &FoundTarget, to: &Path) -> PathBuf {
        let name = hex::encode(Sha256::digest(&found.name).get(..16).unwrap_or_default());
        to.with_file_name(format!(".{name}.part"))
    }

    fn hash_kept(&mut self) -> io::Result<()> {
        let kept = self.note.safe.min(self.file.metadata()?.len()).min(self.found.target.length);
        self.file.seek(SeekFrom::Start(0))?;
        self.length = hash_rest(&mut (&self.file).take(kept), &mut self.hasher)?;
        self.has_tail = self.file.metadata()?.len() > self.length;
        // Less than was noted is there where a cut of the power tore the file.
        self.note.safe = self.length;
        Ok(())
    }

    /// So many bytes came.
    pub fn length(&self) -> u64 {
        self.length
    }

    pub fn is_whole(&self) -> bool {
        self.length == self.found.target.length
    }

    pub fn etag(&self) -> Option<&str> {
        self.note.etag.as_deref()
    }

    /// What follows comes from a file with this `ETag`, or none.
    pub fn set_etag(&mut self, etag: Option<String>) {
        self.note.etag = etag;
    }

    /// Forgets what came.
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

    /// From now on it comes whole, also after a reboot: what its chunks made of it was another file.
    pub fn take_whole(&mut self) -> io::Result<()> {
        self.begin_anew()?;
        self.note.is_whole = true;
        self.write_note()
    }

    /// It may come by chunks again.
    pub fn forget_whole(&mut self) -> io::Result<()> {
        if !self.note.is_whole {
            return Ok(());
        }
        self.note.is_whole = false;
        self.write_note()
    }

    /// From now on chunks are added.
    pub fn begin_chunks(&mut self) -> io::Result<()> {
        if self.note.by_chunks {
            return Ok(());
        }
        self.note.by_chunks = true;
        self.write_note()
    }

    /// Whether some of it came by chunks.
    pub fn is_by_chunks(&self) -> bool {
        self.note.by_chunks
    }

    /// Forgets what came by chunks: without them it is nothing to go on from.
    pub fn begin_whole(&mut self) -> io::Result<()> {
        if self.note.by_chunks { self.begin_anew() } else { Ok(()) }
    }

    /// Forgets the list of its chunks, and what came of one.
    pub fn forget_list(&mut self) -> io::Result<()> {
        [LIST, PACKED].iter().try_for_each(|suffix| durable::remove(&self.beside(suffix)))
    }

    /// Whether it has to come whole.
    pub fn comes_whole(&self) -> bool {
        self.note.is_whole
    }

    /// A file beside its own.
    pub fn beside(&self, suffix: &str) -> PathBuf {
        durable::with_suffix(&self.path, suffix)
    }

    /// The file with its bytes, and perhaps some behind them.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// These come next, and are in the file already.
    pub fn accept(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
    }

    /// What is behind its bytes is nothing.
    pub fn drop_tail(&mut self) -> io::Result<()> {
        self.has_tail = false;
        self.file.set_len(self.length)?;
        self.file.seek(SeekFrom::Start(self.length)).map(|_| ())
    }

    /// Adds what came next. At most what the target has is taken.
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

    /// Puts what came on disk, and then says so.
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

    /// Moves the whole into its place, if it is what was signed.
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

/// What is kept of this target on its way to `to`, which nobody else goes on with then; `None` if the target is there already.
///
/// *Invariant*: a part is one process's at a time. Who comes later waits, and finds the part as it was left, or the target in its place.
pub fn open_unless_there<'t>(found: &'t FoundTarget, to: &Path) -> io::Result<Option<Part<'t>>> {
    // Before anything is fetched for a place that can't take it.
    if fs::metadata(to).is_ok_and(|about| !about.is_file()) {
        let why = "it is there, and is not a regular file";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    let path = Part::path(found, to);
    loop {
        let before = identity(to)?;
        if before.is_some() && is_there(found, to)? {
            // Of a process that was killed when it had moved the part.
            if !path.exists() {
                remove_beside(&path)?;
            }
            return Ok(None);
        }
        let file = durable::create_or_open(&path)?;
        file.lock()?;
        // Whoever had it may have moved it into its place meanwhile, or have begun anew.
        let is_still_there = identity(&path)? == Some(identity_of(&file.metadata()?));
        if is_still_there && identity(to)? == before {
            return Part::read(found, path, file).map(Some);
        }
    }
}

/// What tells a file from another, and from itself when it was written to.
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

/// Hashes what is read to its end, and says how many bytes these are.
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
