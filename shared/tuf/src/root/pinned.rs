//! The root with which a repository's chain begins, if an operator configures it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::primitives::Sha256;

/// JavaScript's largest exact integer: clients don't all read larger ones alike (RFC 8259, section
/// 6).
const LARGEST_VERSION: u64 = (1 << 53) - 1;

/// The trusted root, in the specification's terms (TUF specification 5.2): the version and contents
/// ([`super::contents`]) of the root with which the repository's chain of roots begins. No earlier
/// root is needed, and no other root is accepted in its place.
///
/// Written as 64 hex digits for version 1, and as `15:HEX` for version 15.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PinnedRoot {
    /// The root's version, from 1 on.
    pub version: u64,
    /// The SHA-256 of the root's signed part.
    pub contents: Sha256,
}

/// A text that doesn't identify a root.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' does not say which root is trusted: give the contents that `tufline root show` prints, \
     64 lower-case hex digits, after the root's version and a colon if that is not 1 \
     (15:{{contents}})"
)]
pub struct NotPinnedRoot(String);

impl FromStr for PinnedRoot {
    type Err = NotPinnedRoot;

    fn from_str(text: &str) -> Result<Self, NotPinnedRoot> {
        let (version, contents) = text.split_once(':').unwrap_or(("1", text));
        let plain = version.bytes().all(|byte| byte.is_ascii_digit()) && !version.starts_with('0');
        match (version.parse(), contents.parse()) {
            (Ok(version @ 1..=LARGEST_VERSION), Ok(contents)) if plain => {
                Ok(Self { version, contents })
            }
            _ => Err(NotPinnedRoot(text.chars().take(100).collect())),
        }
    }
}

impl TryFrom<String> for PinnedRoot {
    type Error = NotPinnedRoot;

    fn try_from(text: String) -> Result<Self, NotPinnedRoot> {
        text.parse()
    }
}

impl From<PinnedRoot> for String {
    fn from(root: PinnedRoot) -> Self {
        root.to_string()
    }
}

impl fmt::Display for PinnedRoot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.version {
            1 => write!(formatter, "{}", self.contents),
            version => write!(formatter, "{version}:{}", self.contents),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_says_no_root_is_refused() {
        let digits = "0f".repeat(32);
        for text in [
            "",
            "15",
            "15:",
            &digits.to_uppercase(),
            &digits[1..],
            &format!(":{digits}"),
            &format!("0:{digits}"),
            &format!("015:{digits}"),
            &format!("+15:{digits}"),
            &format!("-1:{digits}"),
            &format!(" 15:{digits}"),
            &format!("15: {digits}"),
            &format!("15:{digits}:{digits}"),
            &format!("9007199254740992:{digits}"),
            &format!("18446744073709551616:{digits}"),
        ] {
            let error = text.parse::<PinnedRoot>().unwrap_err().to_string();
            assert!(error.contains("15:{contents}") && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn version_1_is_written_as_it_always_was() {
        let contents = Sha256::of(b"x");
        let first = PinnedRoot { version: 1, contents };
        assert_eq!(first.to_string(), contents.to_string());
        assert_eq!(format!("1:{contents}").parse(), Ok(first));
        assert_eq!(PinnedRoot { version: 15, contents }.to_string(), format!("15:{contents}"));
    }

    proptest! {
        #[test]
        fn it_is_read_back(version in 1..=LARGEST_VERSION, bytes in any::<[u8; 32]>()) {
            let root = PinnedRoot { version, contents: Sha256::from_bytes(bytes) };
            prop_assert_eq!(root.to_string().parse(), Ok(root));
            let json = serde_json::to_string(&root).unwrap();
            prop_assert_eq!(serde_json::from_str::<PinnedRoot>(&json).unwrap(), root);
        }
    }
}
