//! A command's request to the running `tufline local`, through a file.
//!
//! The command writes `{}` to `DATA/reconcile.json` or `DATA/chunk.json`. The running process
//! replaces that with its answer, `{"hints": N}`, and the command removes the file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::bail;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};
use tufline_folder::given;

use crate::files;
use crate::text::Quoted;

/// How long the running process may take: it looks for requests every second, and then reads the
/// whole folder.
const PATIENCE: Duration = Duration::from_secs(30);

/// The pause between two checks for the answer.
const PAUSE: Duration = Duration::from_millis(50);

/// What a command asks of the running process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// To reconcile; the answer is how many uploads are checked.
    Reconcile,
    /// To cut targets that have no chunks; the answer is how many targets those are.
    Chunk,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct RequestFile {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hints: Option<usize>,
}

fn path(data: &Path, request: Request) -> PathBuf {
    data.join(match request {
        Request::Reconcile => "reconcile.json",
        Request::Chunk => "chunk.json",
    })
}

/// Sends `request` to the process that runs the repository in `data`; returns its answer, a number
/// of uploads or targets.
pub async fn ask_and_wait(data: &Path, request: Request) -> anyhow::Result<usize> {
    ask(data, request)?;
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(hints) = take_answer(data, request)? {
            return Ok(hints);
        }
        if Instant::now() >= until {
            withdraw(data, request)?;
            bail!(
                "no `tufline local` answers in {}: start it, and it does that by itself",
                data.quoted()
            );
        }
        sleep(PAUSE).await;
    }
}

fn ask(data: &Path, request: Request) -> anyhow::Result<()> {
    files::write(&path(data, request), &serde_json::to_vec(&RequestFile::default())?)
}

/// Takes the answer; `None` while there is none.
fn take_answer(data: &Path, request: Request) -> anyhow::Result<Option<usize>> {
    let hints = read(data, request).and_then(|file| file.hints);
    if hints.is_some() {
        files::remove(&path(data, request))?;
    }
    Ok(hints)
}

/// Withdraws a request that nobody has answered.
fn withdraw(data: &Path, request: Request) -> anyhow::Result<()> {
    files::remove(&path(data, request)).map(drop)
}

fn read(data: &Path, request: Request) -> Option<RequestFile> {
    serde_json::from_slice(&given::read(&path(data, request)).ok()?).ok()
}

/// Whether there is an unanswered request.
pub fn is_there(data: &Path, request: Request) -> bool {
    read(data, request).is_some_and(|file| file.hints.is_none())
}

/// Answers the request, if there is one.
pub fn answer(data: &Path, request: Request, hints: usize) -> anyhow::Result<()> {
    if is_there(data, request) {
        files::write(
            &path(data, request),
            &serde_json::to_vec(&RequestFile { hints: Some(hints) })?,
        )?;
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
        let (request, other) = (Request::Reconcile, Request::Chunk);
        answer(data, request, 1).unwrap();
        assert!(read(data, request).is_none(), "nobody asked");
        ask(data, request).unwrap();
        assert!(is_there(data, request) && !is_there(data, other));
        assert_eq!(take_answer(data, request).unwrap(), None);
        answer(data, request, 3).unwrap();
        assert!(!is_there(data, request));
        assert_eq!(take_answer(data, request).unwrap(), Some(3));
        assert_eq!(take_answer(data, request).unwrap(), None);
        ask(data, request).unwrap();
        withdraw(data, request).unwrap();
        assert!(read(data, request).is_none());
    }
}
