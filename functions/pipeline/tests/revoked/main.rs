//! What a thief of one role leaves behind, and what becomes of honest uploads once he is silent: all of them are published, without anybody
//! having to tidy up.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;
mod records;
mod volume;
mod world;
