//! The time by which expiry is judged, also on devices whose clock starts in 1970.

use core::time::Duration;

use tufline_metadata::Time;

/// The current time, as far as the device knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// When this update began, by the device's own clock (TUF specification 5.1).
    pub now: Time,
    /// A lower bound of the time. With `None` the device's clock is believed, whatever it says.
    pub floor: Option<Floor>,
}

/// A lower bound of the time. It counts where the device's clock is plainly wrong, that is, shows a
/// time before the device's program was built.
///
/// The bound comes from what was built and signed, never from a clock. So a clock that once ran
/// ahead can't make everything expire from then on. A clock that is behind can still hide an
/// expiry, by as long as it is behind the newest timestamp that the device saw. A clock that isn't
/// plainly wrong is believed. So one timestamp that expires too late, by mistake or because a thief
/// signed it, doesn't stop devices with a good clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Floor {
    /// When the device's program was built.
    pub built: Time,
    /// The longest validity of a timestamp in this repository. A timestamp's expiry less this
    /// duration is no later than the time at which it was signed.
    pub longest_timestamp: Duration,
}

impl Clock {
    /// The time by which expiry is judged, if the newest verified timestamp expires at
    /// `timestamp_expires`.
    pub(crate) fn time(&self, timestamp_expires: Option<Time>) -> Time {
        let Some(floor) = self.floor.filter(|floor| self.now < floor.built) else {
            return self.now;
        };
        let signed =
            timestamp_expires.and_then(|expires| expires.checked_sub(floor.longest_timestamp).ok());
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
        let floor = Floor {
            built: time("2026-01-01T00:00:00Z"),
            longest_timestamp: Duration::from_hours(24),
        };
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
            assert_eq!(
                clock(now, floor).time(expires),
                time(counts),
                "{now} {floor:?} {expires:?}"
            );
        }
    }
}
