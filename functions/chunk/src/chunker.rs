//! Makes and stores the chunks of a blob.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tufline_chunks::{USUAL_AVERAGE, is_cut};
use tufline_store::{Blobs, Chunks, Clock, ErrorKind, Key, Result, StoreError, Written};
use tufline_tuf::{Sha256, Time};

use crate::pack::{Cut, count, next_average, pack};
use crate::pieces::read_through;
use crate::speed::level;

/// How the name of the file begins in which the chunks are made. The process's number follows.
const FILE: &str = "chunks.";

/// Cuts blobs, and stores their chunks. It cuts one blob at a time.
pub struct Chunker {
    /// The blobs to cut.
    pub blobs: Arc<dyn Blobs>,
    /// The store for their chunks.
    pub chunks: Arc<dyn Chunks>,
    /// The clock that bounds a run.
    pub clock: Arc<dyn Clock>,
    /// A folder for temporary files, with room for the longest blob.
    pub scratch: PathBuf,
    /// The lock that is held while a blob is cut.
    pub turn: Mutex<()>,
}

/// The outcome for a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chunked {
    /// This call stored its chunks.
    Stored {
        /// The number of chunks.
        chunks: usize,
        /// The stored object's length in bytes, with the list.
        bytes: u64,
    },
    /// The blob had chunks already.
    There,
    /// There is no such blob.
    NoBlob,
    /// The blob is too short or too long to be cut.
    NotCut,
}

impl Chunker {
    /// Cuts the blob `sha256` and stores its chunks, unless it has some. It compresses less hard if
    /// it would otherwise end after `until`.
    ///
    /// # Errors
    /// Those of the ports and of the temporary file. The next call begins again.
    pub async fn chunk(&self, sha256: &Sha256, until: Time) -> Result<Chunked> {
        let _turn = self.turn.lock().await;
        let Some(blob) = self.blobs.head(sha256).await? else { return Ok(Chunked::NoBlob) };
        if !is_cut(blob.length) {
            return Ok(Chunked::NotCut);
        }
        if self.chunks.length(sha256).await?.is_some() {
            return Ok(Chunked::There);
        }
        let cut = self.cut(sha256, blob.length).await?;
        remove_left_over(&self.scratch);
        let path = self.scratch.join(format!("{FILE}{}", std::process::id()));
        let chunks = cut.count;
        let file = new_file(&path).map_err(|error| failed("make", path.display(), error))?;
        let (clock, blob_digest) = (Arc::clone(&self.clock), *sha256);
        let pack = move |pieces| {
            let level = |left| level(left, time_left(until, clock.now()));
            let mut file = file;
            let packed = pack(pieces, &cut, level, &mut file).and_then(|_| file.metadata());
            packed.map_err(|error| failed("pack", Key::Blob(blob_digest), error))
        };
        let stored = match read_through(&self.blobs, sha256, blob.length, pack).await {
            Ok(file) => {
                self.chunks.create(sha256, &path).await.map(|written| (written, file.len()))
            }
            Err(error) => Err(error),
        };
        // The port may have moved the file away.
        let _ = std::fs::remove_file(&path);
        Ok(match stored? {
            (Written::Done, bytes) => Chunked::Stored { chunks, bytes },
            (Written::Lost, _) => Chunked::There,
        })
    }

    /// Counts the chunks, at the finest average for which a list has room.
    async fn cut(&self, sha256: &Sha256, length: u64) -> Result<Cut> {
        let mut average = USUAL_AVERAGE;
        let blob = Key::Blob(*sha256);
        loop {
            let place = blob.clone();
            let work = move |pieces| {
                count(pieces, average).map_err(|error| failed("count the chunks of", place, error))
            };
            if let Some(count) = read_through(&self.blobs, sha256, length, work).await? {
                return Ok(Cut { sha256: *sha256.as_bytes(), length, average, count });
            }
            let why = "it has more chunks than any list";
            let too_many = || StoreError::new(ErrorKind::Invalid, "cut", &blob, why);
            average = next_average(average).ok_or_else(too_many)?;
        }
    }
}

/// Removes the files of killed processes from a folder that others may use too.
fn remove_left_over(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(FILE)?.parse::<u32>().ok());
        let is_dead = |process: u32| !Path::new("/proc").join(process.to_string()).exists();
        if process.is_some_and(is_dead) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Makes a new file, in place of one that an earlier run of this process left.
fn new_file(path: &Path) -> io::Result<File> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().read(true).write(true).create_new(true).open(path)
}

fn failed(action: &'static str, place: impl ToString, error: io::Error) -> StoreError {
    StoreError::from_source(ErrorKind::Retry, action, place, error)
}

fn time_left(until: Time, now: Time) -> Duration {
    until.duration_since(now).try_into().unwrap_or(Duration::ZERO)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
