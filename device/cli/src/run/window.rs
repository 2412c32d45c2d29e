//! The windows in which a device may install.

use std::str::FromStr;
use std::time::Duration;

use jiff::civil::{DateTime, Time, Weekday};
use serde::Deserialize;

const DAY: u16 = 24 * 60;
const WEEK: [(&str, Weekday); 7] = [
    ("Mon", Weekday::Monday),
    ("Tue", Weekday::Tuesday),
    ("Wed", Weekday::Wednesday),
    ("Thu", Weekday::Thursday),
    ("Fri", Weekday::Friday),
    ("Sat", Weekday::Saturday),
    ("Sun", Weekday::Sunday),
];

/// A maintenance window: `"02:00-05:00"`, `"Sat,Sun 22:00-04:00"`, `"Mon-Fri 01:00-02:00"`.
///
/// The window is open while a wall clock shows a time in it, excluding its end. The days are those
/// on which it opens; a window that passes midnight ends on the next day. If clocks are set forward
/// during a window, it is shorter or doesn't open; if they are set back, it is longer.
///
/// ```
/// use tufline_device::Window;
///
/// assert!("Sat,Sun 22:00-04:00".parse::<Window>().is_ok());
/// assert!("22:00".parse::<Window>().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Window {
    /// One entry for each day, from Monday on.
    days: [bool; 7],
    /// Minutes of the day.
    from: u16,
    to: u16,
}

impl Window {
    /// Whether the window is open at this local time.
    pub(crate) fn is_open(&self, at: DateTime) -> bool {
        let minute = minute_of(at.time());
        let today = usize::from(at.weekday().to_monday_zero_offset().unsigned_abs());
        let on = |day: usize| self.days.get(day % 7).copied().unwrap_or_default();
        if self.from < self.to {
            on(today) && (self.from..self.to).contains(&minute)
        } else {
            (on(today) && minute >= self.from) || (on(today + 6) && minute < self.to)
        }
    }

    /// How long until the window opens, if nobody sets the clock.
    pub(crate) fn opens_in(&self, at: DateTime) -> Duration {
        if self.is_open(at) {
            return Duration::ZERO;
        }
        let midnight = at.date().to_datetime(Time::midnight());
        let passed = Duration::from_secs(
            u64::from(minute_of(at.time())) * 60 + u64::from(at.second().unsigned_abs()),
        );
        let opening = |days: u64| {
            let opens = Duration::from_mins(days * u64::from(DAY) + u64::from(self.from));
            let is_open = midnight.checked_add(opens).is_ok_and(|opening| self.is_open(opening));
            opens.checked_sub(passed).filter(|_| is_open)
        };
        (0..=7).find_map(opening).unwrap_or_default()
    }

    /// How long the window stays open.
    pub(crate) fn length(&self) -> Duration {
        Duration::from_mins(u64::from((self.to + DAY - self.from - 1) % DAY + 1))
    }
}

fn minute_of(time: Time) -> u16 {
    u16::from(time.hour().unsigned_abs()) * 60 + u16::from(time.minute().unsigned_abs())
}

impl TryFrom<String> for Window {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for Window {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let not_one = || {
            format!(
                "'{text}' is no window: write \"02:00-05:00\", or \"Sat,Sun 22:00-04:00\" with days before it"
            )
        };
        let (days, times) = text
            .trim()
            .rsplit_once(' ')
            .map_or((None, text.trim()), |(days, times)| (Some(days), times));
        let (from, to) = times.split_once('-').ok_or_else(not_one)?;
        let from = minutes(from).filter(|from| *from < DAY).ok_or_else(not_one)?;
        let to = minutes(to).ok_or_else(not_one)?;
        if from == to {
            return Err(format!("the window '{text}' is never open: leave it out for any time"));
        }
        let days = days.map_or(Some([true; 7]), read_days).ok_or_else(not_one)?;
        Ok(Self { days, from, to })
    }
}

/// The minute of the day: `"02:30"`; `"24:00"` is the end of a day.
fn minutes(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    if hours.len() != 2
        || minutes.len() != 2
        || !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b':')
    {
        return None;
    }
    let (hours, minutes): (u16, u16) = (hours.parse().ok()?, minutes.parse().ok()?);
    Some(hours * 60 + minutes).filter(|all| minutes < 60 && *all <= DAY)
}

/// The days in `"Mon-Fri"`, `"Sat,Sun"` or `"Fri-Mon,Wed"`.
fn read_days(text: &str) -> Option<[bool; 7]> {
    let number =
        |day: &str| WEEK.iter().position(|(name, _)| name.eq_ignore_ascii_case(day.trim()));
    let mut days = [false; 7];
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        for offset in 0..=(last + 7 - first) % 7 {
            *days.get_mut((first + offset) % 7)? = true;
        }
    }
    Some(days)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn window(text: &str) -> Window {
        text.parse().unwrap()
    }

    fn at(text: &str) -> DateTime {
        text.parse().unwrap()
    }

    /// 2026-11-30 is a Monday.
    #[test]
    fn open_and_closed() {
        for (text, time, is_open) in [
            ("02:00-05:00", "2026-11-30T01:59:59", false),
            ("02:00-05:00", "2026-11-30T02:00:00", true),
            ("02:00-05:00", "2026-11-30T04:59:59", true),
            ("02:00-05:00", "2026-11-30T05:00:00", false),
            ("00:00-24:00", "2026-11-30T23:59:59", true),
            ("22:00-04:00", "2026-11-30T23:00:00", true),
            ("22:00-04:00", "2026-11-30T03:59:00", true),
            ("22:00-04:00", "2026-11-30T12:00:00", false),
            ("22:00-00:00", "2026-11-30T23:59:59", true),
            ("22:00-00:00", "2026-12-01T00:00:00", false),
            ("Sun 22:00-04:00", "2026-11-30T03:00:00", true),
            ("Sun 22:00-04:00", "2026-11-30T22:00:00", false),
            ("Mon-Fri 01:00-02:00", "2026-11-29T01:30:00", false),
            ("sat,SUN 01:00-02:00", "2026-11-29T01:30:00", true),
            ("Fri-Mon 01:00-02:00", "2026-11-30T01:30:00", true),
            ("Fri-Mon 01:00-02:00", "2026-12-01T01:30:00", false),
        ] {
            assert_eq!(window(text).is_open(at(time)), is_open, "{text} {time}");
        }
    }

    #[test]
    fn how_long_until_it_opens() {
        for (text, time, seconds) in [
            ("02:00-05:00", "2026-11-30T01:00:01", 3599),
            ("02:00-05:00", "2026-11-30T03:00:00", 0),
            ("02:00-05:00", "2026-11-30T06:00:00", 20 * 3600),
            ("Mon 02:00-05:00", "2026-11-30T06:00:00", (6 * 24 + 20) * 3600),
        ] {
            assert_eq!(window(text).opens_in(at(time)).as_secs(), seconds, "{text} {time}");
        }
        assert_eq!(window("22:00-04:30").length(), Duration::from_mins(390));
        assert_eq!(window("00:00-24:00").length(), Duration::from_hours(24));
    }

    #[test]
    fn what_is_no_window() {
        for text in [
            "",
            "02:00",
            "2:00-05:00",
            "02:00-05:60",
            "24:00-05:00",
            "02:00-24:01",
            "+2:00-05:00",
            "Mo 02:00-05:00",
        ] {
            let why = text.parse::<Window>().unwrap_err();
            assert!(why.contains("is no window: write"), "{text}: {why}");
        }
        assert!("03:00-03:00".parse::<Window>().unwrap_err().contains("never open"));
    }

    proptest! {
        /// The window opens when `opens_in` says, and not before.
        #[test]
        fn it_opens_when_it_says(from in 0..1440_u16, length in 1..1440_u16, days in 1..128_u8, minute in 0..10080_i64) {
            let days = std::array::from_fn(|day| days & (1 << day) != 0);
            let window = Window { days, from, to: (from + length) % DAY };
            let now = at("2026-11-30T00:00:00").checked_add(jiff::SignedDuration::from_mins(minute)).unwrap();
            let wait = window.opens_in(now);
            prop_assert!(window.is_open(now.checked_add(wait).unwrap()));
            for minutes in 0..wait.as_secs() / 60 {
                prop_assert!(!window.is_open(now.checked_add(Duration::from_secs(minutes * 60)).unwrap()));
            }
            // The minutes of a week in which it is open, if its days don't touch each other.
            prop_assert_eq!(window.length(), Duration::from_secs(u64::from(length) * 60));
        }
    }
}
