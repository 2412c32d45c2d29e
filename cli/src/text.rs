//! Formats paths, counts, lengths, times and digests for people.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tufline_tuf::{Sha256, Time, plain, time};

/// Quotes paths in messages, so that they can be pasted into a shell.
pub trait Quoted {
    /// The path as a shell reads it, see [`path`].
    fn quoted(&self) -> String;
}

impl Quoted for Path {
    fn quoted(&self) -> String {
        path(self)
    }
}

/// A path as a shell reads it, quoted if necessary, so that it can be pasted. If a terminal doesn't
/// show it as it is, or if it isn't UTF-8, it takes the form `$'\377'` (bash, zsh and POSIX 2024,
/// XCU 2.2.4).
pub fn path(path: &Path) -> String {
    let is_safe = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-+@%:,=".contains(byte);
    let bytes = path.as_os_str().as_bytes();
    // A leading dash would make it an option.
    let here = if bytes.first() == Some(&b'-') { "./" } else { "" };
    match path.to_str() {
        Some(text) if !bytes.is_empty() && bytes.iter().all(is_safe) => format!("{here}{text}"),
        Some(text) if text.chars().all(plain::is_plain) => {
            format!("{here}'{}'", text.replace('\'', r"'\''"))
        }
        _ => {
            let escaped = bytes.iter().map(|byte| match byte {
                b'\'' | b'\\' => format!("\\{}", char::from(*byte)),
                b' '..=b'~' => char::from(*byte).to_string(),
                // Always three digits: the next character may be a digit too.
                _ => format!("\\{byte:03o}"),
            });
            format!("{here}$'{}'", escaped.collect::<String>())
        }
    }
}

/// JSON in which all characters that are not plain are escaped.
pub fn plain_json(value: &Value) -> String {
    let json = value.to_string();
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        if plain::is_plain(character) {
            text.push(character);
        } else {
            // Outside strings JSON has only plain characters.
            text.extend(
                character.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")),
            );
        }
    }
    text
}

/// Escapes characters that are not plain, but leaves backslashes as they are.
pub fn escaped_once(line: &str) -> String {
    plain::escaped(line).replace("\\\\", "\\")
}

/// A count with its noun: `"1 target"`, `"2 targets"`.
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

/// The time from `now` until `then`, in its two largest units: `"in 6 d 22 h"`, `"42 s ago"`.
pub fn until(now: Time, then: Time) -> String {
    let seconds = time::seconds_between(now, then);
    let left = seconds.unsigned_abs();
    // Rounded to the smaller of the two units, so that 23 h 59 min 59 s reads as one day.
    let (large, name, small, small_name) = match left {
        0..60 => (1, "s", 1, ""),
        60..3570 => (60, "min", 1, "s"),
        3570..86_370 => (3600, "h", 60, "min"),
        _ => (86_400, "d", 3600, "h"),
    };
    let rounded = (left + small / 2) / small * small;
    let (whole, rest) = (rounded / large, rounded % large / small);
    let text = if rest == 0 {
        format!("{whole} {name}")
    } else {
        format!("{whole} {name} {rest} {small_name}")
    };
    if seconds <= 0 { format!("{text} ago") } else { format!("in {text}") }
}

/// The first 12 digits of a digest or a key id in hex, to recognise it. People who compare keys need
/// more: [`tufline_tuf::root::short_id`].
pub fn short(digest: &str) -> String {
    digest.chars().take(12).collect::<String>() + "…"
}

/// The first 12 digits of a digest, see [`short`].
pub fn digest(sha256: &Sha256) -> String {
    short(&sha256.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn json_keeps_its_meaning_and_is_plain() {
        let text = "a\u{1b}[2K\u{202e}\u{7f}\u{e0041}\\é\n\"";
        let json = plain_json(&serde_json::json!([text]));
        assert!(json.chars().all(plain::is_plain), "{json}");
        assert_eq!(serde_json::from_str::<[String; 1]>(&json).unwrap(), [text]);
    }

    #[test]
    fn what_was_escaped_is_not_escaped_again() {
        assert_eq!(
            escaped_once(&format!("a {} b\u{1b}", plain::escaped("\u{1b}\\"))),
            "a \\u{1b}\\\\ b\\u{1b}"
        );
    }

    proptest! {
        /// A shell reads back the same path; a terminal or a log sees plain text.
        #[test]
        fn a_path_can_be_pasted(bytes in prop::collection::vec(prop_oneof![Just(b'\\'), Just(b'\''), Just(b'-'), Just(b'$'), 1..=255_u8], 0..12)) {
            let given = Path::new(std::ffi::OsStr::from_bytes(&bytes));
            let line = escaped_once(&path(given));
            prop_assert!(line.chars().all(plain::is_plain), "{line}");
            let read = std::process::Command::new("bash").args(["-c", &format!("printf %s {line}")]).output().unwrap().stdout;
            let read = read.strip_prefix(b"./").filter(|_| bytes.first() == Some(&b'-')).unwrap_or(&read);
            prop_assert_eq!(read, &bytes[..], "{}", line);
        }
    }

    #[test]
    fn a_path_is_quoted_where_it_must_be() {
        let shown = ["a/b.json", "My Repo", "a'b", "-x", "", "é", "a\n"]
            .map(|given| path(Path::new(given)));
        assert_eq!(shown, ["a/b.json", "'My Repo'", r"'a'\''b'", "./-x", "''", "'é'", r"$'a\012'"]);
    }

    #[test]
    fn lengths() {
        let shown: Vec<_> = [0, 999, 1000, 1550, 999_949, 999_950, 28_400_000, 5_000_000_000_000]
            .map(bytes)
            .into_iter()
            .collect();
        assert_eq!(
            shown,
            ["0 B", "999 B", "1.0 kB", "1.6 kB", "999.9 kB", "1.0 MB", "28.4 MB", "5.0 TB"]
        );
        assert_eq!(
            (count(1, "target"), count(0, "target")),
            ("1 target".into(), "0 targets".into())
        );
    }

    #[test]
    fn times() {
        let shown = [0, 4_240, 31_400, 1_240_000]
            .map(|microseconds| took(Duration::from_micros(microseconds)));
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
