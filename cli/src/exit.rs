//! How a command ends.

use std::process::ExitCode;

use crate::terminal::complain;

/// What a command came to, if it did not fail as a whole. A failure is exit code 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// It did what was asked: 0.
    Done,
    /// A repository needs somebody: 5.
    Attention,
    /// The time was up: 4.
    TimedOut,
    /// It could not be done, and that is told already: 1.
    Failed,
    /// Arguments that don't go together: 2, as for those that clap refuses.
    Misused,
    /// An upload was refused, or would be: 3.
    Rejected,
}

/// What every command answers.
pub type Result = anyhow::Result<Exit>;

/// Says what is wrong with the arguments.
pub fn misused(what: &str) -> Exit {
    complain!("tufline: {what}");
    Exit::Misused
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Done => Self::SUCCESS,
            Exit::Failed => Self::FAILURE,
            Exit::Misused => Self::from(2),
            Exit::Rejected => Self::from(3),
            Exit::TimedOut => Self::from(4),
            Exit::Attention => Self::from(5),
        }
    }
}
