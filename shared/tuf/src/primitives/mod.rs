//! What all rooms use: names and their policy, times, digests, patterns, JSON, custom metadata, and
//! why an upload is refused. Nothing here knows about signed roles.

pub mod custom;
pub(crate) mod field;
pub mod json;
mod name;
mod pattern;
pub mod plain;
mod rejection;
mod sha256;
mod spec;
pub mod time;

pub use custom::Custom;
pub use name::{NotRoleName, RoleName, SIDE_FILE_SUFFIX, TargetName};
pub use pattern::{BadPattern, Pattern};
pub use rejection::{Rejection, RejectionCode};
pub use sha256::{Hasher, NotSha256, PausedHasher, Sha256};
pub use spec::SPEC_VERSION;
pub use time::Time;
pub(crate) use time::{after, seconds_between, whole_seconds};
