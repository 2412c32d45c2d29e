//! Names of files, at the server and in the storage.

use alloc::format;
use alloc::string::{String, ToString};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};
use tufline_metadata::Target;

/// All but the unreserved characters (RFC 3986, section 2.3), as python-tuf does it: no name of a role leaves its folder.
const ESCAPED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The roles that every repository has.
const TOP: [&str; 4] = ["root", "timestamp", "snapshot", "targets"];

/// Longer names than this are no names of files on most file systems, with `.json` and what a storage adds.
const LONGEST: usize = 200;

/// A document's path below the metadata URL.
pub(crate) fn metadata_path(role: &str, version: Option<u64>) -> String {
    let role = utf8_percent_encode(role, &ESCAPED);
    match version {
        Some(version) => format!("{version}.{role}.json"),
        None => format!("{role}.json"),
    }
}

/// The name under which a role's document is stored: its own, percent-encoded, or its digest where that is too long for a file, or is a top-level
/// role's on a file system that doesn't tell capitals apart.
#[must_use]
pub fn stored_name(role: &str) -> String {
    let is_alike = |top: &&str| top.eq_ignore_ascii_case(role) && *top != role;
    let name = if TOP.iter().any(is_alike) { digest(role) } else { file_name(role) };
    format!("{name}.json")
}

fn digest(name: &str) -> String {
    hex::encode(Sha256::digest(name))
}

/// `name`, of a role or a target, as the name of a file: percent-encoded, or its digest where that is too long.
#[must_use]
pub fn file_name(name: &str) -> String {
    let escaped = utf8_percent_encode(name, &ESCAPED).to_string();
    if escaped.len() <= LONGEST { escaped } else { digest(name) }
}

/// Where a target's bytes are below the targets URL, percent-encoded: with consistent snapshots its digest stands before the last part of its name
/// (TUF specification 5.7.3).
#[must_use]
pub fn target_path(name: &str, target: &Target, consistent: bool) -> String {
    let escaped = |part: &str| utf8_percent_encode(part, &ESCAPED).to_string();
    let (folders, last) = name.rsplit_once('/').map_or((None, name), |(folders, last)| (Some(folders), last));
    let last = match target.digest().filter(|_| consistent) {
        Some(digest) => format!("{digest}.{}", escaped(last)),
        None => escaped(last),
    };
    match folders {
        Some(folders) => {
            let mut path: String = folders.split('/').map(|part| escaped(part) + "/").collect();
            path.push_str(&last);
            path
        }
        None => last,
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;

    use super::*;

    #[test]
    fn no_role_is_stored_in_place_of_another_that_all_have() {
        assert_eq!(stored_name("root"), "root.json");
        for role in ["ROOT", "Timestamp", "../root", "root.json", "a/b", ".", "..", "", &"é".repeat(99)] {
            let name = stored_name(role);
            assert!(!TOP.iter().any(|top| name.eq_ignore_ascii_case(&format!("{top}.json"))), "{role}: {name}");
            assert!(name.len() <= 205 && !name.contains('/') && name != "." && name != "..", "{role}: {name}");
        }
    }

    #[test]
    fn where_targets_are() {
        let target = Target { length: 1, hashes: BTreeMap::from([("sha256".into(), [0xab].into())]), custom: None };
        for (name, consistent, path) in
            [("a", true, "ab.a"), ("a/b c/d?", true, "a/b%20c/ab.d%3F"), ("a/b", false, "a/b"), ("é", false, "%C3%A9")]
        {
            assert_eq!(target_path(name, &target, consistent), path);
        }
    }
}
