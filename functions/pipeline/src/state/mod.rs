//! What a repository's buckets say: which generation is published, which are newer, and what there is to go on from.

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
