//! The embedded form: one process that watches an uploads folder, runs the stages, and serves
//! devices.

mod cutting;
mod news;
mod opened;
mod running;
pub mod troubles;
mod uploads_guard;
mod workers;

pub use opened::LocalRepository;
pub use running::{Options, Running};
pub use troubles::{Trouble, TroublesRecord};
pub use workers::StageRun;
