//! Retries with growing random waits.

use std::thread;
use std::time::{Duration, Instant};

use aws_lc_rs::rand;

/// The upper limit of the first wait. Each later limit is twice the one before.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// The longest wait between two tries.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// The bytes that count as progress. A server that sends a byte with each connection makes none.
pub const SOME_WAY: u64 = 16 << 10;

/// Counts the failures of one request, and decides whether to try again.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// The most tries in a row without progress.
    tries: u32,
    /// No try begins after this.
    deadline: Instant,
    failed: u32,
}

impl Patience {
    pub fn new(tries: u32, deadline: Instant) -> Self {
        Self { tries, deadline, failed: 0 }
    }

    /// Waits and returns `true`, or returns `false` if the device must give up. Half of the wait is
    /// random (jitter), so that devices that failed together don't come back together. The other
    /// half is fixed, so that ten tries outlast a restart or a sign-in on the way.
    pub fn again(&mut self) -> bool {
        self.failed += 1;
        let most = FIRST_WAIT.saturating_mul(1 << self.failed.min(16)).min(LONGEST_WAIT) / 2;
        let wait = (most + most.mul_f64(random_part())) / 2;
        if self.failed >= self.tries || now() + wait >= self.deadline {
            return false;
        }
        thread::sleep(wait);
        true
    }

    /// Resets the count, after progress.
    pub fn progressed(&mut self) {
        self.failed = 0;
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the edge: a device waits by its own monotonic clock"
)]
pub fn now() -> Instant {
    Instant::now()
}

/// A random number from 0 to 1; 1 if the system has no randomness.
pub fn random_part() -> f64 {
    let mut bytes = [0; 4];
    match rand::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 1.0,
    }
}
