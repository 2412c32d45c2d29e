//! The SHA-256 of an upload by reading it: in pieces, several of them under way at once, while another is hashed; and a large
//! upload in several runs, whose progress is kept in the ledger.

use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, StreamExt};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tufline_store::{Key, Stored, Upload, UploadKey, Written};
use tufline_tuf::{Hasher, Sha256, Time};

use crate::current::Accepted;
use crate::ledger::{self, Progress};
use crate::ports::{Ports, Result, StageError};

/// How many pieces of one upload are under way at once: one connection to S3 brings some 60 MB/s, and a function some 80
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance-guidelines.html>).
const PIECES_AT_ONCE: usize = 3;

/// How many KiB of uploads a process holds at once, of all that it reads: what is under way, waits, or is being hashed.
const MOST_KIB: u32 = 32 * 1024;

/// The memory that reading may take in this process. Clones share it.
#[derive(Clone)]
pub struct ReadingMemory(Arc<Semaphore>);

impl Default for ReadingMemory {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MOST_KIB as usize)))
    }
}

impl ReadingMemory {
    /// Waits until `bytes` may be held; they may while the answer lives.
    ///
    /// Nobody waits for ever: what an upload holds are the pieces that it needs next, so it gives them back without getting
    /// more.
    async fn take(&self, bytes: u64) -> Result<OwnedSemaphorePermit> {
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(MOST_KIB).min(MOST_KIB);
        let taken = Arc::clone(&self.0).acquire_many_owned(kib).await;
        taken.map_err(|error| StageError::Refused(error.to_string()))
    }
}

/// What became of a run.
pub(crate) enum Read {
    /// It is read to its end.
    ToItsEnd(Sha256),
    /// The progress is stored: another run must go on.
    Partly,
    /// Someone else is further meanwhile, and goes on with it.
    ByAnother,
}

/// Reads an upload to its end, at once.
pub(crate) async fn read(ports: &Ports, upload: &Upload) -> Result<Sha256> {
    let run = advance(ports, upload, (Hasher::new(), 0), upload.length, None).await;
    run.failure.map_or_else(|| Ok(run.hasher.finish()), Err)
}

/// Reads more of an upload, from where the last run ended: as much as the configuration gives to a run, or as can be had
/// before `until`, but one piece at least.
///
/// Several runs on one upload at once are harmless: of those that began at the same place one stores its progress, and
/// goes on.
pub(crate) async fn read_on(ports: &Ports, accepted: &Accepted, until: Time) -> Result<Read> {
    let upload = &accepted.upload;
    let key = Key::Hashing(UploadKey::new(&upload.name, &accepted.version));
    let stored = ports.store.get(&key).await?;
    let begin = stored.as_ref().and_then(|stored| progress(&key, stored, upload.length));
    let (hasher, begin) = begin.unwrap_or_else(|| (Hasher::new(), 0));
    let end = begin.saturating_add(ports.config.large_uploads.sizes().run).min(upload.length);
    let began = ports.clock.now();
    let Run { hasher, offset, failure } = advance(ports, upload, (hasher, begin), end, Some(until)).await;
    let took = ports.clock.now().duration_since(began).as_secs_f64();
    tracing::info!(upload = %accepted.version, name = upload.name, begin, offset, length = upload.length, took, "upload read");
    match failure {
        // Nothing is gained: the message comes again, later each time.
        Some(error) if offset == begin => return Err(error),
        // What was gained is kept, and the next run tries the rest.
        Some(error) => {
            tracing::warn!(upload = %accepted.version, name = upload.name, offset, %error, "reading interrupted")
        }
        None => {}
    }
    let to_its_end = offset == upload.length;
    // A crash before this is stored: the next run reads the same again. After it, before the message of the next run is
    // sent: this run's own message comes again.
    if begin < offset && (begin > 0 || !to_its_end) {
        let progress = Progress::new(upload.length, offset, hasher.pause());
        if is_further(ports, key, stored, &progress).await? && !to_its_end {
            return Ok(Read::ByAnother);
        }
    }
    Ok(if to_its_end { Read::ToItsEnd(hasher.finish()) } else { Read::Partly })
}

/// Where the last run ended; `None` where that can't be told: then the upload is read from its beginning.
fn progress(key: &Key, stored: &Stored, length: u64) -> Option<(Hasher, u64)> {
    let progress = serde_json::from_slice(&stored.bytes).ok().and_then(|progress: Progress| progress.resume(length));
    if progress.is_none() {
        tracing::warn!(record = %key, "the progress is damaged, or of another upload: reading from the beginning");
    }
    progress
}

/// Stores progress in place of `before`, unless somebody has stored some meanwhile; answers whether that is further. Whoever
/// stored that has a message to go on with.
///
/// The very same as ours isn't further: a repeated write may have met its own success. Or another run that began at the same
/// place stored it: then both go on, and one of them for nothing. What is damaged, or gone, or behind, nobody may go on with.
async fn is_further(ports: &Ports, key: Key, before: Option<Stored>, progress: &Progress) -> Result<bool> {
    let document = ledger::record(key, progress)?;
    let written = match before {
        Some(before) => ports.store.replace(&document, &before.tag).await?,
        None => ports.store.create(&document).await?,
    };
    match written {
        Written::Done => Ok(false),
        Written::Lost => {
            let Some(stored) = ports.store.get(document.key()).await? else { return Ok(false) };
            let other = self::progress(document.key(), &stored, progress.length);
            Ok(stored.bytes != *document.bytes() && other.is_some_and(|(_, offset)| offset >= progress.offset))
        }
    }
}

/// How far a run came.
struct Run {
    hasher: Hasher,
    offset: u64,
    failure: Option<StageError>,
}

/// Hashes the bytes of `upload` from where `begin` is to `end`, or until a request fails, or a piece that was begun before
/// `until` is hashed.
async fn advance(ports: &Ports, upload: &Upload, begin: (Hasher, u64), end: u64, until: Option<Time>) -> Run {
    let (mut hasher, mut offset) = begin;
    let size = ports.config.large_uploads.sizes().piece;
    let shared = (ports.clone(), Arc::new(upload.clone()));
    let begins =
        std::iter::successors(Some(offset), move |begin| begin.checked_add(size)).take_while(move |begin| *begin < end);
    let pieces = stream::iter(begins).map(move |begin| {
        let (ports, upload) = shared.clone();
        async move { piece(&ports, &upload, begin, size.min(end - begin)).await }
    });
    let mut pieces = pieces.buffered(PIECES_AT_ONCE);
    let mut next = pieces.next().await;
    while let Some(read) = next {
        let (bytes, memory) = match read {
            Ok(read) => read,
            Err(error) => return Run { hasher, offset, failure: Some(error) },
        };
        let (length, is_over) = (bytes.len() as u64, until.is_some_and(|until| ports.clock.now() >= until));
        let more = async { if is_over { None } else { pieces.next().await } };
        let (hashed, more) = futures::join!(add(hasher, bytes), more);
        drop(memory);
        (hasher, offset, next) = (hashed, offset + length, more);
    }
    Run { hasher, offset, failure: None }
}

/// Reads one piece, and all of it.
async fn piece(ports: &Ports, upload: &Upload, offset: u64, length: u64) -> Result<(Bytes, OwnedSemaphorePermit)> {
    let memory = ports.reading.take(length).await?;
    let bytes = ports.uploads.read(upload, offset, length).await?;
    if bytes.len() as u64 != length {
        let place = ports.uploads.place(&upload.name);
        return Err(StageError::Missing(place, "it ends before its length; it comes again"));
    }
    Ok((bytes, memory))
}

/// Hashes on a thread of its own, so that the next pieces arrive meanwhile.
async fn add(hasher: Hasher, bytes: Bytes) -> Hasher {
    let before = hasher.clone();
    let work = |mut hasher: Hasher, bytes: Bytes| {
        hasher.update(&bytes);
        hasher
    };
    // The fault simulation drives the stages without a runtime, and so without threads.
    let Ok(runtime) = Handle::try_current() else { return work(hasher, bytes) };
    let hashed = runtime.spawn_blocking({
        let bytes = bytes.clone();
        move || work(hasher, bytes)
    });
    // It fails only where the runtime is being shut down.
    hashed.await.unwrap_or_else(|_| work(before, bytes))
}
