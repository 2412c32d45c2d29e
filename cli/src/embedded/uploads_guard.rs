//! Guards against a lost uploads folder: checks whether the folder is still the known one, and
//! decides what to do if it isn't.
//!
//! An unmounted disk leaves an empty folder, which looks as if somebody had removed everything. A
//! folder that was recreated or swapped on purpose has the files. So the folder's contents decide.

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

/// Somebody may still be filling a folder that lacks some published targets. It is accepted once no
/// more of them have arrived for this long.
const FILLED: Duration = Duration::from_secs(10);

/// A missing or swapped folder is reported only after this time: swapping may take two steps.
const MOMENT: Duration = Duration::from_secs(2);

/// Guards the uploads folder.
#[derive(Debug, Default)]
pub struct UploadsGuard {
    since: Option<Since>,
}

/// The time since another folder, or none, is in its place.
#[derive(Debug)]
struct Since {
    published: BTreeSet<String>,
    begin: Instant,
    /// The beginning, by the wall clock.
    at: Time,
    lacking: Lacking,
    /// When `lacking` last changed.
    unchanged: Instant,
    told: bool,
}

/// How many of the published targets the new folder lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Lacking {
    /// The number of published targets without an upload in the folder.
    names: usize,
    /// The number of published targets.
    targets: usize,
}

impl Lacking {
    /// Compares the `published` names with those that are `there`.
    fn of(published: &BTreeSet<String>, there: impl Fn(&str) -> bool) -> Self {
        Self {
            names: published.iter().filter(|name| !there(name)).count(),
            targets: published.len(),
        }
    }

    /// Whether this looks like an unmounted disk or a wrong folder: the folder lacks more than half
    /// of the published targets.
    ///
    /// *Invariant*: a folder that has none of the published targets always counts as a loss,
    /// however few they are, and whatever the configuration says about held removals.
    fn is_loss(self) -> bool {
        self.names * 2 > self.targets
    }
}

impl UploadsGuard {
    /// Checks the folder; returns why its contents don't count, if they don't.
    ///
    /// *Invariant*: another folder is accepted only if it has all published targets; or if it lacks
    /// no more than half and no more arrive; or if an operator has accepted its removals since it
    /// appeared.
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
            // Somebody may have moved the data folder into it since the start: private keys must
            // never be among the uploads.
            check_apart(data, uploads.path())?;
            uploads.take(identity)?;
            self.since = None;
            let Lacking { names, targets } = lacking;
            tracing::info!(
                "another folder is in the place of {}: it is accepted, and lacks {names} of \
                 {targets} targets",
                uploads.path().quoted()
            );
            reconcile(ports).await?;
            return Ok(None);
        }
        let place = uploads.path().quoted();
        let what = if identity.is_some() {
            "another folder is in the place of"
        } else {
            "there is no folder"
        };
        let accept = match &identity {
            Some(_) => ", or run `tufline accept-removals` to remove the targets that it lacks",
            None => "",
        };
        let Lacking { names, targets } = lacking;
        let reason = format!(
            "{what} {place}, and {names} of {targets} targets are not in it: nothing is removed \
             and nothing new is published; mount it or put the files there, and everything goes on \
             by itself{accept}"
        );
        if !since.told && since.begin.elapsed() >= MOMENT {
            since.told = true;
            if names > 0 {
                let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
                let event = Event::RemovalsHeld {
                    removals: count(names),
                    targets: count(targets),
                    reason: reason.clone(),
                };
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
    async fn a_folder_that_is_still_being_filled_is_not_accepted() {
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

    /// A folder with at least half of the published targets is accepted; one with none of them
    /// never is.
    #[test]
    fn a_folder_is_known_by_what_is_in_it() {
        for (targets, lacks) in
            (0..40).flat_map(|targets| (0..=targets).map(move |lacks| (targets, lacks)))
        {
            let published: BTreeSet<String> =
                (0..targets).map(|number| number.to_string()).collect();
            let lacking = Lacking::of(&published, |name| {
                name.parse::<usize>().is_ok_and(|number| number >= lacks)
            });
            assert_eq!(lacking, Lacking { names: lacks, targets });
            assert_eq!(lacking.is_loss(), targets - lacks < lacks);
            assert!(targets == 0 || lacks < targets || lacking.is_loss());
        }
    }
}
