//! The contract of every port, as a test suite for each implementation: in memory, on folders, on
//! AWS.
//!
//! Each function takes a port that nothing has used yet, checks every promise, and panics at the
//! first one that does not hold. If a port needs a counterpart (somebody who uploads or receives),
//! the test supplies it. The suite needs no particular async runtime.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a suite of tests, compiled for tests only"
)]

mod at_once;
mod chunks;
mod events;
mod queues;
mod signer;
mod store;
mod uploads;

pub use chunks::chunks;
pub use events::{EventsReader, events};
pub use queues::{QueuesReader, queues};
pub use signer::signer;
pub use store::store;
pub use uploads::{Uploader, uploads};
