//! Hash: names, hashes and copies uploads.
//!
//! A message is a hint to look at a name. What hash does depends only on what is current there now, so that doubled, late
//! and reordered messages are harmless.

use std::collections::BTreeMap;
use std::time::Duration;

use tufline_store::{Change, Event, Head, Hint, Key, Message, RejectedUpload, Source, UploadKey, VersionId, Written};
use tufline_tuf::config::Hashing;
use tufline_tuf::{Hasher, Refusal, Sha256, TargetName};

use crate::current::{Accepted, Current, RefusedUpload, current, judge};
use crate::ledger::{self, Hashed, RECORD_FORMAT};
use crate::measure;
use crate::ports::{Ports, Result, StageError, at_once};

/// How much of an upload is read at once where it must be read. Bounds the memory of a function.
const READ_AT_ONCE: u64 = 32 * 1024 * 1024;

/// Looks at every hint and sends the changes that follow to rebuild.
///
/// Answers, for each hint, why it failed, if it did: its message must come again. Others are done with.
pub async fn hash(ports: &Ports, hints: &[Hint]) -> Vec<Option<StageError>> {
    // Several hints about one name need one look only.
    let mut by_name: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, hint) in hints.iter().enumerate() {
        by_name.entry(&hint.name).or_default().push(index);
    }
    let looks = by_name.into_iter().map(|(name, indices)| async move {
        let about: Vec<&Hint> = indices.iter().filter_map(|index| hints.get(*index)).collect();
        (name, look(ports, name, &about).await, indices)
    });
    let looked = at_once(looks).await;

    let mut failures: Vec<Option<StageError>> = hints.iter().map(|_| None).collect();
    let (mut changes, mut events, mut done) = (Vec::new(), Vec::new(), Vec::new());
    for (name, look, indices) in looked {
        match look {
            Ok(found) => {
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
    // A crash before the changes are sent: the hints come again and find the receipts. After: they send them twice.
    if let Err(error) = send(ports, changes, events).await {
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

async fn send(ports: &Ports, changes: Vec<Change>, events: Vec<Event>) -> Result<()> {
    for message in Message::changes(changes) {
        ports.queues.send(&message, Duration::ZERO).await?;
    }
    if !events.is_empty() {
        ports.events.send(&events).await?;
    }
    Ok(())
}

/// What a look at a name leads to.
#[derive(Default)]
struct Found {
    change: Option<Change>,
    events: Vec<Event>,
}

async fn look(ports: &Ports, raw: &str, hints: &[&Hint]) -> Result<Found> {
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
    let (current, refused) = current(&*ports.uploads, &ports.config, &name).await?;
    for upload in &refused {
        reject(ports, upload).await?;
    }
    let removed = hints.iter().any(|hint| hint.removed);
    let mut current_version = None;
    match current {
        Current::Object(accepted) => {
            current_version = Some(accepted.version.clone());
            store_blob(ports, &accepted).await?;
            tracing::info!(upload = %accepted.version, %name, "upload hashed");
            found.change = Some(Change::Set { name, version: accepted.version });
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
    let RefusedUpload { upload, refusal } = refused;
    let version = upload.version.clone().unwrap_or(VersionId("null".into()));
    let key = Key::Rejected(UploadKey::new(&upload.name, &version));
    if ports.store.exists(&key).await? {
        return Ok(());
    }
    let Refusal { code, reason } = refusal.clone();
    let place = ports.uploads.place(&upload.name);
    tracing::warn!(upload = %version, name = upload.name, ?code, reason, "upload rejected");
    measure::rejected();
    let rejected = RejectedUpload { place, name: upload.name.clone(), version: upload.version.clone(), code, reason };
    ports.events.send(&[Event::UploadRejected(rejected.clone())]).await?;
    // A crash here sends the event twice. Losing the creation means that another instance told it too.
    match ports.store.create(&ledger::record(key, &rejected)?).await? {
        Written::Done | Written::Lost => Ok(()),
    }
}

/// Makes sure that the upload's bytes are stored as a blob and that its receipt is there.
async fn store_blob(ports: &Ports, accepted: &Accepted) -> Result<()> {
    let upload = &accepted.upload;
    debug_assert!(judge(&ports.config, upload).is_ok());
    let key = Key::Hashed(UploadKey::new(&upload.name, &accepted.version));
    if let Some(hashed) = ledger::read::<Hashed>(&*ports.store, &key).await?
        && is_stored(ports, &hashed.sha256, upload.length).await?
    {
        return Ok(());
    }
    let (sha256, source) = digest(ports, accepted).await?;
    ports.blobs.keep(upload, source, &sha256).await?;
    // A crash here leaves a blob that nothing refers to; the hint comes again and finds it.
    let hashed = Hashed { format: RECORD_FORMAT, sha256, length: upload.length };
    match ledger::create_same(&*ports.store, &ledger::record(key.clone(), &hashed)?).await? {
        Written::Done => Ok(()),
        Written::Lost => Err(StageError::Record(
            key.path(),
            format!(
                "it says something else than the {sha256} found now; a version's bytes can't change: look at who wrote it"
            ),
        )),
    }
}

async fn is_stored(ports: &Ports, sha256: &Sha256, length: u64) -> Result<bool> {
    let blob = ports.blobs.head(sha256).await?;
    Ok(blob.is_some_and(|blob| blob.length == length && blob.sha256.is_none_or(|found| found == *sha256)))
}

/// The upload's SHA-256, in order of preference: its own full-object checksum, which S3 checked on arrival; the one that a
/// server-side copy computes; else by reading it. The source is where the hashed bytes are.
async fn digest(ports: &Ports, accepted: &Accepted) -> Result<(Sha256, Source)> {
    let upload = &accepted.upload;
    if ports.config.hashing == Hashing::Auto {
        if let Some(sha256) = upload.sha256 {
            return Ok((sha256, Source::Upload));
        }
        if let Some(sha256) = ports.blobs.copy_in(upload).await? {
            return Ok((sha256, Source::Incoming));
        }
    }
    let mut hasher = Hasher::new();
    let mut offset = 0;
    while offset < upload.length {
        let bytes = ports.uploads.read(upload, offset, READ_AT_ONCE.min(upload.length - offset)).await?;
        if bytes.is_empty() {
            let place = ports.uploads.place(&upload.name);
            return Err(StageError::Missing(place, "it ends before its length; it comes again"));
        }
        hasher.update(&bytes);
        offset += bytes.len() as u64;
    }
    Ok((hasher.finish(), Source::Upload))
}
