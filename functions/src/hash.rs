//! Hash: names, hashes and copies uploads.
//!
//! A message is a hint to look at a name. What hash does depends only on what is current there now, so that doubled, late
//! and reordered messages are harmless.
//!
//! Large uploads take longer than the others may wait. They are passed on to a queue of their own, where the same is done
//! with them in as many runs as it takes ([`Turn`]).
//!
//! *Invariant*: a run sends a message for the next one only if more is read and stored, or copied, than before it. What gains nothing
//! has failed: its own message comes again, a few times at most, and is a dead letter then. So however many runs there are, none is for
//! nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use tufline_store::{
    Change, Event, Head, Hint, Kept, Key, Message, RejectedUpload, Source, UploadKey, Uploads, VersionId, Written,
};
use tufline_tuf::config::Hashing;
use tufline_tuf::{Refusal, Sha256, TargetName, Time};

use crate::current::{self, Accepted, Current, RefusedUpload, current_and_receipt, judge};
use crate::ledger::{self, Hashed, RECORD_FORMAT};
use crate::measure;
use crate::ports::{Ports, Result, StageError, at_once};
use crate::reading::{Read, read, read_on};

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// All uploads': large ones are passed on.
    All,
    /// Large ones', until then. What isn't done by then goes to the end of their queue.
    Large {
        /// When nothing new may be begun any more.
        until: Time,
    },
}

/// Looks at every hint and sends the changes that follow to rebuild.
///
/// Answers, for each hint, why it failed, if it did: its message must come again. Others are done with.
pub async fn hash(ports: &Ports, turn: Turn, hints: &[Hint]) -> Vec<Option<StageError>> {
    // Several hints about one name need one look only.
    let mut by_name: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, hint) in hints.iter().enumerate() {
        by_name.entry(&hint.name).or_default().push(index);
    }
    let looks = by_name.into_iter().map(|(name, indices)| async move {
        let about: Vec<&Hint> = indices.iter().filter_map(|index| hints.get(*index)).collect();
        (name, look(ports, turn, name, &about).await, indices)
    });
    let looked = at_once(looks).await;

    let mut failures: Vec<Option<StageError>> = hints.iter().map(|_| None).collect();
    let (mut messages, mut changes, mut events, mut done) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (name, look, indices) in looked {
        match look {
            Ok(found) => {
                messages.extend(found.go_on.map(Message::Large));
                changes.extend(found.change);
                events.extend(found.events);
                done.extend(indices);
            }
            Err(error) => {
                tracing::debug!(name, %error, "hint failed");
                fail(&mut failures, &indices, &error);
            }
        }
    }
    messages.extend(Message::changes(changes));
    // A crash before the changes are sent: the hints come again and find the receipts. After: they send them twice.
    if let Err(error) = send(ports, &messages, &events).await {
        tracing::warn!(%error, "changes not sent");
        fail(&mut failures, &done, &error);
    }
    failures
}

fn fail(failures: &mut [Option<StageError>], indices: &[usize], error: &StageError) {
    for index in indices {
        if let Some(slot) = failures.get_mut(*index) {
            *slot = Some(StageError::Refused(error.to_string()));
        }
    }
}

async fn send(ports: &Ports, messages: &[Message], events: &[Event]) -> Result<()> {
    for message in messages {
        ports.queues.send(message, Duration::ZERO).await?;
    }
    if !events.is_empty() {
        ports.events.send(events).await?;
    }
    Ok(())
}

/// What a look at a name leads to.
#[derive(Default)]
struct Found {
    change: Option<Change>,
    /// The large upload that another run must begin or go on with.
    go_on: Option<Hint>,
    events: Vec<Event>,
}

async fn look(ports: &Ports, turn: Turn, raw: &str, hints: &[&Hint]) -> Result<Found> {
    let mut found = Found::default();
    let name = match raw.parse::<TargetName>() {
        Ok(name) => name,
        Err(refusal) => {
            if let Head::Object(upload) = ports.uploads.head(raw).await? {
                reject(ports, &RefusedUpload { upload, refusal }).await?;
            }
            return Ok(found);
        }
    };
    let expected = hints.iter().rev().find_map(|hint| hint.version.as_ref());
    let (current, refused, receipt) = current_and_receipt(ports, &name, expected).await?;
    for upload in &refused {
        reject(ports, upload).await?;
    }
    let removed = hints.iter().any(|hint| hint.removed);
    let mut current_version = None;
    match current {
        Current::Object(accepted) => {
            current_version = Some(accepted.version.clone());
            match store_blob(ports, turn, &accepted, receipt).await? {
                Step::Done => {
                    tracing::info!(upload = %accepted.version, %name, "upload hashed");
                    found.change = Some(Change::Set { name, version: accepted.version });
                }
                Step::GoOn => {
                    // Of a creation, whatever led here: a removal that is still to come has a message of its own.
                    found.go_on = Some(Hint { name: raw.to_owned(), removed: false, version: Some(accepted.version) });
                }
                Step::LeftToAnother => {}
            }
        }
        Current::Gone { marker } if removed => found.change = Some(Change::Remove { name, marker }),
        // Gone after a creation: the removal has a message of its own. Unknown: what is published stays.
        Current::Gone { .. } | Current::Unknown => {}
    }
    let refused: Vec<&VersionId> = refused.iter().filter_map(|refused| refused.upload.version.as_ref()).collect();
    for hint in hints.iter().filter(|hint| !hint.removed) {
        if let Some(version) = &hint.version
            && Some(version) != current_version.as_ref()
            && !refused.contains(&version)
        {
            found.events.push(Event::UploadSuperseded { name: raw.to_owned(), version: version.clone() });
        }
    }
    Ok(found)
}

/// Tells of a refusal: the event, then the receipt, which keeps the event from being sent at each later look.
pub(crate) async fn reject(ports: &Ports, refused: &RefusedUpload) -> Result<()> {
    reject_at(ports, &*ports.uploads, &refused.upload.name, refused).await
}

/// The same for what lies in `uploads`, under the name by which people know it.
pub(crate) async fn reject_at(ports: &Ports, uploads: &dyn Uploads, name: &str, refused: &RefusedUpload) -> Result<()> {
    let RefusedUpload { upload, refusal } = refused;
    let version = upload.version.clone().unwrap_or(VersionId("null".into()));
    let key = Key::Rejected(UploadKey::new(name, &version));
    if ports.store.exists(&key).await? {
        return Ok(());
    }
    let Refusal { code, reason } = refusal.clone();
    let place = uploads.place(&upload.name);
    tracing::warn!(upload = %version, name, ?code, reason, "upload rejected");
    measure::rejected();
    let rejected = RejectedUpload { place, name: name.to_owned(), version: upload.version.clone(), code, reason };
    ports.events.send(&[Event::UploadRejected(rejected.clone())]).await?;
    // A crash here sends the event twice. Losing the creation means that another instance told it too.
    match ports.store.create(&ledger::record(key, &rejected)?).await? {
        Written::Done | Written::Lost => Ok(()),
    }
}

/// How far an upload is on its way to being a blob with a receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// It is one.
    Done,
    /// Another run must begin or go on with it.
    GoOn,
    /// Another run, which has a message of its own, is further.
    LeftToAnother,
}

/// Makes sure that the upload's bytes are stored as a blob and that its receipt is there, or comes nearer to that.
async fn store_blob(ports: &Ports, turn: Turn, accepted: &Accepted, receipt: Option<Hashed>) -> Result<Step> {
    let upload = &accepted.upload;
    debug_assert!(judge(&ports.config, upload).is_ok());
    if let Some(receipt) = receipt
        && let Some(sha256) = current::digest(upload, Some(&receipt))
        && is_stored(ports, &sha256, upload.length).await?
    {
        if receipt.sha256 != sha256 {
            tell_of_contradiction(accepted, &sha256);
        }
        return Ok(Step::Done);
    }
    if turn == Turn::All && upload.length > ports.config.large_uploads.sizes().above {
        return Ok(Step::GoOn);
    }
    let (sha256, source) = match digest(ports, turn, accepted).await? {
        Digest::Known(sha256, source) => (sha256, source),
        Digest::NotYet(step) => return Ok(step),
    };
    // Of a large one each call copies some. A crash in between: the next run reads the progress, whose hash is complete,
    // and goes on with the parts that are missing.
    let mut contended = false;
    loop {
        match ports.blobs.keep(upload, source, &sha256).await? {
            Kept::Whole => break,
            Kept::Partly => contended = false,
            Kept::Contended if contended => return Err(StageError::Contended("the copy of a large upload", 2)),
            Kept::Contended => {
                contended = true;
                continue;
            }
        }
        if let Turn::Large { until } = turn
            && ports.clock.now() >= until
        {
            return Ok(Step::GoOn);
        }
    }
    // A crash here leaves a blob that nothing refers to; the hint comes again and finds it.
    let hashed = Hashed { format: RECORD_FORMAT, sha256, length: upload.length };
    let key = Key::Hashed(UploadKey::new(&upload.name, &accepted.version));
    match ledger::create_same(&*ports.store, &ledger::record(key.clone(), &hashed)?).await? {
        Written::Done => Ok(Step::Done),
        Written::Lost if upload.sha256 == Some(sha256) => {
            tell_of_contradiction(accepted, &sha256);
            Ok(Step::Done)
        }
        Written::Lost => Err(StageError::Record(
            key.path(),
            format!(
                "it says something else than the {sha256} found now; a version's bytes can't change: look at who wrote it"
            ),
        )),
    }
}

/// A receipt that contradicts S3's own checksum stays, since receipts are written once, and holds up nothing: whoever reads it
/// believes S3 first ([`current::digest`]).
fn tell_of_contradiction(accepted: &Accepted, sha256: &Sha256) {
    let Accepted { upload, version, .. } = accepted;
    let key = Key::Hashed(UploadKey::new(&upload.name, version)).path();
    tracing::error!(upload = %version, name = upload.name, receipt = key, %sha256, "receipt ignored: it contradicts S3's own checksum; look at who wrote it");
}

/// Whether the blob is there, as far as the store tells.
pub(crate) async fn is_stored(ports: &Ports, sha256: &Sha256, length: u64) -> Result<bool> {
    let blob = ports.blobs.head(sha256).await?;
    Ok(blob.is_some_and(|blob| blob.length == length && blob.sha256.is_none_or(|found| found == *sha256)))
}

/// What is known of an upload's SHA-256.
enum Digest {
    /// It, and where the hashed bytes are.
    Known(Sha256, Source),
    /// Nothing yet.
    NotYet(Step),
}

/// The upload's SHA-256, in order of preference: its own full-object checksum, which S3 checked on arrival; the one that a
/// server-side copy computes; else by reading it.
async fn digest(ports: &Ports, turn: Turn, accepted: &Accepted) -> Result<Digest> {
    let upload = &accepted.upload;
    if ports.config.hashing == Hashing::Auto {
        if let Some(sha256) = upload.sha256 {
            return Ok(Digest::Known(sha256, Source::Upload));
        }
        if let Some(sha256) = ports.blobs.copy_in(upload).await? {
            return Ok(Digest::Known(sha256, Source::Incoming));
        }
    }
    let Turn::Large { until } = turn else {
        return Ok(Digest::Known(read(ports, upload).await?, Source::Upload));
    };
    Ok(match read_on(ports, accepted, until).await? {
        Read::ToItsEnd(sha256) => Digest::Known(sha256, Source::Upload),
        Read::Partly => Digest::NotYet(Step::GoOn),
        Read::ByAnother => Digest::NotYet(Step::LeftToAnother),
    })
}
