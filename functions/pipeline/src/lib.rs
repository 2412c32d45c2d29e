//! The pipeline: its stages as async functions over the ports, and the operations that people run
//! on a repository.
//!
//! Start with [`stages`]. An artifact passes through hash, rebuild, sign and publish, and each has
//! one file. The private module `actions` holds what several stages share, [`state`] reads the
//! repository and the ledger, [`operations`] has what people do now and then, and [`dispatch`]
//! hands each queue's messages to their stage.
//!
//! *Invariant*: a stage depends on the ports only. Nothing here reads a clock, the environment or a
//! network by itself. No stage knows another.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod actions;
mod compute;
mod concurrency;
pub mod dispatch;
mod error;
mod justified;
pub mod measure;
pub mod messages;
pub mod operations;
mod ports;
pub mod stages;
pub mod state;

pub use actions::justify::justify;
pub use actions::removals::removals_accepted;
pub use error::StageError;
pub use justified::{Justified, WINDOW_SECONDS};
pub use ports::{Deadline, Ports, ReadingMemory};
pub use state::online_keys::SETTLING_SECONDS;
