//! The exit codes of the commands.

use std::process::ExitCode;

use crate::terminal::complain;

/// How a command ended, if it did not fail as a whole. A failure is exit code 1. In the order of
/// precedence: of several endings, a command reports the last of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// Exit code 0: it did what was asked.
    Done,
    /// Exit code 5: the repository needs an operator's attention.
    Attention,
    /// Exit code 4: the time was up.
    TimedOut,
    /// Exit code 6: other bytes are uploaded under the name than those that were waited for.
    Superseded,
    /// Exit code 1: it failed, and has printed why.
    Failed,
    /// Exit code 2: the arguments don't fit together. clap uses the same code.
    Misused,
    /// Exit code 3: an upload was rejected, or would be.
    Rejected,
}

/// The result of every command.
pub type Result = anyhow::Result<Exit>;

/// Prints what is wrong with the arguments.
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
            Exit::Superseded => Self::from(6),
        }
    }
}
