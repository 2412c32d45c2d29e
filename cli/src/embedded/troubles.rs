//! Current failures: each is logged once a minute at most, however often it is retried, and listed
//! in a file for `tufline status`.
//!
//! `DATA/troubles.json` exists only while something fails. Like the queues, it knows nothing from
//! before this process.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tufline_folder::given;
use tufline_store::{Clock, ErrorKind};
use tufline_tuf::Time;

use crate::files;

/// The same failure is logged at most once in this time.
const TOLD_AGAIN: Duration = Duration::from_mins(1);

/// A failure that was not noted for this long is over: everything that fails is retried within half
/// a minute.
const OVER: Duration = Duration::from_mins(2);

/// How many failures are remembered at most: a burst of uploads may fail for one reason.
const MOST: usize = 1000;

/// How many failures the file lists.
const SHOWN: usize = 10;

/// A current failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// What fails: a stage, or an upload.
    pub what: String,
    /// The reason, in one line.
    pub why: String,
    /// The kind of failure, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<ErrorKind>,
    /// When it was first noted.
    pub since: Time,
}

/// The contents of the file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TroublesRecord {
    /// The first of the failures, in the order of what fails.
    pub troubles: Vec<Trouble>,
    /// How many more failures there are.
    #[serde(default)]
    pub more: usize,
}

/// The current failures. Clones share them.
#[derive(Clone)]
pub struct Troubles(Arc<SharedTroubles>);

struct SharedTroubles {
    path: PathBuf,
    clock: Arc<dyn Clock>,
    state: Mutex<TroublesState>,
}

#[derive(Default)]
struct TroublesState {
    troubles: BTreeMap<String, (Trouble, Instant)>,
    /// What each stage logged last, and when.
    told: BTreeMap<&'static str, (Instant, String)>,
    written: TroublesRecord,
}

impl Troubles {
    /// Starts without failures, and removes the file that a killed process may have left.
    pub fn new(data: &Path, clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        let path = path(data);
        files::remove(&path)?;
        Ok(Self(Arc::new(SharedTroubles { path, clock, state: Mutex::default() })))
    }

    /// Notes that `what` (a stage, or an upload) failed; returns whether that is new.
    pub fn note(&self, what: &str, why: &str, kind: Option<ErrorKind>) -> bool {
        let (now, mut state) = (self.0.clock.now(), self.0.state());
        if let Some((trouble, last)) = state.troubles.get_mut(what) {
            why.clone_into(&mut trouble.why);
            trouble.kind = kind;
            *last = Instant::now();
            return false;
        }
        let has_room = state.troubles.len() < MOST;
        if has_room {
            let trouble = Trouble { what: what.to_owned(), why: why.to_owned(), kind, since: now };
            state.troubles.insert(what.to_owned(), (trouble, Instant::now()));
        }
        has_room
    }

    /// Notes that `what` works; returns whether it failed before.
    pub fn over(&self, what: &str) -> bool {
        self.0.state().troubles.remove(what).is_some()
    }

    /// Whether `teller` should log this now: not if it logged the same within a minute. Differences
    /// in numbers don't count.
    pub fn is_news(&self, teller: &'static str, why: &str) -> bool {
        let (now, mut state) = (Instant::now(), self.0.state());
        if let Some((last, told)) = state.told.get(teller)
            && now - *last < TOLD_AGAIN
            && without_numbers(told).eq(without_numbers(why))
        {
            return false;
        }
        state.told.insert(teller, (now, why.to_owned()));
        true
    }

    /// Whether `teller` may log a line about many failures, each with its own reason: at most once
    /// a minute.
    pub fn is_time(&self, teller: &'static str) -> bool {
        self.is_news(teller, "")
    }

    /// Updates the file, and forgets failures that are over.
    pub fn write(&self) -> anyhow::Result<()> {
        let mut state = self.0.state();
        state.troubles.retain(|_, (_, last)| last.elapsed() < OVER);
        let troubles: Vec<Trouble> =
            state.troubles.values().take(SHOWN).map(|(trouble, _)| trouble.clone()).collect();
        let record = TroublesRecord { more: state.troubles.len() - troubles.len(), troubles };
        if record == state.written {
            return Ok(());
        }
        if record.troubles.is_empty() {
            files::remove(&self.0.path)?;
        } else {
            files::write(&self.0.path, &serde_json::to_vec(&record)?)?;
        }
        state.written = record;
        Ok(())
    }
}

/// A text without its digits: a new time or count is no news.
fn without_numbers(text: &str) -> impl Iterator<Item = char> + '_ {
    text.chars().filter(|letter| !letter.is_ascii_digit())
}

impl SharedTroubles {
    fn state(&self) -> std::sync::MutexGuard<'_, TroublesState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn path(data: &Path) -> PathBuf {
    data.join("troubles.json")
}

/// Reads the failures of the process that runs in `data`.
pub fn read(data: &Path) -> TroublesRecord {
    let read = given::read(&path(data)).ok();
    read.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Still;

    impl Clock for Still {
        fn now(&self) -> Time {
            "2026-01-01T00:00:00Z".parse().unwrap()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_logged_once_a_minute_and_shown_until_it_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let troubles = Troubles::new(folder.path(), Arc::new(Still)).unwrap();
        assert!(troubles.is_news("sign", "why"));
        assert!(!troubles.is_news("sign", "why"));
        assert!(troubles.is_news("publish", "at 12:30 it is late"));
        assert!(!troubles.is_news("publish", "at 12:31 it is late"));
        assert!(troubles.is_news("sign", "another"));
        assert!(troubles.is_time("uploads") && !troubles.is_time("uploads"));
        tokio::time::advance(TOLD_AGAIN).await;
        assert!(troubles.is_news("sign", "another"));
        assert!(troubles.is_time("uploads"));

        for number in 0..SHOWN + 2 {
            assert!(troubles.note(
                &format!("upload {number:>2}"),
                "no room",
                Some(ErrorKind::Retry)
            ));
        }
        assert!(!troubles.note("upload  3", "no room", Some(ErrorKind::Retry)), "that is known");
        assert!(troubles.over("upload  0") && !troubles.over("upload  0"));
        troubles.write().unwrap();
        let record = read(folder.path());
        assert_eq!((record.troubles.len(), record.more), (SHOWN, 1));
        assert_eq!((&*record.troubles[0].what, &*record.troubles[0].why), ("upload  1", "no room"));
        assert_eq!(record.troubles[0].kind, Some(ErrorKind::Retry));
        tokio::time::advance(OVER / 2).await;
        troubles.note("sign", "why", None);
        tokio::time::advance(OVER / 2).await;
        troubles.write().unwrap();
        assert_eq!(read(folder.path()).troubles.len(), 1);
        troubles.over("sign");
        troubles.write().unwrap();
        assert!(!path(folder.path()).exists());
    }
}
