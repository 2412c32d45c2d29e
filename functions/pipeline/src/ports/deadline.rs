//! When a run of sign or publish ends, and how the next run continues its work.
//!
//! Lambda ends a run at its deadline, and the next run would start from the beginning: the more
//! generations wait, the less likely any run would finish. So a run ends by itself before the
//! deadline. It keeps the generation that it was judging and what the uploads said.
//!
//! *Invariant*: a kept judgement counts only for the same generation on the same published one, and
//! only for less than half of [`WINDOW_SECONDS`]. So a run that continues knows no more, and
//! nothing older, than one long run would. Each stage keeps its own, since none believes another.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tufline_tuf::time::seconds_between;
use tufline_tuf::{Content, Manifest, TargetName, Time};

use crate::justified::{Justified, WINDOW_SECONDS};

/// What the uploads said about names, each with the content that was asked about.
pub(crate) type Said = BTreeMap<TargetName, (Option<Content>, Justified)>;

/// An unfinished judgement.
#[derive(Debug)]
pub(crate) struct Judging {
    /// The published generation on which the judgement is based.
    pub published: u64,
    /// The generation that is judged.
    pub generation: u64,
    /// When the judgement began.
    pub since: Time,
    /// What earlier runs have learnt.
    pub said: Said,
}

/// When runs end, and what they had no time for. It lives in memory only, so a new process judges
/// from the beginning.
#[derive(Debug, Clone)]
pub struct Deadline {
    until: Time,
    kept: Arc<Mutex<Option<Judging>>>,
}

impl Deadline {
    /// A deadline that never comes.
    #[must_use]
    pub fn never() -> Self {
        Self { until: Time::MAX, kept: Arc::default() }
    }

    /// A deadline for one run: from `until` on, it asks the uploads about no more names.
    #[must_use]
    pub fn at(&self, until: Time) -> Self {
        Self { until, kept: Arc::clone(&self.kept) }
    }

    pub(crate) fn is_over(&self, now: Time) -> bool {
        now >= self.until
    }

    /// Removes from `chain` the generations that are newer than the one whose judgement an earlier
    /// run left unfinished, if that judgement can be continued. Newer generations wait for it.
    /// Returns whether it removed any.
    pub(crate) fn shorten(
        &self,
        published: u64,
        chain: &mut Vec<impl Borrow<Manifest>>,
        now: Time,
    ) -> bool {
        let kept = self.lock();
        let kept = kept.as_ref().filter(|kept| kept.published == published && is_fresh(kept, now));
        let place = kept.and_then(|kept| {
            chain.iter().position(|manifest| manifest.borrow().generation == kept.generation)
        });
        let count = chain.len();
        chain.truncate(place.map_or(count, |place| place + 1));
        chain.len() < count
    }

    /// Takes the unfinished judgement of this generation, or starts a new one. Any other kept
    /// judgement is forgotten.
    pub(crate) fn take(&self, published: u64, generation: u64, now: Time) -> Judging {
        let kept = self.lock().take();
        let kept = kept.filter(|kept| (kept.published, kept.generation) == (published, generation));
        let new = || Judging { published, generation, since: now, said: Said::new() };
        kept.filter(|kept| is_fresh(kept, now)).unwrap_or_else(new)
    }

    /// Forgets what is kept: this run has continued it, or it is of no use. So a run that shortened
    /// its chain calls the next run only once.
    pub(crate) fn forget(&self) {
        *self.lock() = None;
    }

    pub(crate) fn keep(&self, judging: Judging) {
        *self.lock() = Some(judging);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Judging>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_fresh(judging: &Judging, now: Time) -> bool {
    (0..WINDOW_SECONDS / 2).contains(&seconds_between(judging.since, now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_counts_for_one_generation_and_not_for_long() {
        let since: Time = "2026-01-01T00:00:00Z".parse().unwrap();
        let after = |seconds| tufline_tuf::time::after(since, seconds);
        let name: TargetName = "a".parse().unwrap();
        for (published, generation, seconds, counts) in [
            (4, 9, 0, true),
            (4, 9, 299, true),
            (4, 9, 300, false),
            (4, 8, 0, false),
            (4, 10, 0, false),
            (5, 9, 0, false),
        ] {
            let deadline = Deadline::never();
            let said = Said::from([(name.clone(), (None, Justified::Yes))]);
            deadline.at(since).keep(Judging { published: 4, generation: 9, since, said });
            let taken = deadline.take(published, generation, after(seconds));
            assert_eq!(!taken.said.is_empty(), counts, "{published} {generation} {seconds}");
            let begun = if counts { since } else { after(seconds) };
            assert_eq!(
                (taken.published, taken.generation, taken.since),
                (published, generation, begun)
            );
            assert!(deadline.take(4, 9, since).said.is_empty(), "it is taken once");
        }
    }
}
