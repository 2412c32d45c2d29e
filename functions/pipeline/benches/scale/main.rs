//! What publishing takes with few and with many targets: the real stages over ports in memory, driven as the queues on AWS
//! would drive them. `tests/bench` runs it and makes tables of what it prints, one line of JSON for each command.
//!
//! ```text
//! cargo bench -p tufline-pipeline --bench scale -- one --targets 100000
//! cargo bench -p tufline-pipeline --bench scale -- burst --targets 100000 --new 10000 --delays
//! ```
//!
//! What the ports themselves take of CPU and memory is in the figures, but it is little, and does not grow with the targets.
//! The memory is measured by `heap.rs`, which takes longer for that.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod command;
mod measure;
mod metered;
mod pump;
mod requests;
mod states;
mod world;

use peak_alloc::PeakAlloc;

/// Nobody counts what is on the heap: three counters that all threads share cost more than what is measured.
const HEAP: Option<PeakAlloc> = None;

#[tokio::main]
async fn main() {
    command::run().await;
}
