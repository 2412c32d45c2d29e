//! In which order roots and the timestamp are shown.

use std::collections::BTreeMap;

use tufline_metadata::TrustedRoot;

use super::state::MirrorState;

/// The newest root under which both what is shown and what will be shown verify: the roots up to it come before the timestamp, the
/// others after it. So clients that come in between can verify what they find, even if a mirror missed a whole rotation of keys: a
/// root that adds the new key, and a root that drops the old one.
///
/// Where there is none (keys were replaced at once, or the mirror is new) all roots come first.
pub fn turning_point(roots: &BTreeMap<u64, TrustedRoot>, old: Option<&MirrorState>, new: &MirrorState) -> u64 {
    let under_both = |root: &TrustedRoot| old.is_some_and(|old| old.verifies_under(root)) && new.verifies_under(root);
    let known = old.map_or(0, MirrorState::root);
    let turn = roots.iter().rev().find(|(version, root)| **version >= known && under_both(root));
    turn.map_or(u64::MAX, |(version, _)| *version)
}
