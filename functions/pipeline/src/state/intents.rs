//! `root-intent.json`: the roots that operators are about to publish.

use serde::{Deserialize, Serialize};
use tufline_store::{Key, Store, Tag, Written};
use tufline_tuf::root::FitRoot;

use crate::error::{Result, StageError};
use crate::state::ledger;
use crate::state::records::RECORD_FORMAT;

/// How many races a write loses before it gives up. By then somebody else must be writing all the
/// time.
const ATTEMPTS: usize = 8;

/// A root that an operator is about to publish.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Intent {
    /// A name for the run of the command that wrote it.
    pub attempt: String,
    /// The root's version.
    pub version: u64,
    /// The contents of the root's file.
    pub root: String,
    /// The timestamp's version when this intent was written. A stage that shows something reads the
    /// timestamp first and the intents next, and then replaces the timestamp that it read. So once
    /// this version is replaced, no stage that missed the intent can win its write.
    pub replaces: u64,
}

impl Intent {
    pub(crate) fn new(attempt: &str, root: &FitRoot, replaces: u64) -> Self {
        Self {
            attempt: attempt.into(),
            version: root.signed().version(),
            root: String::from_utf8_lossy(root.signed().bytes()).into_owned(),
            replaces,
        }
    }
}

/// `root-intent.json`. There may be several intents, each of another run, since nobody can tell
/// whether a run is dead or slow. Each holds until a root of its version is published.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Intents {
    /// [`RECORD_FORMAT`] when it was written.
    pub format: u32,
    pub roots: Vec<Intent>,
}

impl Intents {
    pub async fn read(store: &dyn Store) -> Result<(Option<Tag>, Self)> {
        match store.get(&Key::RootIntent).await? {
            Some(stored) => {
                // Damage here must not stop the pipeline. The run whose intent was lost notices
                // that, and gives up.
                let intents =
                    ledger::parse(&Key::RootIntent, &stored.bytes).unwrap_or_else(|error| {
                        tracing::error!(%error, "root intents not readable: counted as none");
                        Self::none()
                    });
                Ok((Some(stored.tag), intents))
            }
            None => Ok((None, Self::none())),
        }
    }

    pub fn none() -> Self {
        Self { format: RECORD_FORMAT, roots: Vec::new() }
    }

    /// Whether there is an intent of this run.
    pub(crate) async fn has(store: &dyn Store, attempt: &str) -> Result<bool> {
        Ok(Self::read(store).await?.1.roots.iter().any(|intent| intent.attempt == attempt))
    }

    /// Replaces or, without `intent`, removes what `attempt` wrote before. It also drops intents of
    /// versions up to `published`.
    pub(crate) async fn write(
        store: &dyn Store,
        attempt: &str,
        intent: Option<&Intent>,
        published: u64,
    ) -> Result<()> {
        let edit = |intents: &mut Vec<Intent>| {
            intents.retain(|other| other.attempt != attempt && other.version > published);
            intents.extend(intent.cloned());
        };
        Self::edit(store, edit).await.map(drop)
    }

    /// Removes all intents, and returns how many there were.
    pub(crate) async fn clear(store: &dyn Store) -> Result<usize> {
        Self::edit(store, Vec::clear).await
    }

    /// Edits the intents, and returns how many there were before.
    pub async fn edit(store: &dyn Store, edit: impl Fn(&mut Vec<Intent>)) -> Result<usize> {
        for _ in 0..ATTEMPTS {
            let (tag, mut intents) = Self::read(store).await?;
            let count = intents.roots.len();
            edit(&mut intents.roots);
            if tag.is_none() && intents.roots.is_empty() {
                return Ok(0);
            }
            let record = ledger::pointer(Key::RootIntent, &intents)?;
            let written = match tag {
                Some(tag) => store.replace(&record, &tag).await?,
                None => store.create(&record).await?,
            };
            if written == Written::Done {
                return Ok(count);
            }
        }
        Err(StageError::Contended("root publish", ATTEMPTS))
    }
}
