//! The policy of one repository, parsed once. On AWS it comes from CDK props through the
//! environment, in the embedded form from `DATA/config.toml`.

mod bounds;
mod error;
mod large_uploads;
mod lifetime;
mod policy;

pub use bounds::{ExpireDays, InlineTargets, LargestTarget, SignaturesAtOnce, TargetsPerBin};
pub use error::BadConfig;
pub use large_uploads::{LargeUploads, SizesOfLargeUploads};
pub use lifetime::Lifetime;
pub use policy::{Config, Expiry, Hashing, RemovalLimit};
