//! The paths of files below the metadata URL or the targets URL.

use alloc::format;
use alloc::string::{String, ToString};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::targets::Target;

/// All but the unreserved characters (RFC 3986, section 2.3), as in python-tuf, so that no role's
/// name can lead out of the folder.
const ESCAPED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A name as one segment of a path. It is percent-encoded, including `/`.
#[must_use]
pub fn escaped(name: &str) -> String {
    utf8_percent_encode(name, &ESCAPED).to_string()
}

/// A document's path. The version comes first, if one is given (TUF specification 6.2).
#[must_use]
pub fn metadata_path(role: &str, version: Option<u64>) -> String {
    let role = escaped(role);
    match version {
        Some(version) => format!("{version}.{role}.json"),
        None => format!("{role}.json"),
    }
}

/// A target's path. With consistent snapshots, the digest comes before the last segment of the name
/// (TUF specification 5.7.3).
#[must_use]
pub fn target_path(name: &str, target: &Target, consistent: bool) -> String {
    let (folders, last) =
        name.rsplit_once('/').map_or((None, name), |(folders, last)| (Some(folders), last));
    let last = match target.digest().filter(|_| consistent) {
        Some(digest) => format!("{digest}.{}", escaped(last)),
        None => escaped(last),
    };
    let folders = folders.into_iter().flat_map(|folders| folders.split('/'));
    let mut path: String = folders.map(|folder| escaped(folder) + "/").collect();
    path.push_str(&last);
    path
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;

    use super::*;

    #[test]
    fn where_documents_are() {
        for (role, version, path) in [
            ("root", Some(2), "2.root.json"),
            ("timestamp", None, "timestamp.json"),
            ("a/../b", Some(1), "1.a%2F..%2Fb.json"),
        ] {
            assert_eq!(metadata_path(role, version), path);
        }
    }

    #[test]
    fn where_targets_are() {
        let target = Target {
            length: 1,
            hashes: BTreeMap::from([("sha256".into(), [0xab].into())]),
            custom: None,
        };
        for (name, consistent, path) in [
            ("a", true, "ab.a"),
            ("a/b c/d?", true, "a/b%20c/ab.d%3F"),
            ("a/b", false, "a/b"),
            ("é", false, "%C3%A9"),
        ] {
            assert_eq!(target_path(name, &target, consistent), path);
        }
    }
}
