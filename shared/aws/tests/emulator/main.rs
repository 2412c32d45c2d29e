//! The adapters on a local emulator.
//!
//! `TUFLINE_TEST_ADMIN_ENDPOINTS` names a JSON file with `aws` (the endpoint), `region`,
//! `access_key_id` and `secret_access_key` of an administrator. Each test makes its own buckets,
//! queues and keys.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod answers;
mod contract;
mod world;
