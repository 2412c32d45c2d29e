//! How things are shown to people, and the only way to standard output and standard error.
//!
//! *Invariant*: a terminal gets plain text and nothing else ([`tufline_tuf::plain`]), whatever a file, a name or an error held that is told of.

use std::io::{self, ErrorKind, Write};
use std::sync::OnceLock;

use anyhow::anyhow;
use serde_json::Value;

use crate::text::{escaped_once, plain_json};

/// Prints a line, formatted as by `format!`: one line, even if something in it was several.
macro_rules! say {
    ($($argument:tt)*) => { $crate::terminal::line(&format!($($argument)*)) };
}

/// The same on standard error.
macro_rules! complain {
    ($($argument:tt)*) => { $crate::terminal::complaint(&format!($($argument)*)) };
}

pub(crate) use {complain, say};

/// Prints one line. A backslash stays one: what is quoted in it may be escaped already.
pub fn line(text: &str) {
    print(&escaped_once(text));
}

/// Prints the lines of a text that was made here: whatever is quoted in it from elsewhere is [`escaped`](tufline_tuf::plain::escaped) already, or could add a line of its own.
pub fn lines(text: &str) {
    for line in text.lines() {
        print(&escaped_once(line));
    }
}

/// Why standard output didn't take everything, the first time.
static LOST: OnceLock<io::Error> = OnceLock::new();

/// A command does what it was asked to do to its end, and a process that stays up stays up, though nobody listens or a disk is full: what
/// is half done because of its answer is worse than an answer that is lost. How it ends then, [`lost`] decides.
fn print(line: &str) {
    let mut output = io::stdout().lock();
    if let Err(error) = writeln!(output, "{line}").and_then(|()| output.flush()) {
        // What comes later is lost for the same reason.
        _ = LOST.set(error);
    }
}

/// Why some of the answer was lost. Not where its reader is gone, as `head` is when it has what it wants: that is how pipes end.
pub fn lost() -> Option<&'static io::Error> {
    LOST.get().filter(|error| error.kind() != ErrorKind::BrokenPipe)
}

/// Fails where something that was printed can't have been read, whoever is to blame: before a signature that says that it was.
pub fn expect_shown() -> anyhow::Result<()> {
    match LOST.get() {
        None => Ok(()),
        Some(error) => {
            Err(anyhow!("what is to be signed could not be shown, so nothing was signed: standard output: {error}"))
        }
    }
}

/// Prints what clap has to say, help or a mistake; answers whether it was written, or nobody wanted it.
pub fn print_usage(error: &clap::Error) -> io::Result<()> {
    match error.print() {
        // Help that nobody gets is a failure, a mistake is one anyway.
        Err(cause) if !error.use_stderr() && cause.kind() != ErrorKind::BrokenPipe => Err(cause),
        _ => Ok(()),
    }
}

/// Prints one line on standard error.
pub fn complaint(text: &str) {
    let _ = writeln!(io::stderr(), "{}", escaped_once(text));
}

/// Prints a line of JSON. In it too what is not plain is escaped, as JSON does it (RFC 8259, section 7).
pub fn json(value: &Value) {
    print(&plain_json(value));
}
