//! A thief of one role leaves objects behind and then falls silent. All honest uploads must be
//! published afterwards, without anybody having to tidy up.
//!
//! Each test names the role that the thief had.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;
mod records;
mod volume;
mod world;
