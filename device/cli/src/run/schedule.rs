//! When a device checks for updates.

use std::time::Duration;

/// The upper limit of the first wait after a failure.
const FIRST_WAIT: Duration = Duration::from_mins(1);

/// How often a device checks. `chance` is a random number from 0 to 1, a new one for each call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// The interval between checks.
    pub every: Duration,
    /// The most random time added to a wait, so that devices don't check all at once.
    pub jitter: Duration,
}

impl Pace {
    /// The wait after a start: after a power failure, a whole town starts at once.
    pub fn first(self, chance: f64) -> Duration {
        self.jitter.mul_f64(chance)
    }

    /// The wait after a check, when this many checks in a row have failed. A failed check is
    /// repeated earlier than usual, with a growing wait that never exceeds the usual interval.
    pub fn next(self, failed: u32, chance: f64) -> Duration {
        match failed.checked_sub(1) {
            None => self.every + self.jitter.mul_f64(chance),
            Some(before) => {
                let most = FIRST_WAIT.saturating_mul(1 << before.min(20)).min(self.every);
                most.mul_f64(0.5 + chance / 2.0)
            }
        }
    }

    /// The wait after a window of this length opens. It must leave time in the window.
    pub fn window(self, length: Duration, chance: f64) -> Duration {
        self.jitter.min(length / 2).mul_f64(chance)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn waits(every in 1..200_000_u64, jitter in 0..200_000_u64, failed in 0..100_u32, chance in 0.0..=1.0) {
            let pace = Pace { every: Duration::from_secs(every), jitter: Duration::from_secs(jitter) };
            prop_assert!(pace.first(chance) <= pace.jitter);
            let wait = pace.next(failed, chance);
            if failed == 0 {
                prop_assert!(wait >= pace.every && wait <= pace.every + pace.jitter);
            } else {
                prop_assert!(wait <= pace.every && wait >= pace.every.min(FIRST_WAIT) / 2, "{wait:?}");
                prop_assert!(pace.next(failed + 1, chance) >= wait);
            }
            prop_assert!(pace.window(pace.every, chance) <= pace.jitter.min(pace.every / 2));
        }
    }
}
