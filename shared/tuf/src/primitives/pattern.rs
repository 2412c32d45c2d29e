//! Path patterns: the names that a delegation covers (TUF specification 4.5, PATHPATTERN).
//!
//! Clients match patterns differently. In python-tuf, tuf-js and go-tuf `*` and `?` don't match
//! `/`, as the specification says. In tough they do. So there are two questions. A party may list
//! only names that all clients look for in its role ([`Pattern::allows`]). Nobody else may list a
//! name that any client looks for there ([`Pattern::reserves`]).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A pattern of names, such as `vendor-x/*`. Its segments are those of [`crate::TargetName`], where
/// `*` stands for any characters and `?` for one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern(String);

/// A pattern that not all clients match alike.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the path pattern '{0}' can't be used: {1}")]
pub struct BadPattern(String, &'static str);

/// The longest pattern, in bytes: as long as the longest target name.
const LONGEST: usize = 240;

impl Pattern {
    /// The pattern as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether every client matches `name` with this pattern.
    #[must_use]
    pub fn allows(&self, name: &str) -> bool {
        let (mut patterns, mut segments) = (self.0.split('/'), name.split('/'));
        loop {
            match (patterns.next(), segments.next()) {
                (None, None) => return true,
                (Some(pattern), Some(segment))
                    if matches(pattern.as_bytes(), segment.as_bytes()) => {}
                _ => return false,
            }
        }
    }

    /// Whether any client matches `name` with this pattern.
    #[must_use]
    pub fn reserves(&self, name: &str) -> bool {
        matches(self.0.as_bytes(), name.as_bytes())
    }

    /// Whether both patterns reserve some name.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let (one, other) = (self.0.as_bytes(), other.0.as_bytes());
        // `below[i]` says whether some text matches both `one[i..]` and the end of `other` that was
        // read so far. At first that end is empty.
        let all_stars = |rest: &[u8]| rest.iter().all(|byte| *byte == b'*');
        let mut below: Vec<bool> =
            (0..=one.len()).map(|from| all_stars(one.get(from..).unwrap_or_default())).collect();
        for byte in other.iter().rev() {
            let end = *byte == b'*' && below.last().copied().unwrap_or(false);
            let mut row = vec![end; one.len() + 1];
            for (place, own) in one.iter().enumerate().rev() {
                let at = |row: &[bool], place: usize| row.get(place).copied().unwrap_or(false);
                let (right, down, both) =
                    (at(&row, place + 1), at(&below, place), at(&below, place + 1));
                let found = match (own, byte) {
                    (b'*', _) | (_, b'*') => right || down,
                    (own, byte) => (own == byte || *own == b'?' || *byte == b'?') && both,
                };
                if let Some(slot) = row.get_mut(place) {
                    *slot = found;
                }
            }
            below = row;
        }
        below.first().copied().unwrap_or(false)
    }
}

/// Whether `pattern` matches the whole of `text`: `*` stands for any bytes, `?` for one.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut pattern_at, mut text_at) = (0, 0);
    // The place of the last star, and where the text that it stands for ends so far.
    let mut star: Option<(usize, usize)> = None;
    while let Some(byte) = text.get(text_at) {
        match pattern.get(pattern_at) {
            Some(b'*') => {
                star = Some((pattern_at, text_at));
                pattern_at += 1;
            }
            Some(wanted) if wanted == byte || *wanted == b'?' => {
                pattern_at += 1;
                text_at += 1;
            }
            _ => {
                let Some((star_at, end)) = star else { return false };
                star = Some((star_at, end + 1));
                (pattern_at, text_at) = (star_at + 1, end + 1);
            }
        }
    }
    pattern.get(pattern_at..).unwrap_or_default().iter().all(|byte| *byte == b'*')
}

impl FromStr for Pattern {
    type Err = BadPattern;

    fn from_str(text: &str) -> Result<Self, BadPattern> {
        let bad = |why| Err(BadPattern(text.chars().take(LONGEST).collect(), why));
        let first = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let wild = |byte: u8| byte == b'*' || byte == b'?';
        let further = |byte: u8| first(byte) || wild(byte) || b"._~+@=,-".contains(&byte);
        if !(1..=LONGEST).contains(&text.len()) {
            return bad("use 1 to 240 characters");
        }
        if !text.bytes().next().is_some_and(first) {
            return bad(
                "it must begin with a letter, a digit or '_', since a party that may sign for \
                        any name controls the whole repository",
            );
        }
        if text.contains("**") {
            return bad(
                "clients read '**' differently; write one pattern for each depth: 'x/*', 'x/*/*'",
            );
        }
        for segment in text.split('/') {
            let mut bytes = segment.bytes();
            if !bytes.next().is_some_and(|byte| first(byte) || wild(byte)) || !bytes.all(further) {
                return bad(
                    "use the characters of target names, '*' and '?', in segments that '/' \
                            separates",
                );
            }
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for Pattern {
    type Error = BadPattern;

    fn try_from(text: String) -> Result<Self, BadPattern> {
        text.parse()
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.0
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pattern(text: &str) -> Pattern {
        text.parse().unwrap()
    }

    #[test]
    fn wildcards_stop_at_slashes_for_some_clients_only() {
        for (text, name, allows, reserves) in [
            ("vendor/*", "vendor/fw.bin", true, true),
            ("vendor/*", "vendor/a/b", false, true),
            ("vendor/*/*", "vendor/a/b", true, true),
            ("vendor/*", "vendor", false, false),
            ("vendor/*", "vendors/x", false, false),
            ("v?/a*c", "v1/abbc", true, true),
            ("v?a", "v/a", false, true),
            ("fw.bin", "fw.bin", true, true),
            ("fw.bin", "fwxbin", false, false),
            ("a*b*c", "axbxbxc", true, true),
            ("a*b*c", "axbxbx", false, false),
        ] {
            assert_eq!(
                (pattern(text).allows(name), pattern(text).reserves(name)),
                (allows, reserves),
                "{text} {name}"
            );
        }
    }

    #[test]
    fn what_clients_read_differently_is_refused() {
        for text in [
            "",
            "*",
            "?x",
            "/a",
            "a/",
            "a//b",
            "a/**",
            "a/[b]",
            "a/{b,c}",
            "a/.b",
            "a\\b",
            "é",
            "-a",
            &"a".repeat(241),
        ] {
            assert!(text.parse::<Pattern>().is_err(), "{text}");
        }
    }

    #[test]
    fn overlapping_patterns_are_found() {
        for (one, other, overlap) in [
            ("a/*", "a/b", true),
            ("a/*", "b/*", false),
            ("a/*.bin", "a/x*", true),
            ("a/*.bin", "a/*.txt", false),
            ("a*", "a/b/c", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("a*c*", "ab*d", true),
            ("a", "a*", true),
            ("a", "ab*", false),
        ] {
            let (one, other) = (pattern(one), pattern(other));
            assert_eq!(
                (one.overlaps(&other), other.overlaps(&one)),
                (overlap, overlap),
                "{one} {other}"
            );
        }
    }

    proptest! {
        #[test]
        fn a_name_that_two_patterns_reserve_is_an_overlap(one in "a[ab/*?]{0,6}", other in "a[ab/*?]{0,6}", name in "a[ab/]{0,6}") {
            if let (Ok(one), Ok(other)) = (one.parse::<Pattern>(), other.parse::<Pattern>()) {
                if one.reserves(&name) && other.reserves(&name) {
                    prop_assert!(one.overlaps(&other));
                }
                prop_assert!(!one.allows(&name) || one.reserves(&name), "a pattern reserves each name that it allows");
            }
        }
    }
}
