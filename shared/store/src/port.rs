//! The ports: all that the stages ask of the world, as few and as small as they need.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use tough::schema::key::Key as PublicKey;
use tufline_tuf::root::PinnedRoot;
use tufline_tuf::{Sha256, Time};

use crate::document::{Document, Pointer};
use crate::error::{ErrorKind, StoreError};
use crate::event::Event;
use crate::key::{Folder, Key, VersionId};
use crate::message::{Letter, Message, Queue};

/// What a port answers.
pub type Result<T> = std::result::Result<T, StoreError>;

/// What a conditional write came to. Not an error: losing a race is normal, and the caller must say what it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a lost race must be handled"]
pub enum Written {
    /// Stored.
    Done,
    /// Someone else was first, perhaps an earlier try of the same caller. What is stored now is theirs.
    Lost,
}

/// An object's state when it was read; [`Store::replace`] succeeds only while it still holds (S3: the `ETag`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag(pub String);

/// A stored object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its bytes.
    pub bytes: Bytes,
    /// Its state, for [`Store::replace`].
    pub tag: Tag,
    /// When it was stored, by the store's own clock (S3: `Last-Modified`, whole seconds).
    pub modified: Time,
}

/// Whether `document` may be stored: for every [`Store`].
///
/// # Errors
/// [`StoreError`] where it is longer than what is read.
pub fn expect_readable(action: &'static str, document: &Document) -> Result<()> {
    let (length, most) = (document.bytes().len(), document.key().most_bytes());
    if length <= most {
        return Ok(());
    }
    let why = format!("it has {length} bytes, and at most {most} would be read");
    Err(StoreError::new(ErrorKind::Invalid, action, document.key(), why))
}

/// The repository and the ledger: small objects, strongly consistent (S3 user guide, "Amazon S3 data consistency model").
#[async_trait]
pub trait Store: Send + Sync {
    /// `None` where nothing is stored at `key`. What is longer than `most` or than [`Key::most_bytes`] is not read: it has no bytes then.
    async fn get_within(&self, key: &Key, most: usize) -> Result<Option<Stored>>;
    /// The same with [`Key::most_bytes`].
    async fn get(&self, key: &Key) -> Result<Option<Stored>> {
        self.get_within(key, key.most_bytes()).await
    }
    /// The bytes at `key`, where their state doesn't matter: of what never changes, a store may have them in memory. As
    /// [`Store::get_within`].
    async fn bytes_within(&self, key: &Key, most: usize) -> Result<Option<Bytes>> {
        Ok(self.get_within(key, most).await?.map(|stored| stored.bytes))
    }
    /// The same with [`Key::most_bytes`].
    async fn bytes(&self, key: &Key) -> Result<Option<Bytes>> {
        self.bytes_within(key, key.most_bytes()).await
    }
    /// The same, where [`Store::get`] tells only of what verifies: whatever lies there. For telling people of it, for older devices that ask for a
    /// root before the [first](Store::first_root), and for nothing else.
    async fn unverified(&self, key: &Key) -> Result<Option<Stored>> {
        self.get(key).await
    }
    /// Which root the repository's chain begins with, where that is said; `None` for version 1, as it lies there.
    fn pinned_root(&self) -> Option<PinnedRoot>;
    /// The version of the root with which the chain begins. What lies in the place of an older one is nothing to any stage.
    fn first_root(&self) -> u64 {
        self.pinned_root().map_or(1, |root| root.version)
    }
    /// Whether something is stored at `key`, without reading it.
    async fn exists(&self, key: &Key) -> Result<bool>;
    /// Stores `document` unless something is there already (S3: `If-None-Match: *`). What is longer than [`Key::most_bytes`] is an error, since
    /// nobody would read it ([`expect_readable`]).
    ///
    /// [`Written::Lost`] may also mean that an earlier try of this very call was applied and its reply lost.
    async fn create(&self, document: &Document) -> Result<Written>;
    /// Stores `pointer` in place of the object whose state is `expected` (S3: `If-Match`). The same holds.
    async fn replace(&self, pointer: &Pointer, expected: &Tag) -> Result<Written>;
    /// Up to `limit` keys of `folder` in the order of their paths, beginning after `after`.
    async fn list(&self, folder: Folder, after: Option<&Key>, limit: usize) -> Result<Vec<Key>>;
}

/// One version of an upload, as a HEAD request shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// The key after the prefix: a target name, if it keeps the policy.
    pub name: String,
    /// Its version; `None` where the bucket keeps no versions.
    pub version: Option<VersionId>,
    /// In bytes.
    pub length: u64,
    /// The raw custom metadata (`x-amz-meta-tuf-custom`, or the side file's text), if any.
    pub custom: Option<String>,
    /// The SHA-256 of the whole object, where the uploader sent it and S3 checked it (`ChecksumType=FULL_OBJECT`).
    /// Never a composite checksum.
    pub sha256: Option<Sha256>,
    /// When it was uploaded, where the store says (S3: `Last-Modified`, for a multipart upload when that began). For
    /// measuring only.
    pub uploaded: Option<Time>,
    /// Why no target can be made of what is there, whatever its name and its length, and what to do: one line. In a folder only, of what
    /// isn't a regular file.
    pub unusable: Option<String>,
}

/// What is current under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Head {
    /// An object.
    Object(Upload),
    /// Nothing: either a delete marker, or no version at all.
    Gone {
        /// The delete marker's version.
        marker: Option<VersionId>,
    },
}

/// An entry in the history of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PastVersion {
    /// An object version.
    Object {
        /// It.
        version: VersionId,
        /// When it was stored, by the store's clock. Where it was uploaded in parts, when that was begun (S3 user guide,
        /// "System-defined object metadata"): it came at some time after, and may stand above or beneath what came meanwhile.
        modified: Time,
        /// Whether it was uploaded in parts, perhaps.
        in_parts: bool,
    },
    /// A delete marker.
    Marker {
        /// Its version.
        version: VersionId,
        /// When it was made, by the store's clock.
        modified: Time,
    },
    /// What was here before isn't kept (the embedded form: files have no history).
    Forgotten,
    /// Nobody looks further: it was stored while the bucket kept no versions, or it stands beneath [`LONGEST_HISTORY`]
    /// others.
    Unknown,
}

/// So many entries of a history are looked at: as many as `ListObjectVersions` answers in one request
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectVersions.html>). A name that is overwritten all the time
/// costs no more than others.
pub const LONGEST_HISTORY: usize = 1000;

/// The uploads: versions of objects under a prefix, or files in a folder. Only read.
#[async_trait]
pub trait Uploads: Send + Sync {
    /// What is current under `name`, which may be any string.
    async fn head(&self, name: &str) -> Result<Head>;
    /// One version of `name`; `None` where it is gone.
    async fn head_version(&self, name: &str, version: &VersionId) -> Result<Option<Upload>>;
    /// The history of `name`, newest first, as the store orders it; its newest [`LONGEST_HISTORY`] entries at most, and then
    /// [`PastVersion::Unknown`].
    async fn versions(&self, name: &str) -> Result<Vec<PastVersion>>;
    /// The next names in order after `after`, at most 1,000, whether an object or a delete marker is current; empty at the
    /// end. Side files and ignored files aren't listed.
    async fn list(&self, after: Option<&str>) -> Result<Vec<String>>;
    /// The bytes of one version from `offset`, at most `length` of them, in `buffer`, in place of what is there. Who reads many
    /// pieces gives the same buffers again and again: large ones leave holes in the memory.
    async fn read_into(&self, buffer: BytesMut, upload: &Upload, offset: u64, length: u64) -> Result<BytesMut>;
    /// The bytes of one version from `offset`, at most `length` of them.
    async fn read(&self, upload: &Upload, offset: u64, length: u64) -> Result<Bytes> {
        self.read_into(BytesMut::new(), upload, offset, length).await.map(BytesMut::freeze)
    }
    /// Where `name` lies, for people: a URL or a path.
    fn place(&self, name: &str) -> String;
}

/// What is known of a stored blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blob {
    /// In bytes.
    pub length: u64,
    /// The full-object SHA-256 that the store keeps for it, where it keeps one.
    pub sha256: Option<Sha256>,
}

/// From where [`Blobs::keep`] takes the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The upload itself: its version cannot change.
    Upload,
    /// The copy that [`Blobs::copy_in`] made.
    Incoming,
}

/// How far [`Blobs::keep`] came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "what is not whole must be gone on with"]
pub enum Kept {
    /// The blob is there.
    Whole,
    /// Some more of a large one is copied: the next call goes on.
    Partly,
    /// Nothing is gained: another finished it, which the next call finds, or is about to.
    Contended,
}

/// The bytes of targets.
#[async_trait]
pub trait Blobs: Send + Sync {
    /// Copies a version of an upload to `incoming/` and answers the SHA-256 that the store computed over the whole copy.
    /// `None` where it computes none, or where the upload is too large to be copied in one request.
    async fn copy_in(&self, upload: &Upload) -> Result<Option<Sha256>>;
    /// The SHA-256 that the store computed over a copy of a version of an upload, which is kept for who asks again: for those
    /// who believe nobody else's. `None` where it computes none, or where the upload is too large for them to wait for it.
    async fn check(&self, upload: &Upload) -> Result<Option<Sha256>>;
    /// Makes the bytes of `upload` available as the blob `sha256`, or goes on with that: a large one takes several calls,
    /// from whatever process, so that none takes long. Harmless where the blob is there already.
    async fn keep(&self, upload: &Upload, source: Source, sha256: &Sha256) -> Result<Kept>;
    /// What is known of a blob; `None` where it is missing.
    async fn head(&self, sha256: &Sha256) -> Result<Option<Blob>>;
    /// The bytes of a blob from `offset`, at most `length` of them; `None` where it is missing.
    async fn read(&self, sha256: &Sha256, offset: u64, length: u64) -> Result<Option<Bytes>>;
}

/// The chunks of blobs: for each blob one object, the list of its chunks and behind it the packed chunks.
///
/// *Invariant*: they are there as a whole or not at all, and are never replaced.
#[async_trait]
pub trait Chunks: Send + Sync {
    /// How many bytes the chunks of a blob have, with their list; `None` where it has none.
    async fn length(&self, sha256: &Sha256) -> Result<Option<u64>>;
    /// These bytes from `offset`, at most `length` of them; `None` where the blob has no chunks.
    async fn read(&self, sha256: &Sha256, offset: u64, length: u64) -> Result<Option<Bytes>>;
    /// Stores what is in the file at `path` as the chunks of a blob, unless it has some already. Nobody
    /// else writes to the file, and it may be moved away.
    ///
    /// [`Written::Lost`] may also mean that an earlier try of this very call was applied and its reply lost.
    async fn create(&self, sha256: &Sha256, path: &Path) -> Result<Written>;
}

/// Links to stored objects, for those who may not read the store themselves.
#[async_trait]
pub trait Links: Send + Sync {
    /// A URL under which anybody may GET what is stored at `key`, for a short time (S3: a presigned URL).
    async fn link(&self, key: &Key) -> Result<String>;
}

/// The queues between the stages. Delivery is at least once, in any order; a message is only a hint.
#[async_trait]
pub trait Queues: Send + Sync {
    /// Sends `message` to its queue ([`Message::queue`]), to be seen after `delay` (whole seconds, at most 15 minutes;
    /// the FIFO queues know no delay per message and deliver at once).
    async fn send(&self, message: &Message, delay: Duration) -> Result<()>;
    /// Up to `limit` messages that `queue` gave up on. They stay hidden for a while and come back unless removed.
    async fn dead_letters(&self, queue: Queue, limit: usize) -> Result<Vec<Letter>>;
    /// Puts a dead letter back into its queue as it was, and then removes it.
    async fn redrive(&self, queue: Queue, letter: &Letter) -> Result<()>;
    /// How many messages wait in `queue` and among its dead letters (approximately).
    async fn waiting(&self, queue: Queue) -> Result<Waiting>;
}

/// How much waits in a queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Messages that wait or are being handled.
    pub messages: u64,
    /// Dead letters.
    pub dead_letters: u64,
}

/// The roles whose keys are online.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OnlineRole {
    /// The top-level targets role.
    Targets,
    /// The bins below it.
    Bins,
    /// The snapshot role.
    Snapshot,
    /// The timestamp role.
    Timestamp,
}

impl OnlineRole {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Targets, Self::Bins, Self::Snapshot, Self::Timestamp];
}

/// The online keys. Their private parts never leave where they are.
#[async_trait]
pub trait Signer: Send + Sync {
    /// The public keys of `role`, as root or a delegating role lists them, the oldest first: one, or several while it is
    /// replaced. Never none.
    async fn public_keys(&self, role: OnlineRole) -> Result<Vec<PublicKey>>;
    /// The signature of `key`, which is one of `role`'s, over `message` (ECDSA P-256 over its SHA-256, DER).
    async fn sign(&self, role: OnlineRole, key: &PublicKey, message: &[u8]) -> Result<Vec<u8>>;

    /// The newest public key of `role`.
    async fn newest_key(&self, role: OnlineRole) -> Result<PublicKey> {
        let none = || StoreError::new(ErrorKind::Missing, "find", format!("{role:?}'s key"), "there is none");
        self.public_keys(role).await?.pop().ok_or_else(none)
    }
}

/// Where events go: an EventBridge bus, or a file of lines.
#[async_trait]
pub trait Events: Send + Sync {
    /// Sends all of `events`, or fails; after a failure some may have been sent.
    async fn send(&self, events: &[Event]) -> Result<()>;
}

/// The time.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Time;
}
