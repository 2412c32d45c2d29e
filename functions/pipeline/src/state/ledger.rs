//! Reads the ledger: which generation is published, which ones are newer, and small JSON records.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tough::schema::{self, Root, Snapshot, Timestamp};
use tufline_store::{Document, Folder, Key, Pointer, Store, Stored, Tag, Written};
use tufline_tuf::generation::{self, Next, Versions};
use tufline_tuf::{
    AddressedDraft, MANIFEST_FORMAT, Manifest, RoleKeys, RoleName, Time, time, verify_published,
};

use crate::concurrency::at_once;
use crate::error::{Result, StageError};

/// The longest version of an upload, in bytes. S3's version IDs have at most this length
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/versioning-workflows.html>).
const LONGEST_VERSION: usize = 1024;

/// How much the clocks of different machines may differ.
const CLOCK_TOLERANCE_SECONDS: i64 = 5;

/// What devices see now.
#[derive(Debug, Clone)]
pub struct Published {
    /// The published generation, which is the snapshot's version.
    pub generation: u64,
    /// The version of `timestamp.json`.
    pub version: u64,
    /// When the timestamp expires.
    pub expires: Time,
    /// The timestamp as stored. It is verified, and compared when it is replaced.
    pub stored: Stored,
}

impl Published {
    /// The tag of `timestamp.json` when it was read, for a compare-and-swap.
    #[must_use]
    pub fn tag(&self) -> &Tag {
        &self.stored.tag
    }

    /// When the timestamp was stored, if that time is still to come: the clock is behind now, or
    /// was ahead then.
    #[must_use]
    pub fn clock_behind(&self, now: Time) -> Option<Time> {
        let stored = self.stored.modified;
        (time::seconds_between(now, stored) > CLOCK_TOLERANCE_SECONDS).then_some(stored)
    }
}

/// Reads `timestamp.json`; `None` before the first publication. It only parses the file. A caller
/// that shows something must verify it.
pub async fn published(store: &dyn Store) -> Result<Option<Published>> {
    let Some(stored) = store.get(&Key::Timestamp).await? else { return Ok(None) };
    let timestamp: schema::Signed<Timestamp> = parse(&Key::Timestamp, &stored.bytes)?;
    let snapshot = timestamp.signed.meta.get("snapshot.json");
    let generation = snapshot.map(|snapshot| snapshot.version.get());
    let generation = generation.ok_or_else(|| {
        StageError::Record(Key::Timestamp.path(), "it lists no snapshot.json".into())
    })?;
    Ok(Some(Published {
        generation,
        version: timestamp.signed.version.get(),
        expires: timestamp.signed.expires,
        stored,
    }))
}

/// The version of every role that devices see, from the published snapshot. The snapshot must
/// verify under `root`. Empty before the first publication.
///
/// # Errors
/// [`StageError::Missing`] or [`StageError::Document`] if the snapshot is gone or not signed by
/// `root`'s keys: then nothing newer can be compared with it.
pub async fn published_versions(
    store: &dyn Store,
    root: &Root,
    published: Option<&Published>,
) -> Result<Versions> {
    let Some(published) = published else { return Ok(Versions::new()) };
    versions_in(published_snapshot(store, published).await?, root, published)
}

/// Reads the published snapshot.
///
/// # Errors
/// As [`published_file`].
pub async fn published_snapshot(store: &dyn Store, published: &Published) -> Result<Bytes> {
    published_file(store, &Key::snapshot(published.generation)).await
}

/// The same as [`published_versions`], for a caller that has the snapshot's bytes.
///
/// # Errors
/// [`StageError::Document`].
pub fn versions_in(snapshot: Bytes, root: &Root, published: &Published) -> Result<Versions> {
    let keys = RoleKeys::in_root(root, &RoleName::snapshot())?;
    let snapshot =
        verify_published::<Snapshot>(snapshot, &keys)?.expect_version(published.generation)?;
    Ok(generation::versions(snapshot.document())?)
}

/// Reads a file that devices see.
///
/// # Errors
/// [`StageError::Missing`] if it is gone.
pub async fn published_file(store: &dyn Store, key: &Key) -> Result<Bytes> {
    Ok(store.get(key).await?.ok_or_else(|| lost(key))?.bytes)
}

/// The error for a published file that is gone.
#[must_use]
pub fn lost(key: &Key) -> StageError {
    StageError::Missing(
        key.path(),
        "it is published: restore it from a backup, or from its older object versions",
    )
}

/// Reads the manifest of a generation.
///
/// # Errors
/// [`StageError::Missing`] if it is gone. That is damage: generations have no gaps, and nothing
/// deletes manifests.
pub async fn manifest(store: &dyn Store, generation: u64) -> Result<Manifest> {
    parse_manifest(generation, &manifest_bytes(store, generation).await?)
}

pub(crate) async fn manifest_bytes(store: &dyn Store, generation: u64) -> Result<Bytes> {
    store.bytes(&Key::Manifest(generation)).await?.ok_or_else(|| lost_manifest(generation))
}

/// The error for a manifest that is gone.
pub(crate) fn lost_manifest(generation: u64) -> StageError {
    StageError::Missing(
        Key::Manifest(generation).path(),
        "restore the ledger from a backup, or from its older object versions: its numbers must not \
         start again",
    )
}

pub(crate) fn parse_manifest(generation: u64, bytes: &[u8]) -> Result<Manifest> {
    let key = Key::Manifest(generation);
    let refused = |why: &str| Err(StageError::Record(key.path(), why.into()));
    let parsed = parse::<Manifest>(&key, bytes);
    // A manifest of another format need not parse as one of ours.
    let format = match &parsed {
        Ok(manifest) => manifest.format,
        Err(_) => parse::<Format>(&key, bytes)?.format,
    };
    if format != MANIFEST_FORMAT {
        return refused(&format!(
            "its format is {format}, but this version knows only {MANIFEST_FORMAT}: use the \
             version that wrote it"
        ));
    }
    let manifest = parsed?;
    if manifest.generation != generation {
        return refused("it belongs to another generation");
    }
    // These versions end up in messages and events, which have size limits.
    let versions = manifest.changes.iter().filter_map(|change| change.version.as_ref());
    let uploads = manifest.party_changes.values().filter_map(|change| change.upload.as_ref());
    if versions.chain(uploads).any(|version| version.len() > LONGEST_VERSION) {
        return refused("it names an upload version that is longer than any can be");
    }
    Ok(manifest)
}

/// What every record starts with.
#[derive(Deserialize)]
struct Format {
    format: u32,
}

/// The generations after `generation`, oldest first, up to the first gap. The pipeline leaves no
/// gaps, so it did not make anything numbered above one.
///
/// Usually there is one or none. Reading the next two manifests costs a sixth of a listing
/// (<https://aws.amazon.com/s3/pricing/>), and callers read them anyway.
pub async fn generations_after(store: &dyn Store, generation: u64) -> Result<Vec<u64>> {
    const PAGE: usize = 1000;
    let (next, after_next) = (Key::Manifest(generation + 1), Key::Manifest(generation + 2));
    match futures::try_join!(store.bytes(&next), store.bytes(&after_next))? {
        // Before the first publication, an import's first generation may have any number.
        (None, _) if generation == 0 => {}
        (None, _) => return Ok(Vec::new()),
        (Some(_), None) => return Ok(vec![generation + 1]),
        (Some(_), Some(_)) => {}
    }
    let mut found: Vec<u64> = Vec::new();
    loop {
        let after = Key::Manifest(found.last().copied().unwrap_or(generation));
        let page = store.list(Folder::Manifests, Some(&after), PAGE).await?;
        let full = page.len() == PAGE;
        for key in page {
            let Key::Manifest(number) = key else { continue };
            let expected = found.last().map_or(generation, |last| *last) + 1;
            if number != expected && !(generation == 0 && found.is_empty()) {
                return Ok(found);
            }
            found.push(number);
        }
        if !full {
            return Ok(found);
        }
    }
}

/// The first generation: 1, unless the repository was imported; `None` if there is none.
pub async fn first_generation(store: &dyn Store) -> Result<Option<u64>> {
    let first = store.list(Folder::Manifests, None, 1).await?.pop();
    Ok(first
        .and_then(|key| if let Key::Manifest(generation) = key { Some(generation) } else { None }))
}

/// Reads a record of the ledger; `None` if it does not exist.
pub async fn read<T: DeserializeOwned>(store: &dyn Store, key: &Key) -> Result<Option<T>> {
    store.bytes(key).await?.map(|bytes| parse(key, &bytes)).transpose()
}

/// Parses JSON that is stored at `key`.
///
/// # Errors
/// [`StageError::Record`].
pub fn parse<T: DeserializeOwned>(key: &Key, bytes: &[u8]) -> Result<T> {
    if bytes.is_empty() {
        // A store returns no bytes for an object that is too long.
        let why = format!(
            "it is empty, or longer than the {} bytes that such a record may have",
            key.most_bytes()
        );
        return Err(StageError::Record(key.path(), why.into()));
    }
    serde_json::from_slice(bytes).map_err(|error| StageError::Record(key.path(), error.into()))
}

/// Makes a record to be stored at `key`, once.
pub fn record<T: Serialize>(key: Key, value: &T) -> Result<Document> {
    let path = key.path();
    Document::record(key, value).map_err(|error| StageError::Record(path, error.into()))
}

/// Makes a record to be stored at `key`, in place of the one before.
pub fn pointer<T: Serialize>(key: Key, value: &T) -> Result<Pointer> {
    let path = key.path();
    Pointer::record(key, value).map_err(|error| StageError::Record(path, error.into()))
}

/// Creates an object that can have only one content. If the object exists with the same bytes, that
/// counts as success: an earlier try of this call may have been applied and its reply lost.
pub async fn create_same(store: &dyn Store, document: &Document) -> Result<Written> {
    if store.create(document).await? == Written::Done {
        return Ok(Written::Done);
    }
    let stored = store.get(document.key()).await?;
    let same = stored.is_some_and(|stored| stored.bytes == *document.bytes());
    Ok(if same { Written::Done } else { Written::Lost })
}

/// Creates the manifest of the next generation. The first run to create it wins.
pub async fn create_manifest(store: &dyn Store, manifest: &Manifest) -> Result<Written> {
    create_same(store, &record(Key::Manifest(manifest.generation), manifest)?).await
}

/// Creates an object whose key names its bytes by their digest. An object that exists there should
/// be the same.
///
/// # Errors
/// [`StageError::Refused`] if it is not: a thief may have known what would be stored there. Most
/// records contain the time when they were made, so a later try has another digest.
pub async fn create_or_find(store: &dyn Store, document: &Document) -> Result<()> {
    match create_same(store, document).await? {
        Written::Done => Ok(()),
        Written::Lost => Err(StageError::refused(format!(
            "{} has other bytes than its name says; look at who wrote it: the next try uses \
             another name",
            document.key()
        ))),
    }
}

/// Does the same for many objects.
pub async fn create_or_find_all(store: &dyn Store, documents: &[Document]) -> Result<()> {
    at_once(documents.iter().map(|document| create_or_find(store, document)))
        .await
        .into_iter()
        .collect()
}

/// Stores a first generation: its documents, its index pages, and last its manifest, unless a
/// manifest exists.
pub async fn begin(store: &dyn Store, first: &Next, drafts: &[AddressedDraft]) -> Result<()> {
    let Next { manifest, pages } = first;
    let records: Vec<Document> =
        drafts.iter().map(Document::draft).chain(pages.iter().map(Document::page)).collect();
    create_or_find_all(store, &records).await?;
    // A crash before this leaves drafts and pages that nothing refers to.
    let (Written::Done | Written::Lost) =
        store.create(&record(Key::Manifest(manifest.generation), manifest)?).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_of_another_format_is_refused_before_anything_else_is_read() {
        for format in [0, 2, 99] {
            let bytes = format!("{{\"format\":{format}}}");
            let refused = parse_manifest(7, bytes.as_bytes()).unwrap_err().to_string();
            assert!(
                refused.contains("use the version that wrote it") && refused.contains("7.json"),
                "{refused}"
            );
        }
    }
}
