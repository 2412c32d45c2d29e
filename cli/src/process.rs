//! Where the process meets the operating system: its environment, its clock, its log, its signals, its threads.

use std::future::Future;
use std::io::IsTerminal;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::EnvFilter;
use tufline_store::Clock;
use tufline_store::SystemClock;
use tufline_tuf::Time;

/// The environment variable `name`; `None` where it is not set, empty, or not UTF-8.
#[expect(clippy::disallowed_methods, reason = "this is the edge where the environment is read")]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The time, for the signatures of requests.
#[expect(clippy::disallowed_methods, reason = "this is the edge where the clock is read")]
pub fn system_time() -> SystemTime {
    SystemTime::now()
}

/// Now.
pub fn now() -> Time {
    SystemClock.now()
}

/// Begins the log, on standard error: what `RUST_LOG` says, or `default`. What is logged is written while the answer lives.
///
/// *Invariant*: whatever becomes of standard error, the process goes on: a disk that is full, a reader that is gone, or one that doesn't read.
/// Lines that nobody takes are lost, if there are too many.
pub fn log(default: &str) -> WorkerGuard {
    let filter = variable("RUST_LOG").map_or_else(|| EnvFilter::new(default), EnvFilter::new);
    let (writer, guard) = tracing_appender::non_blocking(std::io::stderr());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .log_internal_errors(false)
        .compact()
        .init();
    guard
}

/// How many files the process may have open, sockets with them: as many as the system lets it raise that to
/// (<https://man7.org/linux/man-pages/man2/getrlimit.2.html>).
pub fn most_open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let Some(hard) = limit.maximum.filter(|hard| Some(*hard) != limit.current) else {
        return limit.current.unwrap_or(u64::MAX);
    };
    match setrlimit(Resource::Nofile, Rlimit { current: Some(hard), ..limit }) {
        Ok(()) => hard,
        Err(_) => limit.current.unwrap_or(u64::MAX),
    }
}

/// Runs a command to its end.
///
/// File operations block a thread each, so there may be several; idle ones go, for the memory that they hold.
pub fn run<T>(command: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(64)
        .thread_keep_alive(Duration::from_secs(2))
        .enable_all()
        .build()
        .context("cannot start: the system gives no threads")?;
    let result = runtime.block_on(command);
    // What still blocks has been answered for, or never will be.
    runtime.shutdown_background();
    result
}

/// The signals that ask the process to stop: SIGINT and SIGTERM.
pub struct StopSignal {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignal {
    /// From now on the signals no longer end the process by themselves.
    pub fn take() -> anyhow::Result<Self> {
        let take = |kind| signal(kind).context("cannot take the stop signals");
        Ok(Self { interrupt: take(SignalKind::interrupt())?, terminate: take(SignalKind::terminate())? })
    }

    /// Returns when the process is asked to stop.
    pub async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
