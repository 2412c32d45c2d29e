//! How a command ends.

use crate::show::complain;
use std::process::ExitCode;

/// What a command came to, if it did not fail. A failure is exit code 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// It did what was asked: 0.
    Done,
    /// A repository needs somebody: 5.
    Attention,
    /// The time was up: 4.
    TimedOut,
    /// Arguments that don't go together: 2, as for those that clap refuses.
    Misused,
    /// An upload was refused, or would be: 3.
    Rejected,
}

/// What every command answers.
pub type Result = anyhow::Result<Outcome>;

/// Says what is wrong with the arguments.
pub fn misused(what: &str) -> Outcome {
    complain!("tufline: {what}");
    Outcome::Misused
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done => Self::SUCCESS,
            Outcome::Misused => Self::from(2),
            Outcome::Rejected => Self::from(3),
            Outcome::TimedOut => Self::from(4),
            Outcome::Attention => Self::from(5),
        }
    }
}

/// An error with its causes, in one line; a cause that its error quotes already isn't repeated.
pub fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(ToString::to_string) {
        let cause = cause.split_whitespace().collect::<Vec<_>>().join(" ");
        if !line.contains(&cause) {
            line = if line.is_empty() { cause } else { format!("{line}: {cause}") };
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line() {
        let error = anyhow::anyhow!("no such\n file").context("open x: no such file").context("reading");
        assert_eq!(one_line(&error), "reading: open x: no such file");
    }
}
