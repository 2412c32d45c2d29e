//! When a run of sign or publish ends, and what it had no time for, so that the next goes on there.
//!
//! Lambda ends a run at its deadline, and the next would begin anew: the more waits, the less likely would any come to its end. So a run ends by
//! itself before that, and keeps of which generation it was judging and what the uploads said.
//!
//! *Invariant*: what is kept counts for this generation only, based on what was published then, and for less than half of the time for which the
//! uploads may say it late: it is what one long run would have learnt. Each stage has its own, since none believes another.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tufline_tuf::time::seconds_between;
use tufline_tuf::{Content, Manifest, TargetName, Time};

use crate::justified::{Justified, WINDOW_SECONDS};

/// What the uploads said of names, for the content that they should have.
pub(crate) type Said = BTreeMap<TargetName, (Option<Content>, Justified)>;

/// A judgement on its way.
#[derive(Debug)]
pub(crate) struct Judging {
    /// The generation that is published.
    pub published: u64,
    /// The one that is judged.
    pub generation: u64,
    /// Since when.
    pub since: Time,
    /// What was known when the run began.
    pub said: Said,
}

/// When runs end, and what they had no time for. In memory only: whoever starts anew judges anew.
#[derive(Debug, Clone)]
pub struct Deadline {
    until: Time,
    kept: Arc<Mutex<Option<Judging>>>,
}

impl Deadline {
    /// Nobody ends a run.
    #[must_use]
    pub fn never() -> Self {
        Self { until: Time::MAX, kept: Arc::default() }
    }

    /// For a run that asks the uploads of no more names from `until` on.
    #[must_use]
    pub fn at(&self, until: Time) -> Self {
        Self { until, kept: Arc::clone(&self.kept) }
    }

    pub(crate) fn is_over(&self, now: Time) -> bool {
        now >= self.until
    }

    /// Leaves in `chain` what waited when the last run had no time left, if its judgement can be gone on with: whatever is made meanwhile waits for
    /// it. Answers whether anything was taken out.
    pub(crate) fn shorten(&self, published: u64, chain: &mut Vec<impl Borrow<Manifest>>, now: Time) -> bool {
        let kept = self.lock();
        let kept = kept.as_ref().filter(|kept| kept.published == published && is_fresh(kept, now));
        let place =
            kept.and_then(|kept| chain.iter().position(|manifest| manifest.borrow().generation == kept.generation));
        let count = chain.len();
        chain.truncate(place.map_or(count, |place| place + 1));
        chain.len() < count
    }

    /// Takes up the judgement of this generation where it was left. Whatever else was kept is forgotten.
    pub(crate) fn take(&self, published: u64, generation: u64, now: Time) -> Judging {
        let kept = self.lock().take();
        let kept = kept.filter(|kept| (kept.published, kept.generation) == (published, generation));
        let new = || Judging { published, generation, since: now, said: Said::new() };
        kept.filter(|kept| is_fresh(kept, now)).unwrap_or_else(new)
    }

    /// Whatever is kept was gone on with, or is of no use: so a run that others wait for calls the next only once for it.
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
            assert_eq!((taken.published, taken.generation, taken.since), (published, generation, begun));
            assert!(deadline.take(4, 9, since).said.is_empty(), "it is taken once");
        }
    }
}
