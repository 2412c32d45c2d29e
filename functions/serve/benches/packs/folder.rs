//! Reads a repository that was written to a folder.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use tufline_serve::{MOST_PACK_AGE, Packs, ServedRepository};
use tufline_store::VerifiedRoots;
use tufline_store::memory::{Control, Memory, MemoryKeys};

/// The newest state. The benchmark serves this one.
pub const NEWEST: &str = "behind";

/// All files in the folder.
pub struct Repository {
    /// The metadata files, by name.
    pub files: BTreeMap<String, Bytes>,
    timestamps: BTreeMap<String, Bytes>,
}

/// Which documents are current in one state.
pub struct State {
    /// The timestamp's version.
    pub timestamp: u64,
    /// The snapshot's version.
    pub snapshot: u64,
    /// The versions of the targets roles.
    pub roles: BTreeMap<String, u64>,
}

impl Repository {
    /// Reads all files in a folder.
    pub fn read(folder: &Path) -> Self {
        let mut timestamps = BTreeMap::new();
        for (name, bytes) in files(folder) {
            if let Some(state) = name.strip_suffix(".timestamp.json") {
                timestamps.insert(state.to_owned(), bytes);
            }
        }
        Self { files: files(&folder.join("metadata")).collect(), timestamps }
    }

    /// The names of the states.
    pub fn states(&self) -> impl Iterator<Item = &String> {
        self.timestamps.keys()
    }

    /// The documents that are current in a state.
    pub fn state(&self, state: &str) -> State {
        let timestamp = signed(&self.timestamps[state]);
        let snapshot = timestamp["meta"]["snapshot.json"]["version"].as_u64().unwrap();
        let listed = signed(&self.files[&format!("{snapshot}.snapshot.json")]);
        let roles = listed["meta"].as_object().unwrap().iter();
        let roles = roles.map(|(file, meta)| {
            (file.trim_end_matches(".json").to_owned(), meta["version"].as_u64().unwrap())
        });
        State {
            timestamp: timestamp["version"].as_u64().unwrap(),
            snapshot,
            roles: roles.collect(),
        }
    }

    /// A server in this state, as a new process has it.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the edge: what is served has its true time"
    )]
    pub fn served(&self, state: &str, control: Box<dyn Control>) -> ServedRepository {
        let keys = Arc::new(MemoryKeys::generate().unwrap());
        let memory = Arc::new(Memory::new(jiff::Timestamp::now(), keys, control));
        for (file, bytes) in &self.files {
            memory.tamper(&format!("metadata/{file}"), Some(bytes.clone()));
        }
        memory.tamper("metadata/timestamp.json", Some(self.timestamps[state].clone()));
        ServedRepository {
            store: Arc::new(VerifiedRoots::new(memory.clone(), None)),
            blobs: memory.clone(),
            chunks: memory,
            redirects: None,
            packs: Some(Arc::new(Packs::new(MOST_PACK_AGE))),
            pauses: Vec::new(),
        }
    }
}

fn files(folder: &Path) -> impl Iterator<Item = (String, Bytes)> {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    let files = entries.filter(|entry| entry.file_type().unwrap().is_file());
    files.map(|file| {
        (file.file_name().into_string().unwrap(), std::fs::read(file.path()).unwrap().into())
    })
}

/// The signed part of a document.
pub fn signed(document: &[u8]) -> Value {
    serde_json::from_slice::<Value>(document).unwrap()["signed"].take()
}
