//! Parses the range of a blob that a device asks for (RFC 9110, section 14).

use std::ops::Range;

/// The bytes that a `Range` field asks for, of an object with `length` bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestedRange {
    /// All bytes. There is no field, or it is not a single range of bytes and may be ignored
    /// (section 14.2).
    Whole,
    /// These bytes, at least one.
    Part(Range<u64>),
    /// Bytes that do not exist: answer 416.
    Unsatisfiable,
}

impl RequestedRange {
    /// Parses the field's value; `None` if there is no such field.
    #[must_use]
    pub fn of(field: Option<&str>, length: u64) -> Self {
        let Some(field) = field else { return Self::Whole };
        let Some((first, last)) =
            field.trim().strip_prefix("bytes=").and_then(|range| range.trim().split_once('-'))
        else {
            return Self::Whole;
        };
        let range = match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(length),
            (Some(first), None) if last.is_empty() => first..length,
            (None, Some(suffix)) if first.is_empty() => length.saturating_sub(suffix)..length,
            _ => return Self::Whole,
        };
        if range.is_empty() { Self::Unsatisfiable } else { Self::Part(range) }
    }
}

fn number(digits: &str) -> Option<u64> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    // A number that does not fit is beyond any length.
    (plain && !digits.is_empty()).then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_ranges_are_read() {
        for (field, wanted) in [
            ("bytes=0-0", RequestedRange::Part(0..1)),
            ("bytes=2-", RequestedRange::Part(2..10)),
            ("bytes=2-4", RequestedRange::Part(2..5)),
            ("bytes=2-99", RequestedRange::Part(2..10)),
            ("bytes=-3", RequestedRange::Part(7..10)),
            ("bytes=-99", RequestedRange::Part(0..10)),
            ("bytes=0-99999999999999999999999", RequestedRange::Part(0..10)),
            ("bytes=10-", RequestedRange::Unsatisfiable),
            ("bytes=99999999999999999999999-", RequestedRange::Unsatisfiable),
            ("bytes=-0", RequestedRange::Unsatisfiable),
            ("bytes=4-2", RequestedRange::Whole),
            ("bytes=0-1,3-4", RequestedRange::Whole),
            ("bytes=-", RequestedRange::Whole),
            ("bytes=+1-2", RequestedRange::Whole),
            ("lines=0-1", RequestedRange::Whole),
            ("", RequestedRange::Whole),
        ] {
            assert_eq!(RequestedRange::of(Some(field), 10), wanted, "{field}");
        }
        assert_eq!(RequestedRange::of(None, 10), RequestedRange::Whole);
        assert_eq!(RequestedRange::of(Some("bytes=0-"), 0), RequestedRange::Unsatisfiable);
    }
}
