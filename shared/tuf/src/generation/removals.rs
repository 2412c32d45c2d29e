//! Limits how many targets are removed at once.

use super::error::GenerationError;
use super::manifest::{Manifest, RemovalWindow};
use super::policy::Policy;
use crate::config::RemovalLimit;
use crate::primitives::seconds_between;

/// Adds `removed` removals to the window, and refuses too many: more than the limit's share of the
/// targets and more than its number, or all that is left of several targets (an emptied folder).
pub(crate) fn count_removals(
    base: &Manifest,
    policy: &Policy,
    removed: u64,
    left: u64,
) -> Result<RemovalWindow, GenerationError> {
    if removed == 0 {
        return Ok(base.removals.clone());
    }
    let open = base.removals.since.is_some_and(|since| {
        seconds_between(since, policy.now).unsigned_abs() <= RemovalLimit::WINDOW_SECONDS
    });
    let mut window = if open {
        base.removals.clone()
    } else {
        RemovalWindow { since: Some(policy.now), targets: base.targets, removed: 0 }
    };
    window.removed += removed;
    if let Some(limit) = policy.removals.filter(|limit| limit.percent < 100) {
        let share = window.removed * 100 > window.targets * u64::from(limit.percent);
        let emptied = window.removed > 1 && left == 0;
        if (share && window.removed > limit.at_least) || emptied {
            return Err(GenerationError::TooManyRemovals {
                removals: window.removed,
                targets: window.targets,
            });
        }
    }
    Ok(window)
}
