//! Output for people and programs: the only way to standard output and standard error.
//!
//! *Invariant*: a terminal gets only plain text ([`tufline_tuf::plain`]), whatever a file, a name
//! or an error contains.

use std::io::{self, ErrorKind, Write};
use std::sync::OnceLock;

use anyhow::anyhow;
use serde_json::Value;

use crate::text::{escaped_once, plain_json};

/// Prints one line, formatted as by `format!`. Line breaks within it are escaped.
macro_rules! say {
    ($($argument:tt)*) => { $crate::terminal::line(&format!($($argument)*)) };
}

/// Prints one line on standard error, in the same way.
macro_rules! complain {
    ($($argument:tt)*) => { $crate::terminal::complaint(&format!($($argument)*)) };
}

pub(crate) use {complain, say};

/// Prints one line. It doesn't escape backslashes: quoted parts may be escaped already.
pub fn line(text: &str) {
    print(&escaped_once(text));
}

/// Prints the lines of our own text. Parts quoted from elsewhere must be
/// [`escaped`](tufline_tuf::plain::escaped) already: otherwise they could add lines.
pub fn lines(text: &str) {
    for line in text.lines() {
        print(&escaped_once(line));
    }
}

/// The first error of writing to standard output.
static LOST: OnceLock<io::Error> = OnceLock::new();

/// Prints a line; an error is only noted. A command finishes its work, and a long-running process
/// stays up, even if nobody reads or a disk is full: half-done work is worse than a lost answer.
/// [`lost`] decides how the command then ends.
fn print(line: &str) {
    let mut output = io::stdout().lock();
    if let Err(error) = writeln!(output, "{line}").and_then(|()| output.flush()) {
        // Later errors have the same reason.
        _ = LOST.set(error);
    }
}

/// Why part of the answer was lost, if it was. A closed pipe doesn't count: `head` closes it once
/// it has its lines.
pub fn lost() -> Option<&'static io::Error> {
    LOST.get().filter(|error| error.kind() != ErrorKind::BrokenPipe)
}

/// Fails if some output was lost, for whatever reason. Called before signing, since the signer must
/// have seen what they sign.
pub fn expect_shown() -> anyhow::Result<()> {
    match LOST.get() {
        None => Ok(()),
        Some(error) => Err(anyhow!(
            "the document could not be shown, so nothing was signed: standard output: {error}"
        )),
    }
}

/// Prints clap's help or error.
///
/// # Errors
/// If help could not be written, unless its reader closed the pipe.
pub fn print_usage(error: &clap::Error) -> io::Result<()> {
    match error.print() {
        // Lost help is a failure; a wrong argument is one anyway.
        Err(cause) if !error.use_stderr() && cause.kind() != ErrorKind::BrokenPipe => Err(cause),
        _ => Ok(()),
    }
}

/// Prints one line on standard error.
pub fn complaint(text: &str) {
    let _ = writeln!(io::stderr(), "{}", escaped_once(text));
}

/// Prints a line of JSON. Characters that are not plain are escaped as JSON allows (RFC 8259,
/// section 7).
pub fn json(value: &Value) {
    print(&plain_json(value));
}
