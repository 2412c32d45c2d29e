//! Waits until it is decided what became of uploads, for `tufline wait`, `upload --wait` and
//! `doctor --try`.

mod decide;
mod tell;
mod watch;

pub use decide::{Goal, UploadEnding, VisibleTarget};
pub use tell::tell_ending;
pub use watch::{Awaited, wait_for};
