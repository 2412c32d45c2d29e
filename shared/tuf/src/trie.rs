//! Bins: the targets role grows as a trie over the hex digits of SHA-256(target name) (TUF specification 4.5, the field
//! `path_hash_prefixes`).
//!
//! A role that outgrows its limit hands its targets to 16 children, one for each next digit, in the generation that
//! needs it. A bin is named by its prefix: `0` to `f` below `targets`, then `00` to `ff`.
//!
//! *Invariants*: a name stands in exactly one role, its leaf; a delegating role lists no targets; children come and stay
//! together, since a role once listed in a snapshot must stay listed; a bin is never merged back.

use tough::schema::key::Key;
use tough::schema::{DelegatedRole, Delegations, PathHashPrefix, PathSet, Targets};

use crate::generation::at_least_one;
use crate::name::{RoleName, TargetName};
use crate::sha256::Sha256;
use crate::signed::VerifyError;

const DIGITS: &str = "0123456789abcdef";

/// The digits that decide in which bin `name` stands: all 64 of SHA-256(name), in lower case.
#[must_use]
pub fn digits(name: &TargetName) -> String {
    Sha256::of(name.as_str().as_bytes()).to_string()
}

/// The prefix of all names in `role`: empty for `targets`; `None` for a role that is not of the trie.
#[must_use]
pub fn prefix(role: &RoleName) -> Option<&str> {
    if *role == RoleName::targets() {
        return Some("");
    }
    role.as_str().chars().all(|digit| DIGITS.contains(digit)).then(|| role.as_str())
}

/// By how many digits the names in `role` are alike: none for `targets`, and for a role that is not of the trie.
#[must_use]
pub fn depth(role: &RoleName) -> usize {
    prefix(role).map_or(0, str::len)
}

/// The role that delegates to `role`; `None` for `targets`, and for a role that is not of the trie.
#[must_use]
pub fn parent(role: &RoleName) -> Option<RoleName> {
    let prefix = prefix(role)?;
    let shorter = prefix.get(..prefix.len().checked_sub(1)?)?;
    bin(shorter)
}

/// The 16 roles that `role` delegates to once it is split, in the order of their digits; none where all digits are used up.
#[must_use]
pub fn children(role: &RoleName) -> Vec<RoleName> {
    let prefix = prefix(role).unwrap_or_default();
    DIGITS.chars().filter_map(|digit| format!("{prefix}{digit}").parse().ok()).collect()
}

/// The role in which `name` stands, or would stand, where `exists` tells of a role whether there is one: the deepest that
/// there is on the way to the name.
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

/// `role` itself if there is one, else the nearest above it.
#[must_use]
pub fn nearest(role: &RoleName, exists: impl Fn(&RoleName) -> bool) -> Option<RoleName> {
    let mut role = role.clone();
    while !exists(&role) {
        role = parent(&role)?;
    }
    Some(role)
}

/// What a split role says of its children: one prefix each, any of `keys` signs for it, and who looks there looks nowhere else.
///
/// # Errors
/// [`VerifyError::Unreadable`] for a key that has no canonical form, never in practice.
pub fn delegations(role: &RoleName, keys: &[Key]) -> Result<Delegations, VerifyError> {
    let unreadable = |why: String| VerifyError::Unreadable { role: role.clone(), why };
    let with_id = |key: &Key| Ok((key.key_id().map_err(|error| unreadable(error.to_string()))?, key.clone()));
    let keys = keys.iter().map(with_id).collect::<Result<Vec<_>, VerifyError>>()?;
    let ids: Vec<_> = keys.iter().map(|(id, _)| id.clone()).collect();
    let delegated = |child: RoleName| {
        let prefix = PathHashPrefix::new(child.as_str()).map_err(|error| unreadable(error.to_string()))?;
        Ok(DelegatedRole {
            name: child.to_string(),
            keyids: ids.clone(),
            threshold: at_least_one(1),
            paths: PathSet::PathHashPrefixes(vec![prefix]),
            terminating: true,
            targets: None,
        })
    };
    let roles = children(role).into_iter().map(delegated).collect::<Result<_, VerifyError>>()?;
    Ok(Delegations { keys: keys.into_iter().collect(), roles })
}

/// Whether a document of the trie hands its names to bins.
#[must_use]
pub fn is_split(document: &Targets) -> bool {
    let by_prefix = |role: &DelegatedRole| matches!(role.paths, PathSet::PathHashPrefixes(_));
    document.delegations.as_ref().is_some_and(|delegations| delegations.roles.iter().any(by_prefix))
}

/// The role of a prefix; `targets` for the empty one.
fn bin(prefix: &str) -> Option<RoleName> {
    if prefix.is_empty() { Some(RoleName::targets()) } else { prefix.parse().ok() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn role(name: &str) -> RoleName {
        name.parse().unwrap()
    }

    #[test]
    fn a_name_stands_in_the_deepest_role_on_its_way() {
        let name: TargetName = "a".parse().unwrap();
        // SHA-256("a") begins so.
        assert!(digits(&name).starts_with("ca978"));
        for (roles, expected) in [
            (&[][..], "targets"),
            (&["c", "0"], "c"),
            (&["c", "ca", "ca97"], "ca"),
            (&["c", "ca", "ca9", "cb"], "ca9"),
            (&["ca"], "targets"),
        ] {
            let roles: BTreeSet<RoleName> = roles.iter().map(|name| role(name)).collect();
            assert_eq!(leaf(&name, |role| roles.contains(role)), role(expected), "{roles:?}");
        }
    }

    #[test]
    fn roles_know_their_parents_and_children() {
        assert_eq!(parent(&role("a")), Some(RoleName::targets()));
        assert_eq!(parent(&role("0f3")), Some(role("0f")));
        assert_eq!((parent(&RoleName::targets()), parent(&role("vendor"))), (None, None));
        let children = children(&role("0"));
        assert_eq!((children.len(), &children[15]), (16, &role("0f")));
        assert!(children.iter().all(|child| parent(child) == Some(role("0"))));
        assert!(super::children(&role(&"0".repeat(64))).is_empty(), "there is no 65th digit");
        assert_eq!(nearest(&role("0f3"), |role| role.as_str() == "0"), Some(role("0")));
        assert_eq!(nearest(&role("0f3"), |_| false), None);
    }
}
