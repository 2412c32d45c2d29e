//! Whether the folder at the uploads' place is the one that was there before, and what is done if it isn't.
//!
//! An unmounted disk leaves an empty folder, which looks as if everything had been removed. A folder that was made anew or swapped is no loss: it has
//! the files. So what is in it decides.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;
use tufline_folder::{FolderUploads, FoundFolder};
use tufline_pipeline::Ports;
use tufline_pipeline::removals_accepted;
use tufline_pipeline::stages::published_names;
use tufline_pipeline::stages::reconcile;
use tufline_store::Event;
use tufline_tuf::Time;

use super::opened::check_apart;
use crate::text::Quoted;

/// A folder that lacks some of what is published may still be being filled: it is taken when so long nothing more of it has come.
const FILLED: Duration = Duration::from_secs(10);

/// What is over within this time is told to nobody: a folder may be swapped in two steps.
const MOMENT: Duration = Duration::from_secs(2);

/// Watches over the folder.
#[derive(Debug, Default)]
pub struct UploadsGuard {
    since: Option<Since>,
}

/// Another folder, or none, is in its place.
#[derive(Debug)]
struct Since {
    published: BTreeSet<String>,
    begin: Instant,
    /// The same by the clock on the wall.
    at: Time,
    lacking: Lacking,
    /// Since when it lacks that.
    unchanged: Instant,
    told: bool,
}

/// What the folder of uploads that is there now lacks of what is published, where another was there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Lacking {
    /// So many of the published targets have no upload in it.
    names: usize,
    /// Of so many.
    targets: usize,
}

impl Lacking {
    /// Compares what is `published` with what is `there`.
    fn of(published: &BTreeSet<String>, there: impl Fn(&str) -> bool) -> Self {
        Self { names: published.iter().filter(|name| !there(name)).count(), targets: published.len() }
    }

    /// Whether that looks like an unmounted disk or a wrong folder: it lacks more than half of what is published.
    ///
    /// *Invariant*: one that has nothing of what is published is never taken for the uploads, however little that is, and whatever number of removals
    /// is configured to be held.
    fn is_loss(self) -> bool {
        self.names * 2 > self.targets
    }
}

impl UploadsGuard {
    /// Looks at the folder; answers why nothing in it counts, if nothing does.
    ///
    /// *Invariant*: another folder is taken only if it lacks nothing of what is published; or no more than half, and nothing more of it comes; or an operator
    /// accepted its removals since it is there.
    pub async fn look(
        &mut self,
        ports: &Ports,
        uploads: &FolderUploads,
        data: &Path,
    ) -> anyhow::Result<Option<String>> {
        let identity = match uploads.standing()? {
            FoundFolder::Known => {
                self.since = None;
                return Ok(None);
            }
            FoundFolder::Other(identity) => Some(identity),
            FoundFolder::Missing => None,
        };
        let since = match &mut self.since {
            Some(since) => since,
            none => none.insert(Since::now(published_names(ports).await?, ports.clock.now())),
        };
        let there = match &identity {
            Some(identity) => uploads.names_in(identity).await?,
            None => std::collections::HashSet::new(),
        };
        since.compare(Lacking::of(&since.published, |name| there.contains(name)));
        let lacking = since.lacking;
        if let Some(identity) = &identity
            && (since.is_filled() || removals_accepted(ports, since.at).await?)
        {
            // Whatever has come there since the start: private keys are never among the uploads.
            check_apart(data, uploads.path())?;
            uploads.take(identity)?;
            self.since = None;
            let Lacking { names, targets } = lacking;
            tracing::info!(
                "another folder is in the place of {}: it is taken, and lacks {names} of {targets} targets",
                uploads.path().quoted()
            );
            reconcile(ports).await?;
            return Ok(None);
        }
        let place = uploads.path().quoted();
        let what = if identity.is_some() { "another folder is in the place of" } else { "there is no folder" };
        let accept = match &identity {
            Some(_) => ", or run `tufline accept-removals` if what it lacks is to be removed",
            None => "",
        };
        let Lacking { names, targets } = lacking;
        let reason = format!(
            "{what} {place}, and {names} of {targets} targets are not in it: nothing is removed and nothing new is published; mount it or put the files \
             there, it goes on by itself{accept}"
        );
        if !since.told && since.begin.elapsed() >= MOMENT {
            since.told = true;
            if names > 0 {
                let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
                let event =
                    Event::RemovalsHeld { removals: count(names), targets: count(targets), reason: reason.clone() };
                ports.events.send(&[event]).await?;
            }
        }
        Ok(since.told.then_some(reason))
    }
}

impl Since {
    fn now(published: BTreeSet<String>, at: Time) -> Self {
        let now = Instant::now();
        let lacking = Lacking { names: published.len(), targets: published.len() };
        Self { published, begin: now, at, lacking, unchanged: now, told: false }
    }

    fn compare(&mut self, lacking: Lacking) {
        if lacking != self.lacking {
            self.lacking = lacking;
            self.unchanged = Instant::now();
        }
    }

    fn is_filled(&self) -> bool {
        self.lacking.names == 0 || (!self.lacking.is_loss() && self.unchanged.elapsed() >= FILLED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_folder_that_is_being_filled_is_not_taken_in_the_middle() {
        let mut since = Since::now((0..10).map(|number| number.to_string()).collect(), Time::MIN);
        for names in (1..10).rev() {
            since.compare(Lacking { names, targets: 10 });
            tokio::time::advance(FILLED / 2).await;
            assert!(!since.is_filled(), "{names} are still missing");
        }
        tokio::time::advance(FILLED).await;
        assert!(since.is_filled(), "nothing more comes");
        since.compare(Lacking { names: 6, targets: 10 });
        tokio::time::advance(FILLED * 100).await;
        assert!(!since.is_filled(), "that is a loss, however long it lasts");
        since.compare(Lacking { names: 0, targets: 10 });
        assert!(since.is_filled());
    }

    /// A folder with at least half of what is published is the uploads'; one with nothing of it never is.
    #[test]
    fn a_folder_is_known_by_what_is_in_it() {
        for (targets, lacks) in (0..40).flat_map(|targets| (0..=targets).map(move |lacks| (targets, lacks))) {
            let published: BTreeSet<String> = (0..targets).map(|number| number.to_string()).collect();
            let lacking = Lacking::of(&published, |name| name.parse::<usize>().is_ok_and(|number| number >= lacks));
            assert_eq!(lacking, Lacking { names: lacks, targets });
            assert_eq!(lacking.is_loss(), targets - lacks < lacks);
            assert!(targets == 0 || lacks < targets || lacking.is_loss());
        }
    }
}
