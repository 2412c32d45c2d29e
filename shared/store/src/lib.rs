//! The ports that Tufline's stages use, and with the feature `testing` in-memory ports that fail,
//! delay or lose a reply on demand.
//!
//! *Invariant*: only [`Key`] makes an object's path, and only a [`Document`] is written.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod cached;
mod clock;
#[cfg(feature = "testing")]
pub mod contract;
mod document;
mod error;
mod event;
mod key;
#[cfg(feature = "testing")]
pub mod memory;
mod message;
mod port;
mod verified;

pub use cached::CachedStore;
pub use clock::SystemClock;
pub use document::{Document, Pointer};
pub use error::{BoxedError, ErrorKind, StoreError};
pub use event::{EVENT_SOURCE, Event, LARGEST_DETAIL, PublishedTarget, RejectedUpload};
pub use key::{Bucket, DELIVERIES, Folder, Key, MOST_CHANGES, UploadKey, VersionId};
pub use message::{
    Change, Hint, LARGEST_MESSAGE, Letter, MESSAGE_FORMAT, Message, NotMessage, Queue,
};
pub use port::{
    Blob, Blobs, Chunks, Clock, Events, Head, Kept, LONGEST_HISTORY, Links, OnlineRole,
    PastVersion, Queues, Result, Signer, Source, Store, Stored, Tag, Upload, Uploads, Waiting,
    Written, expect_readable,
};
pub use verified::VerifiedRoots;
