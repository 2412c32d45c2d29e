//! Names of files in the storage.

use alloc::format;
use alloc::string::String;

use sha2::{Digest, Sha256};
use tufline_metadata::escaped;

/// The roles that every repository has.
const TOP: [&str; 4] = ["root", "timestamp", "snapshot", "targets"];

/// Longer names than this are no names of files on most file systems, with `.json` and what a storage adds.
const LONGEST: usize = 200;

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
    let escaped = escaped(name);
    if escaped.len() <= LONGEST { escaped } else { digest(name) }
}

#[cfg(test)]
mod tests {
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
}
