//! Fuzzes the files that a server answers (`Harness::served`).
#![no_main]

#[path = "../../tests/common/device.rs"]
mod device;
#[path = "../../tests/common/harness.rs"]
mod harness;
#[path = "../../tests/common/repository.rs"]
mod repository;

use std::sync::LazyLock;

static HARNESS: LazyLock<harness::Harness> = LazyLock::new(harness::Harness::new);

libfuzzer_sys::fuzz_target!(|input: &[u8]| HARNESS.served(input));
