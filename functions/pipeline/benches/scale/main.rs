//! Measures what publishing takes with few and with many targets: the real stages over ports in
//! memory, called as the queues on AWS would call them. `tests/bench` runs it, and makes tables of
//! what it prints, one line of JSON for each command.
//!
//! ```text
//! cargo bench -p tufline-pipeline --bench scale -- one --targets 100000
//! cargo bench -p tufline-pipeline --bench scale -- burst --targets 100000 --new 10000 --delays
//! ```
//!
//! The figures include what the ports themselves take of CPU and memory. That is little, and does
//! not grow with the number of targets. `heap.rs` measures the memory, and takes longer for that.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod command;
mod measure;
mod metered;
mod pump;
mod requests;
mod states;
mod world;

use peak_alloc::PeakAlloc;

/// This bench does not count the heap: three counters shared by all threads cost more than the work
/// that is measured.
const HEAP: Option<PeakAlloc> = None;

#[tokio::main]
async fn main() {
    command::run().await;
}
