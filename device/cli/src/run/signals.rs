//! Receives signals, and waits for them.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::{flag, low_level};

/// SIGTERM and SIGINT end the program in an orderly way; SIGUSR1 starts a check now.
#[derive(Debug)]
pub struct Signals {
    /// Receives a byte for each signal.
    wake: UnixStream,
    ends: Arc<AtomicBool>,
    checks: Arc<AtomicBool>,
}

impl Signals {
    /// Catches these signals, so that they don't end the process.
    pub fn catch() -> io::Result<Self> {
        let (wake, sender) = UnixStream::pair()?;
        let (ends, checks) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        for (signal, asked) in [(SIGTERM, &ends), (SIGINT, &ends), (SIGUSR1, &checks)] {
            flag::register(signal, Arc::clone(asked))?;
            low_level::pipe::register(signal, sender.try_clone()?)?;
        }
        Ok(Self { wake, ends, checks })
    }

    /// Waits this long, or until a signal arrives.
    pub fn wait(&self, longest: Duration) {
        // A timeout of zero would mean none.
        let waited = self.wake.set_read_timeout(Some(longest.max(Duration::from_millis(1))));
        if waited.is_ok() {
            _ = (&self.wake).read(&mut [0; 64]);
        }
    }

    /// Whether the program must end.
    pub fn ends(&self) -> bool {
        self.ends.load(Ordering::Relaxed)
    }

    /// Whether a check was requested since the last call.
    pub fn take_check(&self) -> bool {
        self.checks.swap(false, Ordering::Relaxed)
    }
}
