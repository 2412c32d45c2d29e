//! Events as lines of JSON in a file.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde_json::Value;
use tufline_store::{Clock, EVENT_SOURCE, ErrorKind, Event, Events, Result, StoreError};
use tufline_tuf::{json, time};

use crate::data::{DataFolder, failed};
use crate::lock::lock;
use crate::threads::blocking;

/// How many bytes are read at once in the search for a torn line.
const STEP: usize = 64 * 1024;

/// [`Events`] in `DATA/events.jsonl`: each line is an object with `source`, `time`, `detail-type`
/// and `detail`, as EventBridge delivers them.
///
/// *Invariant*: a program that reads up to the last line feed reads whole events. The file may be
/// moved away at any time; the next event begins a new one.
#[derive(Clone)]
pub struct FileEvents(Arc<EventsLog>);

struct EventsLog {
    path: PathBuf,
    clock: Arc<dyn Clock>,
    /// Lets one batch write at a time, so that a batch that fails removes only its own bytes.
    writing: Mutex<()>,
}

impl FileEvents {
    /// Opens the events file of `data`, and repairs its end after a crash.
    ///
    /// # Errors
    /// If the file can't be made, read or written.
    pub fn open(data: &DataFolder, clock: Arc<dyn Clock>) -> Result<Self> {
        let path = data.path().join("events.jsonl");
        open(&path).map_err(|error| failed("open", &path, error))?;
        Ok(Self(Arc::new(EventsLog { path, clock, writing: Mutex::new(()) })))
    }

    /// The absolute path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    fn lines(&self, events: &[Event]) -> std::result::Result<Vec<u8>, serde_json::Error> {
        let time = time::whole_seconds(self.0.clock.now()).to_string();
        let mut lines = Vec::new();
        for event in events {
            let mut line = serde_json::to_value(event)?;
            if let Value::Object(fields) = &mut line {
                fields.insert("source".into(), EVENT_SOURCE.into());
                fields.insert("time".into(), time.clone().into());
            }
            lines.extend(json::to_vec(&line)?);
            lines.push(b'\n');
        }
        Ok(lines)
    }
}

/// Opens the file at `path`, and completes its last line or cuts it off.
fn open(path: &Path) -> io::Result<File> {
    let is_new = !path.exists();
    let file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
    if is_new && let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    mend(&file)?;
    Ok(file)
}

/// Completes or cuts off a last line without a line feed, whose writer was stopped by a crash or a
/// full disk. The writer never got a result, so it sends the event again.
fn mend(mut file: &File) -> io::Result<()> {
    let length = file.metadata()?.len();
    let mut torn: Vec<u8> = Vec::new();
    let mut begin = length;
    while begin > 0 {
        let step = usize::try_from(begin).map_or(STEP, |begin| begin.min(STEP));
        begin -= step as u64;
        let mut piece = vec![0; step];
        file.read_exact_at(&mut piece, begin)?;
        if let Some(line_feed) = piece.iter().rposition(|byte| *byte == b'\n') {
            let rest = piece.split_off(line_feed + 1);
            begin += line_feed as u64 + 1;
            torn.splice(0..0, rest);
            break;
        }
        torn.splice(0..0, piece);
    }
    if torn.is_empty() {
        return Ok(());
    }
    if serde_json::from_slice::<Value>(&torn).is_ok_and(|line| line.is_object()) {
        file.write_all(b"\n")?;
    } else {
        file.set_len(begin)?;
    }
    file.sync_data()
}

fn append(path: &Path, lines: &[u8]) -> io::Result<()> {
    let mut file = open(path)?;
    let length = file.metadata()?.len();
    let written = file.write_all(lines).and_then(|()| file.sync_data());
    if written.is_err() {
        // All lines or none. If this fails too, the next batch repairs it.
        let _ = file.set_len(length);
    }
    written
}

#[async_trait]
impl Events for FileEvents {
    async fn send(&self, events: &[Event]) -> Result<()> {
        if events.is_empty() {
            return Ok(());
        }
        let unwritten = |error| {
            StoreError::from_source(ErrorKind::Invalid, "write", self.path().display(), error)
        };
        let lines = self.lines(events).map_err(unwritten)?;
        let inner = Arc::clone(&self.0);
        blocking(move || {
            let _writing = lock(&inner.writing);
            append(&inner.path, &lines).map_err(|error| failed("append to", &inner.path, error))
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_torn_line_is_completed_or_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(3 * STEP));
        for (before, after) in [
            ("", ""),
            ("{\"a\":1}\n", "{\"a\":1}\n"),
            ("{\"a\":1}\n{\"b\":", "{\"a\":1}\n"),
            ("{\"a\":1}\n{\"b\":2}", "{\"a\":1}\n{\"b\":2}\n"),
            ("{\"a\":1}\n12", "{\"a\":1}\n"),
            ("{\"a", ""),
            (&long, &format!("{long}\n")),
            (&format!("{{}}\n{}", &long[..long.len() - 1]), "{}\n"),
        ] {
            std::fs::write(&path, before).unwrap();
            drop(open(&path).unwrap());
            assert!(
                std::fs::read_to_string(&path).unwrap() == after,
                "{before:.40} became something else"
            );
        }
    }

    proptest! {
        /// Wherever a crash cuts the file, the whole lines before stay, and what follows is
        /// readable.
        #[test]
        fn a_cut_anywhere_loses_only_the_last_line(cut in 0_usize..60) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("events.jsonl");
            let whole = "{\"number\":1}\n{\"number\":2}\n{\"number\":3}\n{\"number\":4}\n";
            let cut = cut.min(whole.len());
            std::fs::write(&path, &whole[..cut]).unwrap();
            append(&path, b"{\"number\":5}\n").unwrap();
            let text = std::fs::read_to_string(&path).unwrap();
            let numbers: Vec<u64> =
                text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["number"].as_u64().unwrap()).collect();
            let complete = whole[..cut].matches('}').count() as u64;
            let expected: Vec<u64> = (1..=complete).chain([5]).collect();
            prop_assert_eq!(numbers, expected);
        }
    }
}
