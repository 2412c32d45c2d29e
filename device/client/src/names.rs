//! Names of files in the storage.

use alloc::format;
use alloc::string::String;

use sha2::{Digest, Sha256};
use tufline_metadata::escaped;

/// The roles that every repository has.
const TOP: [&str; 4] = ["root", "timestamp", "snapshot", "targets"];

/// Most file systems allow 255 bytes in a name. This leaves room for `.json` and for a suffix of
/// the storage.
const LONGEST: usize = 200;

/// The name under which a role's document is stored: the role's name, percent-encoded, with
/// `.json`. A digest takes the name's place in two cases: the name is too long for a file, or a
/// file system that ignores case would confuse it with a top-level role's.
#[must_use]
pub fn stored_name(role: &str) -> String {
    let is_alike = |top: &&str| top.eq_ignore_ascii_case(role) && *top != role;
    let name = if TOP.iter().any(is_alike) { digest(role) } else { file_name(role) };
    format!("{name}.json")
}

fn digest(name: &str) -> String {
    hex::encode(Sha256::digest(name))
}

/// Turns the name of a role or a target into the name of a file: percent-encoded, or the name's
/// SHA-256 if that would be too long.
///
/// ```
/// use tufline_client::file_name;
///
/// assert_eq!(file_name("gateway/v2/firmware.bin"), "gateway%2Fv2%2Ffirmware.bin");
/// assert_eq!(file_name(&"long".repeat(100)).len(), 64);
/// ```
#[must_use]
pub fn file_name(name: &str) -> String {
    let escaped = escaped(name);
    if escaped.len() <= LONGEST { escaped } else { digest(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_role_takes_the_file_name_of_a_top_level_role() {
        assert_eq!(stored_name("root"), "root.json");
        for role in
            ["ROOT", "Timestamp", "../root", "root.json", "a/b", ".", "..", "", &"é".repeat(99)]
        {
            let name = stored_name(role);
            assert!(
                !TOP.iter().any(|top| name.eq_ignore_ascii_case(&format!("{top}.json"))),
                "{role}: {name}"
            );
            assert!(
                name.len() <= 205 && !name.contains('/') && name != "." && name != "..",
                "{role}: {name}"
            );
        }
    }
}
