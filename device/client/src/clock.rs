//! The time that counts: for devices whose clock starts in 1970.

use core::time::Duration;

use tufline_metadata::Time;

/// What the time is, as far as a device knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// When this update began, by the device's own clock (TUF specification 5.1).
    pub now: Time,
    /// What the time can't be before. `None` believes the device's clock, whatever it says.
    pub floor: Option<Floor>,
}

/// What the time can't be before, where the device's clock is plainly wrong: before the device's program was built.
///
/// It comes from what was built and signed, and never from a clock, so that no clock that ran ahead once can make everything expire from then on. A clock
/// that is behind can still hide an expiry, by as long as it is behind the newest timestamp that the device saw. A clock that isn't plainly wrong is believed, so that
/// one timestamp that expires too late, by mistake or by a thief of its key, doesn't stop devices with a good clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Floor {
    /// When the device's program was built.
    pub built: Time,
    /// How long a timestamp of this repository is valid at most: its expiry less this is no later than when it was signed.
    pub longest_timestamp: Duration,
}

impl Clock {
    /// The time that counts, where the newest verified timestamp expires then.
    pub(crate) fn time(&self, timestamp_expires: Option<Time>) -> Time {
        let Some(floor) = self.floor.filter(|floor| self.now < floor.built) else { return self.now };
        let signed = timestamp_expires.and_then(|expires| expires.checked_sub(floor.longest_timestamp).ok());
        signed.map_or(floor.built, |signed| signed.max(floor.built))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Time {
        text.parse().unwrap()
    }

    #[test]
    fn a_clock_that_is_plainly_wrong_is_put_forward_and_others_are_left() {
        let floor = Floor { built: time("2026-01-01T00:00:00Z"), longest_timestamp: Duration::from_hours(24) };
        let clock = |now: &str, floor| Clock { now: time(now), floor };
        let expires = Some(time("2026-06-02T00:00:00Z"));
        for (now, floor, expires, counts) in [
            ("1970-01-01T00:00:00Z", Some(floor), None, "2026-01-01T00:00:00Z"),
            ("1970-01-01T00:00:00Z", Some(floor), expires, "2026-06-01T00:00:00Z"),
            ("2026-02-01T00:00:00Z", Some(floor), expires, "2026-02-01T00:00:00Z"),
            ("2026-07-01T00:00:00Z", Some(floor), expires, "2026-07-01T00:00:00Z"),
            ("2126-07-01T00:00:00Z", Some(floor), expires, "2126-07-01T00:00:00Z"),
            ("1970-01-01T00:00:00Z", None, expires, "1970-01-01T00:00:00Z"),
            (
                "1970-01-01T00:00:00Z",
                Some(Floor { longest_timestamp: Duration::MAX, ..floor }),
                expires,
                "2026-01-01T00:00:00Z",
            ),
        ] {
            assert_eq!(clock(now, floor).time(expires), time(counts), "{now} {floor:?} {expires:?}");
        }
    }
}
