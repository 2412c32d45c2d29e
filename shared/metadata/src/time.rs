//! Reads the times in metadata.

use alloc::format;

/// A point in time.
pub type Time = jiff::Timestamp;

/// The time in `expires`: RFC 3339 with any offset and any fraction. The specification's own form
/// has neither (4.2.1), but go-tuf reads and writes both.
#[must_use]
pub(crate) fn read(text: &str) -> Option<Time> {
    // No client reads more than RFC 3339 allows, such as the name of a zone.
    let plain = |byte: u8| byte.is_ascii_digit() || b"-+:.TtZz".contains(&byte);
    if !text.bytes().all(plain) {
        return None;
    }
    let last_days = || {
        // The last day of the year 9999 means "never", and is slightly later than the last time
        // that this type can hold.
        let year_before = text.strip_prefix("9999-12-3").map(|rest| format!("9998-12-3{rest}"))?;
        year_before.parse::<Time>().ok().map(|_| Time::MAX)
    };
    text.parse().ok().or_else(last_days)
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    #[test]
    fn what_clients_write_is_read() {
        for (text, time) in [
            ("2030-01-02T03:04:05Z", Some("2030-01-02T03:04:05Z")),
            ("2030-01-02T03:04:05.5Z", Some("2030-01-02T03:04:05.5Z")),
            ("2030-01-02T03:04:05.123456789+01:00", Some("2030-01-02T02:04:05.123456789Z")),
            ("2030-01-02T03:04:05-08:00", Some("2030-01-02T11:04:05Z")),
            ("9999-12-31T23:59:59Z", Some("9999-12-30T22:00:00.999999999Z")),
            ("9999-12-32T23:59:59Z", None),
            ("2030-01-02T03:04:05", None),
            ("2030-01-02", None),
            ("2030-13-02T03:04:05Z", None),
            ("2030-01-02T03:04:05Z[UTC]", None),
            ("", None),
        ] {
            assert_eq!(read(text).map(|time| time.to_string()).as_deref(), time, "{text}");
        }
    }
}
