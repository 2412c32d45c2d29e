//! How often, and for how long, a device tries.

use std::thread;
use std::time::{Duration, Instant};

use aws_lc_rs::rand;

/// The first wait is at most this long, and each one after it at most twice as long as the one before.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// No wait is longer.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// To have come so many bytes further is to get somewhere: a byte with each connection is not.
pub const SOME_WAY: u64 = 16 << 10;

/// How often, and for how long, a device tries.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// So often in a row without getting anywhere.
    tries: u32,
    /// Not beyond this.
    deadline: Instant,
    failed: u32,
}

impl Patience {
    pub fn new(tries: u32, deadline: Instant) -> Self {
        Self { tries, deadline, failed: 0 }
    }

    /// Whether to try again, after a wait. Half of it is by chance (jitter), so that devices that failed together don't come back together; the other half
    /// isn't, so that ten tries last longer than a restart or a sign-in somewhere on the way.
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

    /// It got somewhere: the count begins anew.
    pub fn progressed(&mut self) {
        self.failed = 0;
    }
}

#[expect(clippy::disallowed_methods, reason = "the edge: a device waits by its own monotonic clock")]
pub fn now() -> Instant {
    Instant::now()
}

/// From 0 to 1. Without randomness it is the whole.
pub fn random_part() -> f64 {
    let mut bytes = [0; 4];
    match rand::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 1.0,
    }
}
