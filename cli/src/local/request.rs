//! How another process asks the running one to reconcile: by a file.
//!
//! `DATA/reconcile.json` is `{}` while it is a request; the running process puts its answer in its place, `{"hints": N}`,
//! and whoever asked removes that.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::files;

#[derive(Debug, Default, Serialize, Deserialize)]
struct Request {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hints: Option<usize>,
}

fn path(data: &Path) -> PathBuf {
    data.join("reconcile.json")
}

/// Asks.
pub fn ask(data: &Path) -> anyhow::Result<()> {
    files::write(&path(data), &serde_json::to_vec(&Request::default())?)
}

/// How many uploads are looked at again; `None` while there is no answer. An answer is taken once.
pub fn take_answer(data: &Path) -> anyhow::Result<Option<usize>> {
    let hints = read(data).and_then(|request| request.hints);
    if hints.is_some() {
        files::remove(&path(data))?;
    }
    Ok(hints)
}

/// Takes back a request that nobody answers.
pub fn withdraw(data: &Path) -> anyhow::Result<()> {
    files::remove(&path(data)).map(drop)
}

fn read(data: &Path) -> Option<Request> {
    serde_json::from_slice(&std::fs::read(path(data)).ok()?).ok()
}

/// Whether somebody asks.
pub fn is_there(data: &Path) -> bool {
    read(data).is_some_and(|request| request.hints.is_none())
}

/// Answers whoever asks, if anyone does.
pub fn answer(data: &Path, hints: usize) -> anyhow::Result<()> {
    if is_there(data) {
        files::write(&path(data), &serde_json::to_vec(&Request { hints: Some(hints) })?)?;
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
