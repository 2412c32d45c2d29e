//! The programs that install a file, and that say whether it is installed.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::patience::now;

/// How long a program that takes too long has between SIGTERM and SIGKILL.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// A program to run.
#[derive(Debug)]
pub struct Program<'p> {
    /// Its path and its arguments, in which `{file}` stands for `file`.
    pub command: &'p [String],
    pub file: &'p Path,
    pub variables: Vec<(&'static str, OsString)>,
    /// What it reads: an empty file, which is held open, and locked, for as long as the program or
    /// one that it started lives.
    pub input: Option<File>,
    pub longest: Duration,
}

/// How a program ended.
#[derive(Debug)]
pub enum Ended {
    /// By itself, or by a signal of others.
    Exit(ExitStatus),
    /// It took too long, and was ended.
    TooLong,
    /// It was never started.
    NotStarted(io::Error),
}

impl Program<'_> {
    /// Runs it to its end, in a process group of its own, and calls `tick` again and again
    /// meanwhile, which waits a little.
    pub fn run(self, mut tick: impl FnMut()) -> Ended {
        let longest = self.longest;
        let mut child = match self.start() {
            Ok(child) => child,
            Err(error) => return Ended::NotStarted(error),
        };
        let group = Pid::from_child(&child);
        match wait(&mut child, now() + longest, &mut tick) {
            Some(status) => return Ended::Exit(status),
            // It may have ended by itself meanwhile: then there is nobody to tell.
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
        // What it says goes where this program's events go: an answer on stdout would be no event.
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

/// How it ended, in words.
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
