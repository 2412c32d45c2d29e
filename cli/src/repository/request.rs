//! How another process asks the running one to reconcile: by a file.
//!
//! `DATA/reconcile.json` is `{}` while it is a request; the running process puts its answer in its place, `{"hints": N}`,
//! and whoever asked removes that.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::bail;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};
use tufline_folder::given;

use crate::files;
use crate::text::Quoted;

/// How long the running process may take: it looks for requests every second, and reads the whole folder then.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often its answer is looked for.
const PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug, Default, Serialize, Deserialize)]
struct ReconcileRequest {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hints: Option<usize>,
}

fn path(data: &Path) -> PathBuf {
    data.join("reconcile.json")
}

/// Asks the process that runs the repository in `data`; answers how many uploads it looks at.
pub async fn ask_and_wait(data: &Path) -> anyhow::Result<usize> {
    ask(data)?;
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(hints) = take_answer(data)? {
            return Ok(hints);
        }
        if Instant::now() >= until {
            withdraw(data)?;
            bail!("no `tufline local` answers in {}: start it, which reconciles as well", data.quoted());
        }
        sleep(PAUSE).await;
    }
}

/// Asks.
fn ask(data: &Path) -> anyhow::Result<()> {
    files::write(&path(data), &serde_json::to_vec(&ReconcileRequest::default())?)
}

/// How many uploads are looked at again; `None` while there is no answer. An answer is taken once.
fn take_answer(data: &Path) -> anyhow::Result<Option<usize>> {
    let hints = read(data).and_then(|request| request.hints);
    if hints.is_some() {
        files::remove(&path(data))?;
    }
    Ok(hints)
}

/// Takes back a request that nobody answers.
fn withdraw(data: &Path) -> anyhow::Result<()> {
    files::remove(&path(data)).map(drop)
}

fn read(data: &Path) -> Option<ReconcileRequest> {
    serde_json::from_slice(&given::read(&path(data)).ok()?).ok()
}

/// Whether somebody asks.
pub fn is_there(data: &Path) -> bool {
    read(data).is_some_and(|request| request.hints.is_none())
}

/// Answers whoever asks, if anyone does.
pub fn answer(data: &Path, hints: usize) -> anyhow::Result<()> {
    if is_there(data) {
        files::write(&path(data), &serde_json::to_vec(&ReconcileRequest { hints: Some(hints) })?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_answered_once() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        answer(data, 1).unwrap();
        assert!(read(data).is_none(), "nobody asked");
        ask(data).unwrap();
        assert!(is_there(data));
        assert_eq!(take_answer(data).unwrap(), None);
        answer(data, 3).unwrap();
        assert!(!is_there(data));
        assert_eq!(take_answer(data).unwrap(), Some(3));
        assert_eq!(take_answer(data).unwrap(), None);
        ask(data).unwrap();
        withdraw(data).unwrap();
        assert!(read(data).is_none());
    }
}
