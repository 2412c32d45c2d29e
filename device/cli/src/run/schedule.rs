//! When a device asks.

use std::time::Duration;

/// The first wait after a failure, before chance takes a part of it.
const FIRST_WAIT: Duration = Duration::from_mins(1);

/// When a device asks. Chance is a number from 0 to 1, another one each time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// It asks so often.
    pub every: Duration,
    /// It waits so much longer at most, by chance, so that devices don't ask all at once.
    pub jitter: Duration,
}

impl Pace {
    /// How long it waits when it starts: after a power cut a whole town starts at once.
    pub fn first(self, chance: f64) -> Duration {
        self.jitter.mul_f64(chance)
    }

    /// How long it waits after it asked, where so many tries failed in a row. A failure is tried
    /// again earlier, and later each time, but never later than the next check would be.
    pub fn next(self, failed: u32, chance: f64) -> Duration {
        match failed.checked_sub(1) {
            None => self.every + self.jitter.mul_f64(chance),
            Some(before) => {
                let most = FIRST_WAIT.saturating_mul(1 << before.min(20)).min(self.every);
                most.mul_f64(0.5 + chance / 2.0)
            }
        }
    }

    /// How long it waits when a window opens that is open for so long: it must still have time in
    /// it.
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
