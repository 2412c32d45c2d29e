//! The SHA-256 of an upload by reading it: in pieces, several of them under way at once, while another is hashed; and a large
//! upload in several runs, whose progress is kept in the ledger.

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

/// How many pieces of one upload are under way at once: one connection to S3 brings some 60 MB/s, and a function some 80
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance-guidelines.html>).
const PIECES_AT_ONCE: usize = 3;

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
    let started = ports.clock.now();
    let Run { hasher, offset, failure } = advance(ports, upload, (hasher, begin), end, Some(until)).await;
    let took = ports.clock.now().duration_since(started).as_secs_f64();
    tracing::info!(upload = %accepted.version, name = upload.name, begin, offset, length = upload.length, took, "upload read");
    match failure {
        // Nothing is gained: the message comes again, later each time.
        Some(error) if offset == begin => return Err(error),
        // What was gained is kept, and the next run tries the rest.
        Some(error) => {
            tracing::warn!(upload = %accepted.version, name = upload.name, offset, %error, "reading interrupted");
        }
        None => {}
    }
    let to_its_end = offset == upload.length;
    // A crash before this is stored: the next run reads the same again. After it, before the message of the next run is
    // sent: this run's own message comes again.
    if begin < offset && (begin > 0 || !to_its_end) {
        let progress = Progress::new(upload.length, offset, hasher.pause());
        match store(ports, key, stored, &progress).await? {
            Progressed::Stored => {}
            _ if to_its_end => {}
            Progressed::ByAnother => return Ok(Read::ByAnother),
            // Nothing is gained.
            Progressed::Lost => return Err(StageError::Contended("the progress of a large upload", 1)),
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

/// What became of progress that was to be stored.
enum Progressed {
    /// It is stored.
    Stored,
    /// Somebody has stored some that is further. Whoever did so has a message to go on with.
    ByAnother,
    /// What is there now is damaged, or gone, or behind: nobody may go on with it.
    Lost,
}

/// Stores progress in place of `before`, unless somebody has stored some meanwhile.
///
/// The very same as ours isn't further: a repeated write may have met its own success. Or another run that began at the same
/// place stored it: then both go on, and one of them for nothing.
async fn store(ports: &Ports, key: Key, before: Option<Stored>, progress: &Progress) -> Result<Progressed> {
    let document = ledger::pointer(key, progress)?;
    let written = match before {
        Some(before) => ports.store.replace(&document, &before.tag).await?,
        None => ports.store.create(&document).await?,
    };
    match written {
        Written::Done => Ok(Progressed::Stored),
        Written::Lost => {
            let Some(stored) = ports.store.get(document.key()).await? else { return Ok(Progressed::Lost) };
            if stored.bytes == *document.bytes() {
                return Ok(Progressed::Stored);
            }
            let other = self::progress(document.key(), &stored, progress.length);
            let further = other.is_some_and(|(_, offset)| offset >= progress.offset);
            Ok(if further { Progressed::ByAnother } else { Progressed::Lost })
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
        let room = match read {
            Ok(room) => room,
            Err(error) => return Run { hasher, offset, failure: Some(error) },
        };
        let (length, is_over) = (room.buffer.len() as u64, until.is_some_and(|until| ports.clock.now() >= until));
        let more = async { if is_over { None } else { pieces.next().await } };
        let (further, more) = futures::join!(add(hasher, room), more);
        (hasher, offset, next) = (further, offset + length, more);
    }
    Run { hasher, offset, failure: None }
}

/// Reads one piece, and all of it.
async fn piece(ports: &Ports, upload: &Upload, offset: u64, length: u64) -> Result<Room> {
    let mut room = ports.reading.take(length).await?;
    room.buffer = ports.uploads.read_into(std::mem::take(&mut room.buffer), upload, offset, length).await?;
    if room.buffer.len() as u64 != length {
        let place = ports.uploads.place(&upload.name);
        let why = "it ends before its length; it comes again";
        return Err(StoreError::new(ErrorKind::Corrupt, "read", place, why).into());
    }
    Ok(room)
}

/// Hashes while the next pieces arrive.
async fn add(mut hasher: Hasher, room: Room) -> Hasher {
    compute(move || {
        hasher.update(&room.buffer);
        hasher
    })
    .await
}
