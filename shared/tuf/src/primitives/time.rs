//! Times as TUF writes them: whole seconds, ending in `Z` (TUF specification 4.2).

use jiff::Unit;
pub use tufline_metadata::Time;

/// `time` cut off to whole seconds: some clients refuse an `expires` with a fraction.
#[must_use]
pub fn whole_seconds(time: Time) -> Time {
    time.round(jiff::TimestampRound::new().smallest(Unit::Second).mode(jiff::RoundMode::Trunc))
        .unwrap_or(time)
}

/// `time` plus `seconds`, cut off to whole seconds; the last time that can be written if that is
/// too late.
#[must_use]
pub fn after(time: Time, seconds: u64) -> Time {
    let span = jiff::SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
    whole_seconds(time.checked_add(span).unwrap_or(Time::MAX))
}

/// The seconds from `from` to `to`, negative when `to` is earlier.
#[must_use]
pub fn seconds_between(from: Time, to: Time) -> i64 {
    to.as_second() - from.as_second()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expiries_have_no_fraction() {
        let time: Time = "2026-11-25T10:00:00.987654321Z".parse().unwrap();
        assert_eq!(after(time, 60).to_string(), "2026-11-25T10:01:00Z");
        assert_eq!(seconds_between(time, after(time, 60)), 60);
        assert_eq!(after(Time::MAX, 60), whole_seconds(Time::MAX));
    }
}
