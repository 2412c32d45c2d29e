//! Turns an upload into a blob with a receipt.

use tufline_store::{Kept, Key, Source, UploadKey, Written};
use tufline_tuf::config::Hashing;
use tufline_tuf::{Sha256, Time};

use crate::actions::read_upload::{Read, read, read_on};
use crate::error::{Result, StageError};
use crate::ports::Ports;
use crate::state::blobs::is_stored;
use crate::state::current::{Accepted, judge_upload};
use crate::state::records::{Hashed, RECORD_FORMAT};
use crate::state::{current, ledger};

/// Which uploads a run of hash works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// All uploads. Large ones are passed on to their own queue.
    All,
    /// Large uploads, until the given time. An unfinished one goes to the end of their queue.
    Large {
        /// From this time on, the run starts nothing that takes long.
        until: Time,
    },
}

/// How far an upload has got on the way to a blob with a receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BlobStep {
    /// The blob and the receipt are stored.
    Done,
    /// Another run must start it or go on with it.
    GoOn,
    /// Another run has got further, and has a message of its own.
    LeftToAnother,
}

/// Stores an upload's bytes as a blob and then its receipt, or does a part of that.
pub(crate) async fn store_blob(
    ports: &Ports,
    turn: Turn,
    accepted: &Accepted,
    receipt: Option<Hashed>,
) -> Result<BlobStep> {
    let upload = &accepted.upload;
    debug_assert!(judge_upload(&ports.config, upload).is_ok());
    if let Some(receipt) = receipt
        && let Some(sha256) = current::known_digest(upload, Some(&receipt))
        && is_stored(ports, &sha256, upload.length).await?
    {
        if receipt.sha256 != sha256 {
            tell_of_contradiction(accepted, &sha256);
        }
        return Ok(BlobStep::Done);
    }
    if turn == Turn::All && upload.length > ports.config.large_uploads.sizes().above {
        return Ok(BlobStep::GoOn);
    }
    let (sha256, source) = match digest(ports, turn, accepted).await? {
        FoundDigest::Known(sha256, source) => (sha256, source),
        FoundDigest::NotYet(step) => return Ok(step),
    };
    // For a large upload, each call copies a part. A crash in between: the next run reads the
    // progress, whose hash is complete, and copies the missing parts.
    let mut contended = false;
    loop {
        match ports.blobs.keep(upload, source, &sha256).await? {
            Kept::Whole => break,
            Kept::Partly => contended = false,
            Kept::Contended if contended => {
                return Err(StageError::Contended("the copy of a large upload", 2));
            }
            Kept::Contended => {
                contended = true;
                continue;
            }
        }
        if let Turn::Large { until } = turn
            && ports.clock.now() >= until
        {
            return Ok(BlobStep::GoOn);
        }
    }
    // A crash here leaves a blob without a receipt. The hint comes again and finds the blob.
    let hashed = Hashed { format: RECORD_FORMAT, sha256, length: upload.length };
    let key = Key::Hashed(UploadKey::new(&upload.name, &accepted.version));
    match ledger::create_same(&*ports.store, &ledger::record(key.clone(), &hashed)?).await? {
        Written::Done => Ok(BlobStep::Done),
        Written::Lost if upload.sha256 == Some(sha256) => {
            tell_of_contradiction(accepted, &sha256);
            Ok(BlobStep::Done)
        }
        Written::Lost => Err(StageError::Record(
            key.path(),
            format!(
                "it differs from the {sha256} found now, though a version's bytes never change: \
                 look at who wrote it"
            )
            .into(),
        )),
    }
}

/// Reports a receipt that contradicts S3's own checksum. Receipts are written once, so it stays. It
/// blocks nothing, since every reader believes S3 first ([`current::known_digest`]).
fn tell_of_contradiction(accepted: &Accepted, sha256: &Sha256) {
    let Accepted { upload, version, .. } = accepted;
    let key = Key::Hashed(UploadKey::new(&upload.name, version)).path();
    tracing::error!(upload = %version, name = upload.name, receipt = key, %sha256, "receipt ignored: it contradicts S3's own checksum; look at who wrote it");
}

/// What hash knows about an upload's SHA-256.
enum FoundDigest {
    /// The digest, and where the hashed bytes are.
    Known(Sha256, Source),
    /// The digest is not known yet.
    NotYet(BlobStep),
}

/// Finds an upload's SHA-256. In order of preference: its own full-object checksum, which S3
/// verified on arrival; the one that a server-side copy computes; else by reading it.
async fn digest(ports: &Ports, turn: Turn, accepted: &Accepted) -> Result<FoundDigest> {
    let upload = &accepted.upload;
    if ports.config.hashing == Hashing::Auto {
        if let Some(sha256) = upload.sha256 {
            return Ok(FoundDigest::Known(sha256, Source::Upload));
        }
        if let Some(sha256) = ports.blobs.copy_in(upload).await? {
            return Ok(FoundDigest::Known(sha256, Source::Incoming));
        }
    }
    let Turn::Large { until } = turn else {
        return Ok(FoundDigest::Known(read(ports, upload).await?, Source::Upload));
    };
    Ok(match read_on(ports, accepted, until).await? {
        Read::ToItsEnd(sha256) => FoundDigest::Known(sha256, Source::Upload),
        Read::Partly => FoundDigest::NotYet(BlobStep::GoOn),
        Read::ByAnother => FoundDigest::NotYet(BlobStep::LeftToAnother),
    })
}
