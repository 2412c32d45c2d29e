//! The ports of `tufline-store` on the AWS SDK for Rust: S3, SQS, KMS, EventBridge.
//!
//! A process builds [`Clients`] once. [`Resources`] names the buckets, queues and keys, and
//! `Resources::store`, `uploads`, … make a port from both.
//!
//! *Invariant*: nothing here decides anything about targets; an adapter reports what AWS answered.
//! If an answer leaves a doubt (a composite checksum, an unknown order of versions), the adapter
//! returns nothing or fails. It never guesses.

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
