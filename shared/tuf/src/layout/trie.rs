//! Bins: the targets role grows as a trie over the hex digits of SHA-256(target name) (TUF
//! specification 4.5, `path_hash_prefixes`).
//!
//! A role that outgrows its limit hands its targets to 16 children, one for each next digit, in the
//! same generation. A bin is named after its prefix: `bin-0` to `bin-f` below `targets`, then
//! `bin-00` to `bin-ff`.
//!
//! *Invariants*: exactly one role, the leaf, lists a name; a delegating role lists no targets; 16
//! children are created together and stay, since a role that a snapshot lists must stay listed;
//! bins are never merged.

use std::num::NonZeroU64;

use tough::schema::key::Key;
use tough::schema::{DelegatedRole, Delegations, PathHashPrefix, PathSet, Targets};

use crate::primitives::{RoleName, Sha256, TargetName};
use crate::signing::VerifyError;

const DIGITS: &str = "0123456789abcdef";

/// The prefix of every bin's name, and of no party's.
///
/// tuf-js keeps roles as properties of an object, and JavaScript lists numeric properties first
/// (ECMA-262, `OrdinaryOwnPropertyKeys`). So bins named `0` to `9` would move before the parties,
/// and tuf-js would read another order than was signed.
pub const BIN: &str = "bin-";

/// The digits that determine the bin of `name`: all 64 of SHA-256(name), in lower case.
#[must_use]
pub fn digits(name: &TargetName) -> String {
    Sha256::of(name.as_str().as_bytes()).to_string()
}

/// The prefix of all names in `role`: empty for `targets`; `None` for a role outside the trie.
#[must_use]
pub fn prefix(role: &RoleName) -> Option<&str> {
    if *role == RoleName::targets() {
        return Some("");
    }
    let digits = role.as_str().strip_prefix(BIN)?;
    (!digits.is_empty() && digits.chars().all(|digit| DIGITS.contains(digit))).then_some(digits)
}

/// How many digits all names in `role` share: none for `targets`, and none for a role outside the
/// trie.
#[must_use]
pub fn depth(role: &RoleName) -> usize {
    prefix(role).map_or(0, str::len)
}

/// The role that delegates to `role`; `None` for `targets` and for a role outside the trie.
#[must_use]
pub fn parent(role: &RoleName) -> Option<RoleName> {
    let prefix = prefix(role)?;
    let shorter = prefix.get(..prefix.len().checked_sub(1)?)?;
    bin(shorter)
}

/// The 16 roles to which `role` delegates once it is split, in the order of their digits. Empty
/// below 60 digits, which fill a role's name (splitting stops long before, at
/// [`DEEPEST_BIN`](crate::generation::DEEPEST_BIN)), and for a role outside the trie.
#[must_use]
pub fn children(role: &RoleName) -> Vec<RoleName> {
    let Some(prefix) = prefix(role) else { return Vec::new() };
    DIGITS.chars().filter_map(|digit| bin(&format!("{prefix}{digit}"))).collect()
}

/// The role that lists `name`, or would list it: the deepest on the way to the name for which
/// `exists` is true.
#[must_use]
pub fn leaf(name: &TargetName, exists: impl Fn(&RoleName) -> bool) -> RoleName {
    let digits = digits(name);
    let mut found = RoleName::targets();
    for length in 1..=digits.len() {
        match digits.get(..length).and_then(bin) {
            Some(deeper) if exists(&deeper) => found = deeper,
            _ => break,
        }
    }
    found
}

/// `role` itself if it exists, else its nearest ancestor that does.
#[must_use]
pub fn nearest(role: &RoleName, exists: impl Fn(&RoleName) -> bool) -> Option<RoleName> {
    let mut role = role.clone();
    while !exists(&role) {
        role = parent(&role)?;
    }
    Some(role)
}

/// A split role's delegations to its children: one prefix each, terminating, signed by any one of
/// `keys`.
///
/// # Errors
/// [`VerifyError::Unreadable`] for a key that has no canonical form, never in practice.
pub fn delegations(role: &RoleName, keys: &[Key]) -> Result<Delegations, VerifyError> {
    let unreadable = |why: String| VerifyError::Unreadable { role: role.clone(), why };
    let with_id =
        |key: &Key| Ok((key.key_id().map_err(|error| unreadable(error.to_string()))?, key.clone()));
    let keys = keys.iter().map(with_id).collect::<Result<Vec<_>, VerifyError>>()?;
    let ids: Vec<_> = keys.iter().map(|(id, _)| id.clone()).collect();
    let delegated = |child: RoleName| {
        let digits = prefix(&child).ok_or_else(|| unreadable(format!("{child} is not a bin")))?;
        let prefix = PathHashPrefix::new(digits).map_err(|error| unreadable(error.to_string()))?;
        Ok(DelegatedRole {
            name: child.to_string(),
            keyids: ids.clone(),
            threshold: NonZeroU64::MIN,
            paths: PathSet::PathHashPrefixes(vec![prefix]),
            terminating: true,
            targets: None,
        })
    };
    let roles = children(role).into_iter().map(delegated).collect::<Result<_, VerifyError>>()?;
    Ok(Delegations { keys: keys.into_iter().collect(), roles })
}

/// Whether a document of the trie delegates its names to bins.
#[must_use]
pub fn is_split(document: &Targets) -> bool {
    let by_prefix = |role: &DelegatedRole| matches!(role.paths, PathSet::PathHashPrefixes(_));
    document.delegations.as_ref().is_some_and(|delegations| delegations.roles.iter().any(by_prefix))
}

/// The role with this prefix; `targets` for the empty one.
pub(crate) fn bin(prefix: &str) -> Option<RoleName> {
    if prefix.is_empty() {
        Some(RoleName::targets())
    } else {
        format!("{BIN}{prefix}").parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn role(name: &str) -> RoleName {
        name.parse().unwrap()
    }

    fn of(digits: &str) -> RoleName {
        bin(digits).unwrap()
    }

    #[test]
    fn a_name_stands_in_the_deepest_role_on_its_way() {
        let name: TargetName = "a".parse().unwrap();
        // The SHA-256 of "a" begins with these digits.
        assert!(digits(&name).starts_with("ca978"));
        for (roles, expected) in [
            (&[][..], "targets"),
            (&["c", "0"], "bin-c"),
            (&["c", "ca", "ca97"], "bin-ca"),
            (&["c", "ca", "ca9", "cb"], "bin-ca9"),
            (&["ca"], "targets"),
        ] {
            let roles: BTreeSet<RoleName> = roles.iter().map(|digits| of(digits)).collect();
            assert_eq!(leaf(&name, |role| roles.contains(role)), role(expected), "{roles:?}");
        }
    }

    #[test]
    fn roles_know_their_parents_and_children() {
        assert_eq!(parent(&role("bin-a")), Some(RoleName::targets()));
        assert_eq!(parent(&role("bin-0f3")), Some(role("bin-0f")));
        assert_eq!((parent(&RoleName::targets()), parent(&role("vendor"))), (None, None));
        let children = children(&role("bin-0"));
        assert_eq!((children.len(), &children[15]), (16, &role("bin-0f")));
        assert!(children.iter().all(|child| parent(child) == Some(role("bin-0"))));
        assert_eq!(super::children(&of(&"0".repeat(59))).len(), 16);
        assert!(
            super::children(&of(&"0".repeat(60))).is_empty(),
            "a role's name has no room for a 61st digit"
        );
        assert!(super::children(&role("vendor")).is_empty(), "only roles of the trie have bins");
        assert_eq!(nearest(&role("bin-0f3"), |role| role.as_str() == "bin-0"), Some(role("bin-0")));
        assert_eq!(nearest(&role("bin-0f3"), |_| false), None);
    }

    #[test]
    fn only_a_bins_name_makes_a_bin() {
        assert_eq!(prefix(&RoleName::targets()), Some(""));
        assert_eq!((prefix(&role("bin-0")), prefix(&role("bin-0fa"))), (Some("0"), Some("0fa")));
        for other in [
            "0",
            "0fa",
            "bin",
            "bin-",
            "bin--0",
            "bin-0-1",
            "bin-0g",
            "bin0",
            "binary",
            "vendor-bin-0",
        ] {
            assert_eq!(prefix(&role(other)), None, "{other}");
        }
    }

    #[test]
    fn a_bin_is_delegated_to_by_its_digits() {
        let delegations = delegations(&role("bin-0"), &[]).unwrap();
        let last = delegations.roles.last().unwrap();
        assert_eq!(last.name, "bin-0f");
        let PathSet::PathHashPrefixes(prefixes) = &last.paths else { panic!("by hash") };
        assert_eq!(prefixes.iter().map(PathHashPrefix::value).collect::<Vec<_>>(), ["0f"]);
    }
}
