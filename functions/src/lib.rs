//! Tufline's stages as plain async functions over the ports, and what else works on a repository's state.
//!
//! *Invariant*: a stage depends on the ports only; nothing here reads a clock, the environment or a network by itself.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod announce;
mod compute;
pub mod current;
mod deadline;
pub mod delegation;
pub mod delivery;
pub mod handler;
pub mod hash;
pub mod import;
pub mod index;
pub mod init;
mod judge;
pub mod justify;
pub mod ledger;
pub mod measure;
pub mod message;
pub mod offline_targets;
mod online;
pub mod parties;
pub mod pending;
mod ports;
pub mod publish;
pub mod publish_root;
mod reading;
pub mod rebuild;
pub mod reconcile;
pub mod refresh;
mod refuse;
pub mod roots;
pub mod rotation;
pub mod serve;
mod show;
pub mod sign;

pub use deadline::Deadline;
pub use online::SETTLING_SECONDS;
pub use ports::{Ports, StageError};
pub use reading::ReadingMemory;
