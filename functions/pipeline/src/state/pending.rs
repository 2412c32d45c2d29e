//! What was made after the published generation, and what of it may be gone on from.
//!
//! Each manifest says which generation it changes, its base. *Invariant*: whatever lies in the ledger above the published generation, it is a
//! verdict and never an error: what can't be read, what leads past what is published, and what was refused is void, and rebuild goes on
//! from what is published, under numbers above all of it.
//!
//! *Invariant*: however many lie there, and however long they are, a run reads some and holds some. The newest are read first, so that what is
//! made above all of them can be gone on from; what is not read is void, and looked at again once something above it is told of
//! (`announce.rs`).

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use tufline_store::{Folder, Key, Store};
use tufline_tuf::time::seconds_between;
use tufline_tuf::{Manifest, Sha256, Time};

use crate::concurrency::{REQUESTS_AT_ONCE, at_once};
use crate::error::{Result, StageError};
use crate::state::ledger;
use crate::state::ledger::Published;
use crate::state::records::{RecordedFault, RefusedGeneration};

/// So many generations are read, the newest.
const MOST_GENERATIONS: usize = 1000;

/// What is read of them may take so much memory, in bytes as [`memory`] reckons: a small part of what sign and publish have.
const MOST_MEMORY: usize = 80_000_000;

/// Records of up to so many bytes are read together; the few that are longer, one after another.
const SHORT: usize = 256 * 1024;

/// For so long sign and publish are waited for where much waits, in seconds.
const PATIENCE_SECONDS: i64 = 600;

/// A listing of refusals costs as much as so many reads of single ones (<https://aws.amazon.com/s3/pricing/>).
const FEW: usize = 12;

/// The generations above what is published.
#[derive(Debug, Default)]
pub struct Pending {
    /// What is published; 0 before that.
    published: u64,
    /// By their numbers, without gaps; `None` where one can't be read.
    found: BTreeMap<u64, Option<Manifest>>,
    /// Why some of them were refused.
    refused: BTreeMap<u64, RefusedGeneration>,
    /// Whether they take more than half of what there is room for.
    is_half_full: bool,
    /// Whether some were not read for want of room.
    is_cut: bool,
}

/// How much memory a manifest takes, at most about: its text, and what each member of it becomes.
fn memory(bytes: &[u8]) -> usize {
    bytes.len() + 48 * bytes.split(|byte| *byte == b',').count()
}

impl Pending {
    /// Reads them.
    ///
    /// # Errors
    /// Requests that failed.
    pub async fn read(store: &dyn Store, published: u64) -> Result<Self> {
        let numbers = ledger::generations_after(store, published).await?;
        let refused = refusals(store, &numbers).await?;
        let mut pending = Self { published, ..Self::default() };
        // Before the first publication it is the first that counts.
        let first = numbers.iter().copied().take(usize::from(published == 0));
        let newest = numbers.len().saturating_sub(MOST_GENERATIONS);
        let wanted: BTreeSet<u64> = numbers.iter().copied().skip(newest).chain(first).collect();
        pending.is_cut = wanted.len() < numbers.len();
        pending.found.extend(numbers.into_iter().map(|number| (number, None)));
        let (wanted, mut left) = (wanted.into_iter().collect::<Vec<_>>(), MOST_MEMORY);
        for some in wanted.rchunks(REQUESTS_AT_ONCE) {
            let short = read_short(store, some.iter().map(|number| (*number, Key::Manifest(*number)))).await?;
            for (number, bytes) in short.into_iter().rev() {
                let bytes = match bytes {
                    Some(bytes) if bytes.is_empty() => ledger::manifest_bytes(store, number).await?,
                    Some(bytes) => bytes,
                    None => return Err(ledger::lost_manifest(number)),
                };
                let needed = memory(&bytes);
                pending.is_cut |= needed > left;
                let manifest = if needed <= left {
                    ledger::parse_manifest(number, &bytes)
                } else {
                    let why = "with the newer ones that wait it takes more memory than there is".into();
                    Err(StageError::Record(Key::Manifest(number).path(), why))
                };
                match &manifest {
                    Ok(_) => left -= needed,
                    Err(error) => tracing::error!(generation = number, %error, "a generation can't be read"),
                }
                if let Some(record) = refused.get(&number).filter(|record| record.manifest == Sha256::of(&bytes)) {
                    pending.refused.insert(number, record.clone());
                }
                pending.found.insert(number, manifest.ok());
            }
        }
        pending.is_half_full = left < MOST_MEMORY / 2 || pending.found.len() > MOST_GENERATIONS / 2;
        if pending.is_cut {
            tracing::warn!(generations = pending.found.len(), "more generations wait than there is room for");
        }
        Ok(pending)
    }

    /// The generations that may be gone on from, oldest first, each based on the one before: those on the way from the newest that leads
    /// to what is published, up to the first that was refused.
    #[must_use]
    pub fn chain(&self) -> Vec<&Manifest> {
        if self.published == 0 {
            // Before anything is published there is one to begin with, wherever its numbers begin.
            return self.found.values().next().and_then(Option::as_ref).into_iter().collect();
        }
        let (mut chain, mut next) = (Vec::new(), self.leading().pop_last());
        while let Some(manifest) = next.and_then(|number| self.found.get(&number)?.as_ref()) {
            next = Some(manifest.base).filter(|base| *base != self.published);
            chain.push(manifest);
        }
        chain.reverse();
        if let Some(first) = chain.iter().position(|manifest| self.is_refused(manifest.generation)) {
            chain.truncate(first);
        }
        chain
    }

    /// The same, without the others.
    #[must_use]
    pub fn into_chain(mut self) -> Vec<Manifest> {
        let numbers: Vec<u64> = self.chain().into_iter().map(|manifest| manifest.generation).collect();
        numbers.iter().filter_map(|number| self.found.remove(number).flatten()).collect()
    }

    /// Those that come from what is published: each is based on it, or on an older one that does.
    fn leading(&self) -> BTreeSet<u64> {
        let mut leading = BTreeSet::new();
        for manifest in self.readable() {
            let (number, base) = (manifest.generation, manifest.base);
            if base == self.published || (base < number && leading.contains(&base)) {
                leading.insert(number);
            }
        }
        leading
    }

    fn is_refused(&self, generation: u64) -> bool {
        self.refused.get(&generation).is_some_and(|refused| refused.fault != RecordedFault::Root)
    }

    /// Whether the newest generation may be gone on from, or there is none. Else the next one is based on what is published.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let newest = self.found.keys().next_back();
        newest.is_none() || newest == self.chain().last().map(|manifest| &manifest.generation)
    }

    /// Whether no more should be made now: there would soon be no room for them, and sign and publish can be expected to show what waits.
    /// That is no longer so once they had [`PATIENCE_SECONDS`], in which nothing was made.
    #[must_use]
    pub fn is_full(&self, now: Time) -> bool {
        let chain = self.chain();
        let waited = chain.last().map(|newest| seconds_between(newest.created, now));
        self.is_half_full
            && self.is_sound()
            && chain.iter().any(|manifest| !manifest.is_fence())
            && waited.is_some_and(|waited| waited.abs() < PATIENCE_SECONDS)
    }

    /// The newest, if it can't be read or leads nowhere: nobody who counts made it. One that is based on what was published before was only
    /// overtaken: whoever made it went past a generation that was shown all the same.
    #[must_use]
    pub fn strange(&self) -> Option<u64> {
        let number = self.found.keys().next_back()?;
        let counts = self.is_cut || self.leading().contains(number) || self.refused.contains_key(number);
        (!counts && !self.is_overtaken(*number)).then_some(*number)
    }

    fn is_overtaken(&self, newest: u64) -> bool {
        let mut number = newest;
        while let Some(manifest) = self.found.get(&number).and_then(Option::as_ref) {
            if manifest.base >= number {
                return false;
            }
            number = manifest.base;
        }
        // Generations begin with 1.
        (1..self.published).contains(&number)
    }

    /// All that can be read.
    pub fn readable(&self) -> impl Iterator<Item = &Manifest> {
        self.found.values().flatten()
    }

    /// Why some of them were refused.
    pub fn refusals(&self) -> impl Iterator<Item = &RecordedFault> {
        self.refused.values().map(|refused| &refused.fault)
    }

    /// The number of the generation to make next.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.found.keys().next_back().copied().unwrap_or(self.published) + 1
    }
}

/// Why some of these generations were refused, by the records of that.
async fn refusals(store: &dyn Store, numbers: &[u64]) -> Result<BTreeMap<u64, RefusedGeneration>> {
    let (Some(first), Some(last)) = (numbers.first(), numbers.last()) else { return Ok(BTreeMap::new()) };
    let mut refused = numbers.to_vec();
    if numbers.len() > FEW {
        let newest = numbers.len().saturating_sub(MOST_GENERATIONS);
        let first = numbers.get(newest).unwrap_or(first);
        let after = Key::Refused(first.saturating_sub(1));
        let listed = store.list(Folder::Refused, Some(&after), MOST_GENERATIONS).await?;
        let listed =
            listed.into_iter().filter_map(|key| if let Key::Refused(number) = key { Some(number) } else { None });
        refused = listed.filter(|number| number <= last).collect();
    }
    let (mut found, mut left) = (BTreeMap::new(), MOST_MEMORY / 4);
    for some in refused.rchunks(REQUESTS_AT_ONCE) {
        let short = read_short(store, some.iter().map(|number| (*number, Key::Refused(*number)))).await?;
        for (number, bytes) in short.into_iter().rev() {
            let key = Key::Refused(number);
            let Some(mut bytes) = bytes else { continue };
            if bytes.is_empty() {
                bytes = store.bytes_within(&key, left).await?.unwrap_or_default();
            }
            // One that can't be read says nothing.
            let Some(rest) = left.checked_sub(memory(&bytes)) else { continue };
            if let Ok(record) = ledger::parse(&key, &bytes) {
                left = rest;
                found.insert(number, record);
            }
        }
    }
    Ok(found)
}

/// Reads records together; those that are too long for that have no bytes.
pub(crate) async fn read_short(
    store: &dyn Store,
    keys: impl Iterator<Item = (u64, Key)>,
) -> Result<BTreeMap<u64, Option<Bytes>>> {
    let reads = keys.map(|(number, key)| async move { Ok((number, store.bytes_within(&key, SHORT).await?)) });
    at_once(reads).await.into_iter().collect()
}

/// What is published, and what was made since.
#[derive(Debug)]
pub struct Tip {
    /// What devices see.
    pub published: Published,
    /// Its manifest.
    pub shown: Manifest,
    /// What was made since.
    pub pending: Pending,
}

impl Tip {
    /// Reads all of it.
    ///
    /// # Errors
    /// [`StageError::NotInitialised`] before the first publication, [`StageError::Missing`] without the published manifest: the serial in it
    /// must not begin again.
    pub async fn read(store: &dyn Store) -> Result<Self> {
        let published = ledger::published(store).await?.ok_or(StageError::NotInitialised)?;
        let (shown, pending) = futures::try_join!(
            ledger::manifest(store, published.generation),
            Pending::read(store, published.generation)
        )?;
        Ok(Self { published, shown, pending })
    }

    /// The newest generation that may be gone on from.
    #[must_use]
    pub fn newest(&self) -> &Manifest {
        self.pending.chain().pop().unwrap_or(&self.shown)
    }

    /// The base of the next generation that an operator makes.
    ///
    /// # Errors
    /// [`StageError::Refused`] while a generation that was refused is not replaced.
    pub fn base(&self) -> Result<&Manifest> {
        if self.pending.is_sound() {
            return Ok(self.newest());
        }
        Err(StageError::refused(
            "a generation was refused, and the pipeline is about to replace it: try again in a minute",
        ))
    }
}
