//! Notifies systemd (`sd_notify(3)`), if it listens.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use crate::patience::now;

/// Notifies systemd. Does nothing if nobody listens.
#[derive(Debug, Default)]
pub struct Supervisor {
    socket: Option<(UnixDatagram, SocketAddr)>,
    /// The interval between signs of life: half of the time after which systemd stops the program.
    alive_every: Option<Duration>,
    alive_at: Option<Instant>,
}

impl Supervisor {
    /// The supervisor of this process, if any.
    #[expect(
        clippy::disallowed_methods,
        reason = "the edge: systemd says by the environment where it listens"
    )]
    pub fn of_this_process() -> Self {
        let socket = std::env::var_os("NOTIFY_SOCKET").and_then(|name| {
            let address = match name.as_bytes() {
                [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
                _ => SocketAddr::from_pathname(&name),
            };
            Some((UnixDatagram::unbound().ok()?, address.ok()?))
        });
        let is_for_us =
            std::env::var("WATCHDOG_PID").map_or(true, |pid| pid == std::process::id().to_string());
        let watchdog =
            std::env::var("WATCHDOG_USEC").ok().and_then(|microseconds| microseconds.parse().ok());
        let alive_every =
            watchdog.filter(|_| is_for_us).map(|most| Duration::from_micros(most) / 2);
        Self { socket, alive_every, alive_at: None }
    }

    /// Sends a notification: `READY=1`, `STATUS=…` or `STOPPING=1`.
    pub fn tell(&self, what: &str) {
        if let Some((socket, address)) = &self.socket {
            // A supervisor that has stopped listening misses it.
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

    /// The longest time between two calls of [`Self::alive`].
    pub fn longest_wait(&self) -> Duration {
        self.alive_every.unwrap_or(Duration::MAX)
    }
}
