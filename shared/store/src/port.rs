//! The ports: everything that the stages need from the world. They are as few and as small as
//! possible.

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

/// The result of a request to a port.
pub type Result<T> = std::result::Result<T, StoreError>;

/// The outcome of a conditional write. A lost race is normal, so it is no error, and the caller
/// decides what it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a lost race must be handled"]
pub enum Written {
    /// The write was applied.
    Done,
    /// Another writer was first, perhaps an earlier try of the same caller. The stored object is
    /// theirs.
    Lost,
}

/// An object's state when it was read (S3: the `ETag`). [`Store::replace`] succeeds only while the
/// object still has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag(pub String);

/// An object, as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The whole object; empty if it is too long to read.
    pub bytes: Bytes,
    /// The object's state, for [`Store::replace`].
    pub tag: Tag,
    /// When the object was stored, by the store's own clock (S3: `Last-Modified`, whole seconds).
    pub modified: Time,
}

/// Refuses a document that is longer than readers accept. Every [`Store`] calls it before it
/// writes.
///
/// # Errors
/// [`StoreError`] of kind [`ErrorKind::Invalid`] if the document is longer than
/// [`Key::most_bytes`].
pub fn expect_readable(action: &'static str, document: &Document) -> Result<()> {
    let (length, most) = (document.bytes().len(), document.key().most_bytes());
    if length <= most {
        return Ok(());
    }
    let why = format!("it has {length} bytes, but at most {most} would be read");
    Err(StoreError::new(ErrorKind::Invalid, action, document.key(), why))
}

/// The repository and the ledger: small objects, strongly consistent (S3 user guide, "Amazon S3
/// data consistency model").
#[async_trait]
pub trait Store: Send + Sync {
    /// Reads an object; `None` if there is none. An object longer than `most`, or than
    /// [`Key::most_bytes`], is not read: the result has no bytes.
    async fn get_within(&self, key: &Key, most: usize) -> Result<Option<Stored>>;
    /// The same, up to [`Key::most_bytes`].
    async fn get(&self, key: &Key) -> Result<Option<Stored>> {
        self.get_within(key, key.most_bytes()).await
    }
    /// The bytes of [`Store::get_within`], for a caller that does not need the object's state. If
    /// the object never changes, a store may answer from memory.
    async fn bytes_within(&self, key: &Key, most: usize) -> Result<Option<Bytes>> {
        Ok(self.get_within(key, most).await?.map(|stored| stored.bytes))
    }
    /// The same, up to [`Key::most_bytes`].
    async fn bytes(&self, key: &Key) -> Result<Option<Bytes>> {
        self.bytes_within(key, key.most_bytes()).await
    }
    /// Reads whatever file lies at `key`, even where [`Store::get`] returns only roots that verify.
    /// It has two uses: to tell people about the file, and to answer older devices that ask for a
    /// root before the [first](Store::first_root).
    async fn unverified(&self, key: &Key) -> Result<Option<Stored>> {
        self.get(key).await
    }
    /// The root with which the repository's chain begins, if the configuration names one; `None` if
    /// it begins with whatever version 1 is stored.
    fn pinned_root(&self) -> Option<PinnedRoot>;
    /// The version of the root with which the chain begins. No stage looks at files in the places
    /// of older roots.
    fn first_root(&self) -> u64 {
        self.pinned_root().map_or(1, |root| root.version)
    }
    /// Whether an object is stored at `key`. It reads no bytes.
    async fn exists(&self, key: &Key) -> Result<bool>;
    /// Stores `document` unless an object exists at its key (S3: `If-None-Match: *`). A document
    /// longer than [`Key::most_bytes`] is an error, since nobody would read it
    /// ([`expect_readable`]).
    ///
    /// [`Written::Lost`] may also mean that an earlier try of this very call was applied and its
    /// reply lost.
    async fn create(&self, document: &Document) -> Result<Written>;
    /// Stores `pointer` in place of the object whose state is `expected` (S3: `If-Match`). The
    /// length limit and the meaning of [`Written::Lost`] are the same as in [`Store::create`].
    async fn replace(&self, pointer: &Pointer, expected: &Tag) -> Result<Written>;
    /// Up to `limit` keys of `folder` after the key `after`, in the order of their paths.
    async fn list(&self, folder: Folder, after: Option<&Key>, limit: usize) -> Result<Vec<Key>>;
}

/// One version of an upload, as a HEAD request shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// The key after the prefix. It is a target name, if it follows the policy.
    pub name: String,
    /// The upload's version; `None` if the bucket keeps no versions.
    pub version: Option<VersionId>,
    /// The length, in bytes.
    pub length: u64,
    /// The raw custom metadata (`x-amz-meta-tuf-custom`, or the side file's text), if any.
    pub custom: Option<String>,
    /// The SHA-256 of the whole object, if the uploader sent it and S3 verified it
    /// (`ChecksumType=FULL_OBJECT`). It is never a composite checksum.
    pub sha256: Option<Sha256>,
    /// When it was uploaded, if the store says so (S3: `Last-Modified`, which for a multipart
    /// upload is its start). Only metrics use it.
    pub uploaded: Option<Time>,
    /// Why the object can be no target, whatever its name and length, and what to do: one line.
    /// Only a folder has such objects: entries that are no regular files.
    pub unusable: Option<String>,
}

/// What is current under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Head {
    /// This version of an object is current.
    Object(Upload),
    /// Nothing: there is a delete marker, or no version at all.
    Gone {
        /// The delete marker's version; `None` if there is no version at all.
        marker: Option<VersionId>,
    },
}

/// An entry in the history of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PastVersion {
    /// A version of an object.
    Object {
        /// The version's ID.
        version: VersionId,
        /// When it was stored, by the store's clock. For a multipart upload, it is the time of its
        /// start (S3 user guide, "System-defined object metadata"). The upload was completed some
        /// time later, so it may stand above or beneath entries made meanwhile.
        modified: Time,
        /// Whether it may be a multipart upload.
        in_parts: bool,
    },
    /// A delete marker, which hides older versions.
    Marker {
        /// The marker's own version.
        version: VersionId,
        /// When it was made, by the store's clock.
        modified: Time,
    },
    /// Earlier entries are not kept. In the embedded form, files have no history.
    Forgotten,
    /// The store lists no further. The next entry was stored while the bucket kept no versions, or
    /// stands beneath [`LONGEST_HISTORY`] others.
    Unknown,
}

/// How many entries of a history the stages look at: as many as one request `ListObjectVersions`
/// returns (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectVersions.html>). So a
/// name that is overwritten all the time costs no more than others.
pub const LONGEST_HISTORY: usize = 1000;

/// The uploads: versions of objects under a prefix, or files in a folder. The stages only read
/// them.
#[async_trait]
pub trait Uploads: Send + Sync {
    /// What is current under `name`, which may be any string.
    async fn head(&self, name: &str) -> Result<Head>;
    /// One version of `name`; `None` if it is gone.
    async fn head_version(&self, name: &str, version: &VersionId) -> Result<Option<Upload>>;
    /// The history of `name`, newest first in the store's order: at most the newest
    /// [`LONGEST_HISTORY`] entries, then [`PastVersion::Unknown`] if there are more.
    async fn versions(&self, name: &str) -> Result<Vec<PastVersion>>;
    /// The next names after `after` in order, at most 1,000. A name counts whether an object or a
    /// delete marker is current. Side files and ignored files are left out. Empty at the end.
    async fn list(&self, after: Option<&str>) -> Result<Vec<String>>;
    /// Reads at most `length` bytes of one version from `offset` into `buffer`, replacing its
    /// contents. A caller that reads many pieces reuses its buffers: new large ones would leave
    /// holes in the memory.
    async fn read_into(
        &self,
        buffer: BytesMut,
        upload: &Upload,
        offset: u64,
        length: u64,
    ) -> Result<BytesMut>;
    /// Reads at most `length` bytes of one version, from `offset`.
    async fn read(&self, upload: &Upload, offset: u64, length: u64) -> Result<Bytes> {
        self.read_into(BytesMut::new(), upload, offset, length).await.map(BytesMut::freeze)
    }
    /// Where `name` lies, for people: a URL or a path.
    fn place(&self, name: &str) -> String;
}

/// What the store knows about a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blob {
    /// The length, in bytes.
    pub length: u64,
    /// The SHA-256 that the store keeps for the whole object, if it keeps one.
    pub sha256: Option<Sha256>,
}

/// Where [`Blobs::keep`] takes the bytes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The upload itself: its version cannot change.
    Upload,
    /// The copy that [`Blobs::copy_in`] made.
    Incoming,
}

/// How far [`Blobs::keep`] has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "an unfinished blob must be continued"]
pub enum Kept {
    /// The blob is stored.
    Whole,
    /// Some more of a large blob is copied, and the next call goes on.
    Partly,
    /// Nothing was gained. Another run has finished the blob, which the next call finds, or is
    /// about to finish it.
    Contended,
}

/// The bytes of targets.
#[async_trait]
pub trait Blobs: Send + Sync {
    /// Copies a version of an upload to `incoming/`, and returns the SHA-256 that the store
    /// computed over the whole copy. `None` if the store computes none, or the upload is too large
    /// to be copied in one request.
    async fn copy_in(&self, upload: &Upload) -> Result<Option<Sha256>>;
    /// The SHA-256 that the store computes over a copy of an upload's version. The copy is kept for
    /// the next caller. Sign and publish use this, since they believe no other stage's digest.
    /// `None` if the store computes none, or the upload is too large to wait for it.
    async fn check(&self, upload: &Upload) -> Result<Option<Sha256>>;
    /// Stores the bytes of `upload` as the blob `sha256`, or does a part of that. A large upload
    /// takes several calls, from any process, so that no call takes long. It does nothing if the
    /// blob is stored already.
    async fn keep(&self, upload: &Upload, source: Source, sha256: &Sha256) -> Result<Kept>;
    /// What the store knows about a blob; `None` if it does not exist.
    async fn head(&self, sha256: &Sha256) -> Result<Option<Blob>>;
    /// Reads at most `length` bytes of a blob, from `offset`; `None` if it does not exist.
    async fn read(&self, sha256: &Sha256, offset: u64, length: u64) -> Result<Option<Bytes>>;
}

/// The chunks of blobs. A blob that has chunks has one object: the list of the chunks, and behind
/// it the compressed chunks.
///
/// *Invariant*: a blob's chunks are stored as a whole or not at all, and are never replaced.
#[async_trait]
pub trait Chunks: Send + Sync {
    /// The length of a blob's chunks with their list, in bytes; `None` if the blob has no chunks.
    async fn length(&self, sha256: &Sha256) -> Result<Option<u64>>;
    /// Reads at most `length` of these bytes, from `offset`; `None` if the blob has no chunks.
    async fn read(&self, sha256: &Sha256, offset: u64, length: u64) -> Result<Option<Bytes>>;
    /// Stores the file at `path` as the chunks of a blob, unless the blob has chunks already. The
    /// caller must not let anybody else write to the file. The port may move the file away.
    ///
    /// [`Written::Lost`] may also mean that an earlier try of this very call was applied and its
    /// reply lost.
    async fn create(&self, sha256: &Sha256, path: &Path) -> Result<Written>;
}

/// Links to stored objects, for devices that may not read the store themselves.
#[async_trait]
pub trait Links: Send + Sync {
    /// A URL with which anybody may GET the object at `key` for a short time (S3: a presigned URL).
    async fn link(&self, key: &Key) -> Result<String>;
}

/// The queues between the stages. Each message is delivered at least once, in any order. A message
/// is only a hint.
#[async_trait]
pub trait Queues: Send + Sync {
    /// Sends `message` to its queue ([`Message::queue`]), to be delivered after `delay` (whole
    /// seconds, at most 15 minutes). FIFO queues have no delay per message, and deliver at once.
    async fn send(&self, message: &Message, delay: Duration) -> Result<()>;
    /// Up to `limit` dead letters of `queue`. They stay hidden for a while, and come back unless
    /// they are removed.
    async fn dead_letters(&self, queue: Queue, limit: usize) -> Result<Vec<Letter>>;
    /// Puts a dead letter back into its queue unchanged, then removes it from the dead letters.
    async fn redrive(&self, queue: Queue, letter: &Letter) -> Result<()>;
    /// Approximately how many messages wait in `queue` and among its dead letters.
    async fn waiting(&self, queue: Queue) -> Result<Waiting>;
}

/// How many messages wait in a queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Messages that wait or are being handled.
    pub messages: u64,
    /// Messages that the queue gave up on.
    pub dead_letters: u64,
}

/// The roles whose keys are online.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OnlineRole {
    /// The top-level targets role.
    Targets,
    /// The bins below the targets role.
    Bins,
    /// The snapshot role, which lists the versions of all targets roles.
    Snapshot,
    /// The timestamp role, which publishes a snapshot.
    Timestamp,
}

impl OnlineRole {
    /// All online roles, from the targets role to the timestamp.
    pub const ALL: [Self; 4] = [Self::Targets, Self::Bins, Self::Snapshot, Self::Timestamp];
}

/// The online keys. Their private parts never leave the place where they are kept.
#[async_trait]
pub trait Signer: Send + Sync {
    /// The public keys of `role`, oldest first, as the root or a delegating role lists them. There
    /// is one, or several while a key is being replaced; never none.
    async fn public_keys(&self, role: OnlineRole) -> Result<Vec<PublicKey>>;
    /// Signs `message` with `key`, which must be one of `role`'s keys. The signature is ECDSA P-256
    /// over the message's SHA-256, in DER.
    async fn sign(&self, role: OnlineRole, key: &PublicKey, message: &[u8]) -> Result<Vec<u8>>;

    /// The newest public key of `role`.
    async fn newest_key(&self, role: OnlineRole) -> Result<PublicKey> {
        let none = || {
            StoreError::new(ErrorKind::Missing, "find", format!("{role:?}'s key"), "there is none")
        };
        self.public_keys(role).await?.pop().ok_or_else(none)
    }
}

/// The event bus: EventBridge, or a file of lines.
#[async_trait]
pub trait Events: Send + Sync {
    /// Sends all of `events`. After a failure, some of them may have been sent.
    async fn send(&self, events: &[Event]) -> Result<()>;
}

/// A clock. Stages take the time only from here.
pub trait Clock: Send + Sync {
    /// The time now. Expiries are counted from it.
    fn now(&self) -> Time;
}
