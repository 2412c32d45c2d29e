//! The order in which a mirror shows roots and the timestamp.

use std::collections::BTreeMap;

use tufline_metadata::TrustedRoot;

use super::state::MirrorState;

/// The newest root under which both the old and the new state verify. The mirror writes the roots
/// up to it before the timestamp, and the later ones after it. So a client that updates in between
/// can verify what it finds, even if the mirror missed a whole key rotation: one root that added
/// the new key, and one that dropped the old key.
///
/// If there is no such root (keys were replaced in a single step, or the mirror is new), all roots
/// come first.
pub fn turning_point(
    roots: &BTreeMap<u64, TrustedRoot>,
    old: Option<&MirrorState>,
    new: &MirrorState,
) -> u64 {
    let under_both = |root: &TrustedRoot| {
        old.is_some_and(|old| old.verifies_under(root)) && new.verifies_under(root)
    };
    let known = old.map_or(0, MirrorState::root);
    let turn = roots.iter().rev().find(|(version, root)| **version >= known && under_both(root));
    turn.map_or(u64::MAX, |(version, _)| *version)
}
