//! Finds the SHA-256 of an upload by reading it in pieces: while one piece is hashed, the next ones
//! arrive. A large upload is read in several runs, and the ledger keeps the progress.

use std::sync::Arc;

use futures::stream::{self, StreamExt};
use tufline_store::{ErrorKind, Key, StoreError, Stored, Upload, UploadKey, Written};
use tufline_tuf::{Hasher, Sha256, Time};

use crate::compute::compute;
use crate::error::{Result, StageError};
use crate::ports::{Ports, Room};
use crate::state::current::Accepted;
use crate::state::ledger;
use crate::state::records::Progress;

/// How many pieces of one upload are read at once. One connection to S3 gives some 60 MB/s, and a
/// function takes some 80 MB/s
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance-guidelines.html>).
const PIECES_AT_ONCE: usize = 3;

/// The outcome of a run.
pub(crate) enum Read {
    /// The upload is read to its end.
    ToItsEnd(Sha256),
    /// The progress is stored, and another run must go on.
    Partly,
    /// Another run has got further and goes on with the upload.
    ByAnother,
}

/// Reads an upload to its end in one run.
pub(crate) async fn read(ports: &Ports, upload: &Upload) -> Result<Sha256> {
    let run = advance(ports, upload, (Hasher::new(), 0), upload.length, None).await;
    run.failure.map_or_else(|| Ok(run.hasher.finish()), Err)
}

/// Reads the next part of an upload, from where the last run ended. A run reads as much as the
/// configuration allows it, or as it can before `until`, but at least one piece.
///
/// Several runs on one upload at once are harmless: of those that began at the same place, one
/// stores its progress and goes on.
pub(crate) async fn read_on(ports: &Ports, accepted: &Accepted, until: Time) -> Result<Read> {
    let upload = &accepted.upload;
    let key = Key::Hashing(UploadKey::new(&upload.name, &accepted.version));
    let stored = ports.store.get(&key).await?;
    let begin = stored.as_ref().and_then(|stored| progress(&key, stored, upload.length));
    let (hasher, begin) = begin.unwrap_or_else(|| (Hasher::new(), 0));
    let end = begin.saturating_add(ports.config.large_uploads.sizes().run).min(upload.length);
    let started = ports.clock.now();
    let Run { hasher, offset, failure } =
        advance(ports, upload, (hasher, begin), end, Some(until)).await;
    let took = ports.clock.now().duration_since(started).as_secs_f64();
    tracing::info!(upload = %accepted.version, name = upload.name, begin, offset, length = upload.length, took, "upload read");
    match failure {
        // The run gained nothing: its message comes again, later each time.
        Some(error) if offset == begin => return Err(error),
        // The run keeps what it gained, and the next run tries the rest.
        Some(error) => {
            tracing::warn!(upload = %accepted.version, name = upload.name, offset, %error, "reading interrupted");
        }
        None => {}
    }
    let to_its_end = offset == upload.length;
    // A crash before the progress is stored: the next run reads the same bytes again. A crash after
    // that, but before the next run's message is sent: this run's own message comes again.
    if begin < offset && (begin > 0 || !to_its_end) {
        let progress = Progress::new(upload.length, offset, hasher.pause());
        match store(ports, key, stored, &progress).await? {
            Progressed::Stored => {}
            _ if to_its_end => {}
            Progressed::ByAnother => return Ok(Read::ByAnother),
            // Storing failed, so the run gained nothing.
            Progressed::Lost => {
                return Err(StageError::Contended("the progress of a large upload", 1));
            }
        }
    }
    Ok(if to_its_end { Read::ToItsEnd(hasher.finish()) } else { Read::Partly })
}

/// Where the last run ended. `None` where the record is unusable: the upload is read from its
/// beginning.
fn progress(key: &Key, stored: &Stored, length: u64) -> Option<(Hasher, u64)> {
    let progress = serde_json::from_slice(&stored.bytes)
        .ok()
        .and_then(|progress: Progress| progress.resume(length));
    if progress.is_none() {
        tracing::warn!(record = %key, "progress damaged or of another upload: reading from the beginning");
    }
    progress
}

/// The outcome of storing progress.
enum Progressed {
    /// This run's progress is stored.
    Stored,
    /// Another run has stored more progress, and has a message to go on with.
    ByAnother,
    /// The record is damaged, gone or behind ours: no run may go on with it.
    Lost,
}

/// Stores progress in place of `before`, unless another run has stored some meanwhile.
///
/// Identical progress is not further: our own retried write may have succeeded. Or another run that
/// began at the same place stored it; then both go on, and one of them works in vain.
async fn store(
    ports: &Ports,
    key: Key,
    before: Option<Stored>,
    progress: &Progress,
) -> Result<Progressed> {
    let document = ledger::pointer(key, progress)?;
    let written = match before {
        Some(before) => ports.store.replace(&document, &before.tag).await?,
        None => ports.store.create(&document).await?,
    };
    match written {
        Written::Done => Ok(Progressed::Stored),
        Written::Lost => {
            let Some(stored) = ports.store.get(document.key()).await? else {
                return Ok(Progressed::Lost);
            };
            if stored.bytes == *document.bytes() {
                return Ok(Progressed::Stored);
            }
            let other = self::progress(document.key(), &stored, progress.length);
            let further = other.is_some_and(|(_, offset)| offset >= progress.offset);
            Ok(if further { Progressed::ByAnother } else { Progressed::Lost })
        }
    }
}

/// How far a run came, and what stopped it before its end.
struct Run {
    hasher: Hasher,
    offset: u64,
    failure: Option<StageError>,
}

/// Hashes the bytes of `upload` from `begin` to `end`. It stops earlier when a request fails, and
/// starts no further piece after `until`.
async fn advance(
    ports: &Ports,
    upload: &Upload,
    begin: (Hasher, u64),
    end: u64,
    until: Option<Time>,
) -> Run {
    let (mut hasher, mut offset) = begin;
    let size = ports.config.large_uploads.sizes().piece;
    let shared = (ports.clone(), Arc::new(upload.clone()));
    let begins = std::iter::successors(Some(offset), move |begin| begin.checked_add(size))
        .take_while(move |begin| *begin < end);
    let pieces = stream::iter(begins).map(move |begin| {
        let (ports, upload) = shared.clone();
        async move { piece(&ports, &upload, begin, size.min(end - begin)).await }
    });
    let mut pieces = pieces.buffered(PIECES_AT_ONCE);
    let mut next = pieces.next().await;
    while let Some(read) = next {
        let room = match read {
            Ok(room) => room,
            Err(error) => return Run { hasher, offset, failure: Some(error) },
        };
        let (length, is_over) =
            (room.buffer.len() as u64, until.is_some_and(|until| ports.clock.now() >= until));
        let more = async { if is_over { None } else { pieces.next().await } };
        let (further, more) = futures::join!(add(hasher, room), more);
        (hasher, offset, next) = (further, offset + length, more);
    }
    Run { hasher, offset, failure: None }
}

/// Reads one whole piece.
async fn piece(ports: &Ports, upload: &Upload, offset: u64, length: u64) -> Result<Room> {
    let mut room = ports.reading.take(length).await?;
    room.buffer =
        ports.uploads.read_into(std::mem::take(&mut room.buffer), upload, offset, length).await?;
    if room.buffer.len() as u64 != length {
        let place = ports.uploads.place(&upload.name);
        let why = "the object ends before its length; its message comes again";
        return Err(StoreError::new(ErrorKind::Corrupt, "read", place, why).into());
    }
    Ok(room)
}

/// Hashes a piece on another thread, while the next pieces arrive.
async fn add(mut hasher: Hasher, room: Room) -> Hasher {
    compute(move || {
        hasher.update(&room.buffer);
        hasher
    })
    .await
}
