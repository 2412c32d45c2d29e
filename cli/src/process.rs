//! The process and the operating system: environment, clock, log, open files, threads and signals.

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

/// The environment variable `name`; `None` if it is unset, empty, or not UTF-8.
#[expect(clippy::disallowed_methods, reason = "this is the edge where the environment is read")]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The current time, for the signatures of requests.
#[expect(clippy::disallowed_methods, reason = "this is the edge where the clock is read")]
pub fn system_time() -> SystemTime {
    SystemTime::now()
}

/// The current time.
pub fn now() -> Time {
    SystemClock.now()
}

/// Starts the log on standard error, with the filter in `RUST_LOG`, or `default`. Log lines are
/// written as long as the returned guard lives.
///
/// *Invariant*: the process goes on whatever happens to standard error: a full disk, a reader that
/// is gone, or one that doesn't read. If too many lines wait, further lines are lost.
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

/// How many files, sockets included, the process may have open. It first raises its limit as far as
/// the system allows (<https://man7.org/linux/man-pages/man2/getrlimit.2.html>).
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
/// Each file operation blocks a thread, so there may be several. Idle threads end soon, since they
/// hold memory.
pub fn run<T>(command: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(64)
        .thread_keep_alive(Duration::from_secs(2))
        .enable_all()
        .build()
        .context("cannot start: the system provides no threads")?;
    let result = runtime.block_on(command);
    // The command has its result: it doesn't wait for a thread that still blocks.
    runtime.shutdown_background();
    result
}

/// The signals that ask the process to stop: SIGINT and SIGTERM.
pub struct StopSignal {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignal {
    /// Takes over both signals: from now on they no longer end the process by themselves.
    pub fn take() -> anyhow::Result<Self> {
        let take = |kind| signal(kind).context("cannot handle the stop signals");
        Ok(Self {
            interrupt: take(SignalKind::interrupt())?,
            terminate: take(SignalKind::terminate())?,
        })
    }

    /// Waits until one of them arrives.
    pub async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
