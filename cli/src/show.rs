//! How numbers are shown to people.

use std::time::Duration;

use tufline_tuf::{Sha256, Time, time};

/// `"1 target"`, `"2 targets"`.
pub fn count(number: u64, thing: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{ending}")
}

/// A length in bytes: `"950 B"`, `"1.5 kB"`, `"28.4 MB"`.
#[expect(clippy::cast_precision_loss, reason = "it is rounded to one decimal anyway")]
pub fn bytes(length: u64) -> String {
    if length < 1000 {
        return format!("{length} B");
    }
    let mut value = length as f64 / 1000.0;
    for unit in ["kB", "MB", "GB"] {
        if value < 999.95 {
            return format!("{value:.1} {unit}");
        }
        value /= 1000.0;
    }
    format!("{value:.1} TB")
}

/// A short time: `"4.2 ms"`, `"31 ms"`, `"1.24 s"`.
pub fn took(time: Duration) -> String {
    let milliseconds = time.as_secs_f64() * 1000.0;
    if milliseconds < 9.95 {
        format!("{milliseconds:.1} ms")
    } else if milliseconds < 999.5 {
        format!("{milliseconds:.0} ms")
    } else {
        format!("{:.2} s", time.as_secs_f64())
    }
}

/// How long from `now` until `then`, in its two largest units: `"in 6 d 22 h"`, `"42 s ago"`.
pub fn until(now: Time, then: Time) -> String {
    let seconds = time::seconds_between(now, then);
    let left = seconds.unsigned_abs();
    // Rounded to the smaller of the two units, so that a day which has just begun is a day.
    let (large, name, small, small_name) = match left {
        0..60 => (1, "s", 1, ""),
        60..3570 => (60, "min", 1, "s"),
        3570..86_370 => (3600, "h", 60, "min"),
        _ => (86_400, "d", 3600, "h"),
    };
    let rounded = (left + small / 2) / small * small;
    let (whole, rest) = (rounded / large, rounded % large / small);
    let text = if rest == 0 { format!("{whole} {name}") } else { format!("{whole} {name} {rest} {small_name}") };
    if seconds <= 0 { format!("{text} ago") } else { format!("in {text}") }
}

/// The first digits of a digest, or of a key id in hex: enough to compare by eye.
pub fn short(digest: &str) -> String {
    digest.chars().take(12).collect::<String>() + "…"
}

/// [`short`] for a digest.
pub fn digest(sha256: &Sha256) -> String {
    short(&sha256.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths() {
        let shown: Vec<_> =
            [0, 999, 1000, 1550, 999_949, 999_950, 28_400_000, 5_000_000_000_000].map(bytes).into_iter().collect();
        assert_eq!(shown, ["0 B", "999 B", "1.0 kB", "1.6 kB", "999.9 kB", "1.0 MB", "28.4 MB", "5.0 TB"]);
        assert_eq!((count(1, "target"), count(0, "target")), ("1 target".into(), "0 targets".into()));
    }

    #[test]
    fn times() {
        let shown = [0, 4_240, 31_400, 1_240_000].map(|microseconds| took(Duration::from_micros(microseconds)));
        assert_eq!(shown, ["0.0 ms", "4.2 ms", "31 ms", "1.24 s"]);
        let now: Time = "2026-11-25T00:00:00Z".parse().unwrap();
        for (seconds, shown) in [
            (61, "in 1 min 1 s"),
            (86_400, "in 1 d"),
            (59, "in 59 s"),
            (3599, "in 1 h"),
            (5400, "in 1 h 30 min"),
            (86_000, "in 23 h 53 min"),
            (86_400 - 1, "in 1 d"),
            (86_400 * 7 - 7200, "in 6 d 22 h"),
            (86_400 * 7 - 1, "in 7 d"),
            (86_400 + 59, "in 1 d"),
        ] {
            assert_eq!(until(now, time::after(now, seconds)), shown);
        }
        assert_eq!(until(time::after(now, 42), now), "42 s ago");
        assert_eq!(until(now, now), "0 s ago");
    }
}
