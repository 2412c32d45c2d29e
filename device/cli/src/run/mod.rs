//! A device that keeps itself up to date: it checks now and then, downloads, and passes verified
//! files to a command.
//!
//! `journal.rs`, `schedule.rs` and `window.rs` decide, and are pure. `runner.rs` waits and reports,
//! `round.rs` checks and downloads, and `install.rs` runs the commands.

mod install;
mod journal;
mod program;
mod round;
mod runner;
mod schedule;
mod settings;
mod signals;
mod status;
mod supervisor;
mod window;

pub use runner::{Ran, run};
pub use settings::RunSettings;
pub use window::Window;
