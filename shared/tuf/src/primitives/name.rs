//! Names of targets and roles, as strict as the strictest client.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::rejection::{Rejection, RejectionCode};

/// The longest target name, in bytes after percent-encoding. python-tuf stores a target in a file
/// of that name, with additions of its own: 255 bytes at most.
const LONGEST_ENCODED_NAME: usize = 240;

/// The names of properties that every JavaScript object has. A JavaScript client that keeps targets
/// in a plain object finds these names even where there is no such target.
const JAVASCRIPT_PROPERTIES: [&str; 12] = [
    "__defineGetter__",
    "__defineSetter__",
    "__lookupGetter__",
    "__lookupSetter__",
    "__proto__",
    "constructor",
    "hasOwnProperty",
    "isPrototypeOf",
    "propertyIsEnumerable",
    "toLocaleString",
    "toString",
    "valueOf",
];

/// A target's name (TUF specification 4.5, TARGETPATH): the upload's object key after the prefix.
///
/// *Invariant*: segments `[A-Za-z0-9_][A-Za-z0-9._~+@=,-]*` joined by `/`; not the name of a
/// JavaScript object property; not ending in `.tuf.json` (side files); at most 240 bytes, where
/// each `/` and each other byte that is percent-encoded counts as 3. Any other name fails in at
/// least one client that Tufline supports.
///
/// ```
/// use tufline_tuf::TargetName;
///
/// let name: TargetName = "gateway/v2/firmware.bin".parse()?;
/// assert_eq!(name.as_str(), "gateway/v2/firmware.bin");
///
/// let rejection = "gateway//firmware.bin".parse::<TargetName>().unwrap_err();
/// assert!(rejection.reason.contains("remove the extra '/'"));
/// # Ok::<(), tufline_tuf::Rejection>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TargetName(String);

/// The suffix of a side file's name. The side file `NAME.tuf.json` holds the custom metadata of the
/// target `NAME`.
pub const SIDE_FILE_SUFFIX: &str = ".tuf.json";

impl TargetName {
    /// The name as text, not encoded.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn check(name: &str) -> Result<(), String> {
        if name.is_empty() {
            return Err("it is empty; give the file a name".into());
        }
        for segment in name.split('/') {
            if segment.is_empty() {
                return Err(
                    "it has an empty path segment ('//', or '/' at an end); remove the extra '/'"
                        .into(),
                );
            }
            if let Some(character) = segment.chars().find(|character| !is_allowed(*character)) {
                return Err(format!(
                    "it has the character {character:?}; use only A-Z a-z 0-9 and . _ ~ + @ = , \
                     - between '/'"
                ));
            }
            if !segment.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_') {
                return Err(format!("'{segment}' must begin with a letter, a digit or '_'"));
            }
        }
        if JAVASCRIPT_PROPERTIES.contains(&name) {
            return Err(
                "JavaScript clients confuse it with a property that every object has; choose \
                        another name"
                    .into(),
            );
        }
        if name.ends_with(SIDE_FILE_SUFFIX) {
            return Err(
                "names ending in '.tuf.json' are kept for custom metadata; choose another ending"
                    .into(),
            );
        }
        let encoded: usize = name.bytes().map(encoded_length).sum();
        if encoded > LONGEST_ENCODED_NAME {
            return Err(format!(
                "it takes {encoded} bytes percent-encoded and at most {LONGEST_ENCODED_NAME} can \
                 be stored; shorten it"
            ));
        }
        Ok(())
    }
}

fn is_allowed(character: char) -> bool {
    character.is_ascii_alphanumeric() || "._~+@=,-".contains(character)
}

/// The bytes that python's `quote(name, "")` writes for `byte`.
fn encoded_length(byte: u8) -> usize {
    if byte.is_ascii_alphanumeric() || b"_.-~".contains(&byte) { 1 } else { 3 }
}

impl FromStr for TargetName {
    type Err = Rejection;

    fn from_str(name: &str) -> Result<Self, Rejection> {
        match Self::check(name) {
            Ok(()) => Ok(Self(name.to_owned())),
            Err(why) => {
                let shown: String = name.chars().take(120).collect();
                Err(Rejection::new(
                    RejectionCode::Name,
                    format!("target name {shown:?} rejected: {why}"),
                ))
            }
        }
    }
}

impl TryFrom<String> for TargetName {
    type Error = Rejection;

    fn try_from(name: String) -> Result<Self, Rejection> {
        name.parse()
    }
}

impl From<TargetName> for String {
    fn from(name: TargetName) -> Self {
        name.0
    }
}

impl fmt::Display for TargetName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for TargetName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, formatter)
    }
}

/// A role's name: `root`, `timestamp`, `snapshot`, `targets`, or a delegated role's.
///
/// *Invariant*: `[a-z0-9][a-z0-9_-]*`, at most 64 bytes, so that `<version>.<role>.json` is one
/// plain file name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RoleName(String);

/// A string that cannot name a role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' cannot name a role: use 1 to 64 of a-z 0-9 _ - and begin with a letter or digit")]
pub struct NotRoleName(String);

impl RoleName {
    /// The role that every device trusts first (TUF specification 2.1.1).
    #[must_use]
    pub fn root() -> Self {
        Self("root".into())
    }

    /// The role that names the newest snapshot (TUF specification 2.1.4).
    #[must_use]
    pub fn timestamp() -> Self {
        Self("timestamp".into())
    }

    /// The role that lists the version of every targets role (TUF specification 2.1.3).
    #[must_use]
    pub fn snapshot() -> Self {
        Self("snapshot".into())
    }

    /// The top-level targets role (TUF specification 2.1.2).
    #[must_use]
    pub fn targets() -> Self {
        Self("targets".into())
    }

    /// The role's name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RoleName {
    type Err = NotRoleName;

    fn from_str(name: &str) -> Result<Self, NotRoleName> {
        let first = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let sound = (1..=64).contains(&name.len())
            && name.bytes().next().is_some_and(first)
            && name.bytes().all(|byte| first(byte) || byte == b'_' || byte == b'-');
        if sound {
            Ok(Self(name.to_owned()))
        } else {
            Err(NotRoleName(name.chars().take(80).collect()))
        }
    }
}

impl TryFrom<String> for RoleName {
    type Error = NotRoleName;

    fn try_from(name: String) -> Result<Self, NotRoleName> {
        name.parse()
    }
}

impl From<RoleName> for String {
    fn from(name: RoleName) -> Self {
        name.0
    }
}

impl fmt::Display for RoleName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for RoleName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn usual_names_are_accepted() {
        for name in ["a", "firmware.bin", "gateway/v1.2.3+4/fw_a@b=c,d~e-f.bin", "_x", "0"] {
            assert_eq!(name.parse::<TargetName>().unwrap().as_str(), name);
        }
    }

    #[test]
    fn names_that_some_client_cannot_read_are_refused() {
        let long = "a".repeat(241);
        let slashes = "a/".repeat(60) + "b";
        for name in [
            "",
            "/a",
            "a/",
            "a//b",
            ".",
            "..",
            "a/../b",
            "a/./b",
            ".hidden",
            "-x",
            "a b",
            "a\\b",
            "a%20b",
            "a#b",
            "a?b",
            ":a",
            "a:b",
            "e\u{301}",
            "é",
            "a\nb",
            "a\u{7f}",
            "a*",
            "{a}",
            "__proto__",
            "constructor",
            "toString",
            "fw.bin.tuf.json",
            &long,
            &slashes,
        ] {
            let rejection = name.parse::<TargetName>().unwrap_err();
            assert_eq!(rejection.code, RejectionCode::Name, "{name:?}");
            assert!(!rejection.reason.contains('\n'), "one line: {}", rejection.reason);
        }
    }

    #[test]
    fn a_property_name_below_a_folder_is_harmless() {
        assert!("a/constructor".parse::<TargetName>().is_ok());
    }

    #[test]
    fn role_names() {
        for name in ["root", "targets", "bin-0a", "vendor-x", "a_b", "0a"] {
            assert!(name.parse::<RoleName>().is_ok(), "{name}");
        }
        for name in ["", "-a", "A", "a.b", "a/b", "é"] {
            assert!(name.parse::<RoleName>().is_err(), "{name}");
        }
    }

    proptest! {
        /// Invariant of [`TargetName`]: any string is either refused, or plain ASCII that a URL
        /// path carries unchanged but for percent-encoding.
        #[test]
        fn accepted_names_keep_the_invariant(name in "\\PC{0,40}|[a-z./_~+-]{0,260}") {
            if let Ok(accepted) = name.parse::<TargetName>() {
                prop_assert_eq!(accepted.as_str(), &name);
                prop_assert!(name.is_ascii() && name.len() <= LONGEST_ENCODED_NAME);
                prop_assert!(name.split('/').all(|segment| !segment.is_empty() && !segment.starts_with('.')));
            }
        }
    }
}
