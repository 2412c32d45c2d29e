//! What systemd is told (`sd_notify(3)`), where it listens.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use crate::patience::now;

/// What systemd is told. It does nothing where nobody listens.
#[derive(Debug, Default)]
pub struct Supervisor {
    socket: Option<(UnixDatagram, SocketAddr)>,
    /// A sign of life is due so often: at half of the time after which systemd ends the program.
    alive_every: Option<Duration>,
    alive_at: Option<Instant>,
}

impl Supervisor {
    /// The one that started this process, if any.
    #[expect(clippy::disallowed_methods, reason = "the edge: systemd says by the environment where it listens")]
    pub fn of_this_process() -> Self {
        let socket = std::env::var_os("NOTIFY_SOCKET").and_then(|name| {
            let address = match name.as_bytes() {
                [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
                _ => SocketAddr::from_pathname(&name),
            };
            Some((UnixDatagram::unbound().ok()?, address.ok()?))
        });
        let is_for_us = std::env::var("WATCHDOG_PID").map_or(true, |pid| pid == std::process::id().to_string());
        let watchdog = std::env::var("WATCHDOG_USEC").ok().and_then(|microseconds| microseconds.parse().ok());
        let alive_every = watchdog.filter(|_| is_for_us).map(|most| Duration::from_micros(most) / 2);
        Self { socket, alive_every, alive_at: None }
    }

    /// `READY=1`, `STATUS=…`, `STOPPING=1`.
    pub fn tell(&self, what: &str) {
        if let Some((socket, address)) = &self.socket {
            // Who doesn't listen any more misses it.
            _ = socket.send_to_addr(what.as_bytes(), address);
        }
    }

    /// Gives a sign of life, if one is due.
    pub fn alive(&mut self) {
        let Some(every) = self.alive_every else { return };
        if self.alive_at.is_none_or(|last| now().duration_since(last) >= every) {
            self.alive_at = Some(now());
            self.tell("WATCHDOG=1");
        }
    }

    /// No longer than this may pass between two calls of [`Self::alive`].
    pub fn longest_wait(&self) -> Duration {
        self.alive_every.unwrap_or(Duration::MAX)
    }
}
