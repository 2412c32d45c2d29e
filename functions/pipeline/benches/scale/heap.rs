//! The bench `scale`, with a count of the bytes on the heap. It is only used for that figure.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod command;
mod measure;
mod metered;
mod pump;
mod requests;
mod states;
mod world;

use peak_alloc::PeakAlloc;

#[global_allocator]
static COUNTED: PeakAlloc = PeakAlloc;

const HEAP: Option<PeakAlloc> = Some(COUNTED);

#[tokio::main]
async fn main() {
    command::run().await;
}
