//! The ports of `tufline-store` on the AWS SDK for Rust: S3, SQS, KMS, EventBridge.
//!
//! [`Clients`] is built once a process, [`Resources`] says which buckets, queues and keys are meant, and
//! `Resources::store`, `uploads`, … make a port of the two.
//!
//! *Invariant*: nothing here decides anything about targets; an adapter says what AWS said. Where AWS's answer leaves a
//! doubt (a composite checksum, an order that cannot be told), it answers nothing or fails, and never guesses.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod blobs;
#[cfg(test)]
mod canned;
mod checksum;
mod chunks;
mod clients;
mod copy;
mod device_signer;
mod events;
mod failure;
mod history;
mod kms;
mod kms_key;
mod links;
mod object_key;
mod parameter;
mod queues;
mod range;
mod resources;
mod rfc2047;
mod signer;
mod store;
mod uploads;

pub use blobs::{CopyLimits, S3Blobs};
pub use chunks::S3Chunks;
pub use clients::{Access, AccessKey, Clients, NoRegion, Patience};
pub use device_signer::{DeviceSigner, NotSigned};
pub use events::EventBridgeEvents;
pub use failure::RequestError;
pub use kms_key::KmsKey;
pub use links::S3Links;
pub use queues::{ChunkQueue, QueueUrls, SqsQueues};
pub use resources::{MissingResource, Resources};
pub use signer::KmsSigner;
pub use store::S3Store;
pub use uploads::S3Uploads;
