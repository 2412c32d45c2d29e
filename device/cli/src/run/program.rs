//! Runs the programs that install a file, and that say whether it is installed.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::patience::now;

/// The time between SIGTERM and SIGKILL for a program that takes too long.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// A program to run.
#[derive(Debug)]
pub struct Program<'p> {
    /// Its path and its arguments, in which `{file}` stands for `file`.
    pub command: &'p [String],
    pub file: &'p Path,
    pub variables: Vec<(&'static str, OsString)>,
    /// Its standard input: an empty file that stays open, and locked, as long as the program or one
    /// of its children lives.
    pub input: Option<File>,
    pub longest: Duration,
}

/// How a program ended.
#[derive(Debug)]
pub enum Ended {
    /// By itself, or by a signal from elsewhere.
    Exit(ExitStatus),
    /// It took too long and was stopped.
    TooLong,
    /// It was never started.
    NotStarted(io::Error),
}

impl Program<'_> {
    /// Runs the program to its end, in its own process group. Meanwhile calls `tick` repeatedly,
    /// which waits a little.
    pub fn run(self, mut tick: impl FnMut()) -> Ended {
        let longest = self.longest;
        let mut child = match self.start() {
            Ok(child) => child,
            Err(error) => return Ended::NotStarted(error),
        };
        let group = Pid::from_child(&child);
        match wait(&mut child, now() + longest, &mut tick) {
            Some(status) => return Ended::Exit(status),
            // It may have ended meanwhile; then there is nothing to signal.
            None => _ = kill_process_group(group, Signal::TERM),
        }
        _ = wait(&mut child, now() + LAST_WORDS, &mut tick);
        _ = kill_process_group(group, Signal::KILL);
        _ = child.wait();
        Ended::TooLong
    }

    fn start(self) -> io::Result<Child> {
        let file = self.file.to_string_lossy();
        let mut words = self.command.iter().map(|word| word.replace("{file}", &file));
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).envs(self.variables).process_group(0);
        // Only this process tells systemd how it is.
        command.env_remove("NOTIFY_SOCKET");
        command.stdin(self.input.map_or_else(Stdio::null, Stdio::from));
        // Its output goes to this program's log of events: on stdout it would look like an answer.
        command.stdout(io::stderr());
        command.spawn()
    }
}

fn wait(child: &mut Child, until: Instant, tick: &mut impl FnMut()) -> Option<ExitStatus> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if now() < until => tick(),
            Ok(None) | Err(_) => return None,
        }
    }
}

/// The end in words.
pub fn told(ended: &Ended) -> String {
    match ended {
        Ended::Exit(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("ended with {code}"),
            (None, Some(signal)) => format!("was ended by signal {signal}"),
            (None, None) => "ended".to_owned(),
        },
        Ended::TooLong => "took too long, and was ended (install-timeout)".to_owned(),
        Ended::NotStarted(error) => format!("can't be started: {error}"),
    }
}
