//! What every port promises, as one suite that runs over each implementation: in memory, on folders, on AWS.
//!
//! Each function takes a port that nothing has used yet, checks all of its promises one after another, and panics with the
//! one that does not hold. Where a port needs a counterpart (someone who uploads, someone who receives), the test gives
//! one. Nothing here asks for a particular async runtime.

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
