//! Reads a repository's buckets: which generation is published, which ones are newer, and from
//! which one rebuild goes on.

pub(crate) mod blobs;
pub mod current;
pub mod index;
pub(crate) mod intents;
pub mod ledger;
pub mod listed_blobs;
pub mod online_keys;
pub mod parties;
pub mod pending;
pub mod receipts;
pub mod records;
pub mod roots;
