//! Tufline's pipeline: its stages as plain async functions over the ports, and what operators do with a repository.
//!
//! Begin with [`stages`]: the way of one artifact is hash, rebuild, sign and publish, a page each. What they have in common lies in `actions`, and what
//! is read of a repository in [`state`]. [`operations`] are what people do now and then, and [`dispatch`] takes messages from the queues to the stages.
//!
//! *Invariant*: a stage depends on the ports only; nothing here reads a clock, the environment or a network by itself. No stage knows another.

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
