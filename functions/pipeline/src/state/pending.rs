//! The generations after the published one, and which of them rebuild may go on from.
//!
//! Each manifest names the generation that it changes, its base.
//!
//! *Invariant*: whatever lies in the ledger above the published generation leads to a verdict,
//! never to an error. A manifest that cannot be read, was refused, or does not lead back to the
//! published generation is void. Rebuild then goes on from what is published, with numbers above
//! all of these.
//!
//! *Invariant*: however many manifests lie there, and however long they are, a run reads and holds
//! a bounded amount. It reads the newest first, so that rebuild can go on from anything made above
//! all of them. What it does not read is void, and hash looks again at those changes once something
//! above is announced (`announce.rs`).

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

/// How many generations are read. These are the newest ones.
const MOST_GENERATIONS: usize = 1000;

/// How much memory the manifests that were read may take, in bytes as [`memory`] estimates. It is a
/// small part of what sign and publish have.
const MOST_MEMORY: usize = 80_000_000;

/// Records up to this many bytes are read in parallel. The few longer ones are read one after
/// another.
const SHORT: usize = 256 * 1024;

/// How long rebuild waits for sign and publish if much waits for them, in seconds.
const PATIENCE_SECONDS: i64 = 600;

/// A listing of refusals costs as much as this many single reads
/// (<https://aws.amazon.com/s3/pricing/>).
const FEW: usize = 12;

/// The generations after the published one.
#[derive(Debug, Default)]
pub struct Pending {
    /// The published generation; 0 before the first publication.
    published: u64,
    /// The manifests by number, without gaps; `None` for one that cannot be read.
    found: BTreeMap<u64, Option<Manifest>>,
    /// Why generations were refused, by number.
    refused: BTreeMap<u64, RefusedGeneration>,
    /// Whether the manifests take more than half of the room for them.
    is_half_full: bool,
    /// Whether some manifests were not read because there was no room.
    is_cut: bool,
}

/// Estimates how much memory a manifest takes at most: its text, and what each of its members
/// becomes.
fn memory(bytes: &[u8]) -> usize {
    bytes.len() + 48 * bytes.split(|byte| *byte == b',').count()
}

impl Pending {
    /// Reads the generations after `published`.
    ///
    /// # Errors
    /// A request failed.
    pub async fn read(store: &dyn Store, published: u64) -> Result<Self> {
        let numbers = ledger::generations_after(store, published).await?;
        let refused = refusals(store, &numbers).await?;
        let mut pending = Self { published, ..Self::default() };
        // Before the first publication, the first generation counts.
        let first = numbers.iter().copied().take(usize::from(published == 0));
        let newest = numbers.len().saturating_sub(MOST_GENERATIONS);
        let wanted: BTreeSet<u64> = numbers.iter().copied().skip(newest).chain(first).collect();
        pending.is_cut = wanted.len() < numbers.len();
        pending.found.extend(numbers.into_iter().map(|number| (number, None)));
        let (wanted, mut left) = (wanted.into_iter().collect::<Vec<_>>(), MOST_MEMORY);
        for some in wanted.rchunks(REQUESTS_AT_ONCE) {
            let short =
                read_short(store, some.iter().map(|number| (*number, Key::Manifest(*number))))
                    .await?;
            for (number, bytes) in short.into_iter().rev() {
                let bytes = match bytes {
                    Some(bytes) if bytes.is_empty() => {
                        ledger::manifest_bytes(store, number).await?
                    }
                    Some(bytes) => bytes,
                    None => return Err(ledger::lost_manifest(number)),
                };
                let needed = memory(&bytes);
                pending.is_cut |= needed > left;
                let manifest = if needed <= left {
                    ledger::parse_manifest(number, &bytes)
                } else {
                    let why =
                        "it does not fit into memory with the newer generations that wait".into();
                    Err(StageError::Record(Key::Manifest(number).path(), why))
                };
                match &manifest {
                    Ok(_) => left -= needed,
                    Err(error) => {
                        tracing::error!(generation = number, %error, "generation not readable");
                    }
                }
                if let Some(record) =
                    refused.get(&number).filter(|record| record.manifest == Sha256::of(&bytes))
                {
                    pending.refused.insert(number, record.clone());
                }
                pending.found.insert(number, manifest.ok());
            }
        }
        pending.is_half_full = left < MOST_MEMORY / 2 || pending.found.len() > MOST_GENERATIONS / 2;
        if pending.is_cut {
            tracing::warn!(
                generations = pending.found.len(),
                "more generations wait than there is room for"
            );
        }
        Ok(pending)
    }

    /// The generations that rebuild may go on from, oldest first, each based on the one before.
    /// They are the way from the published generation to the newest one that leads back to it, cut
    /// before the first refused one.
    #[must_use]
    pub fn chain(&self) -> Vec<&Manifest> {
        if self.published == 0 {
            // Before anything is published, only the first generation counts, whatever its number.
            return self.found.values().next().and_then(Option::as_ref).into_iter().collect();
        }
        let (mut chain, mut next) = (Vec::new(), self.leading().pop_last());
        while let Some(manifest) = next.and_then(|number| self.found.get(&number)?.as_ref()) {
            next = Some(manifest.base).filter(|base| *base != self.published);
            chain.push(manifest);
        }
        chain.reverse();
        if let Some(first) = chain.iter().position(|manifest| self.is_refused(manifest.generation))
        {
            chain.truncate(first);
        }
        chain
    }

    /// The same, by value.
    #[must_use]
    pub fn into_chain(mut self) -> Vec<Manifest> {
        let numbers: Vec<u64> =
            self.chain().into_iter().map(|manifest| manifest.generation).collect();
        numbers.iter().filter_map(|number| self.found.remove(number).flatten()).collect()
    }

    /// The numbers of those that lead back to the published generation: each is based on it, or on
    /// an older one that does.
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

    /// Whether rebuild may go on from the newest generation, or there is none. Otherwise the next
    /// one is based on what is published.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let newest = self.found.keys().next_back();
        newest.is_none() || newest == self.chain().last().map(|manifest| &manifest.generation)
    }

    /// Whether rebuild should make no more now, since there would soon be no room and sign and
    /// publish can be expected to show what waits. If they have had `PATIENCE_SECONDS` without a
    /// new generation, rebuild goes on.
    #[must_use]
    pub fn is_full(&self, now: Time) -> bool {
        let chain = self.chain();
        let waited = chain.last().map(|newest| seconds_between(newest.created, now));
        self.is_half_full
            && self.is_sound()
            && chain.iter().any(|manifest| !manifest.is_fence())
            && waited.is_some_and(|waited| waited.abs() < PATIENCE_SECONDS)
    }

    /// The newest generation, if it cannot be read or does not lead back to the published one: the
    /// pipeline did not make it. A generation based on one that was published earlier is not
    /// strange but overtaken: its maker passed over a generation that was shown all the same.
    #[must_use]
    pub fn strange(&self) -> Option<u64> {
        let number = self.found.keys().next_back()?;
        let counts =
            self.is_cut || self.leading().contains(number) || self.refused.contains_key(number);
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
        // Generations start at 1.
        (1..self.published).contains(&number)
    }

    /// All manifests that can be read.
    pub fn readable(&self) -> impl Iterator<Item = &Manifest> {
        self.found.values().flatten()
    }

    /// Why generations were refused.
    pub fn refusals(&self) -> impl Iterator<Item = &RecordedFault> {
        self.refused.values().map(|refused| &refused.fault)
    }

    /// The number of the next generation.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.found.keys().next_back().copied().unwrap_or(self.published) + 1
    }
}

/// Why some of these generations were refused, by their records.
async fn refusals(store: &dyn Store, numbers: &[u64]) -> Result<BTreeMap<u64, RefusedGeneration>> {
    let (Some(first), Some(last)) = (numbers.first(), numbers.last()) else {
        return Ok(BTreeMap::new());
    };
    let mut refused = numbers.to_vec();
    if numbers.len() > FEW {
        let newest = numbers.len().saturating_sub(MOST_GENERATIONS);
        let first = numbers.get(newest).unwrap_or(first);
        let after = Key::Refused(first.saturating_sub(1));
        let listed = store.list(Folder::Refused, Some(&after), MOST_GENERATIONS).await?;
        let listed = listed
            .into_iter()
            .filter_map(|key| if let Key::Refused(number) = key { Some(number) } else { None });
        refused = listed.filter(|number| number <= last).collect();
    }
    let (mut found, mut left) = (BTreeMap::new(), MOST_MEMORY / 4);
    for some in refused.rchunks(REQUESTS_AT_ONCE) {
        let short =
            read_short(store, some.iter().map(|number| (*number, Key::Refused(*number)))).await?;
        for (number, bytes) in short.into_iter().rev() {
            let key = Key::Refused(number);
            let Some(mut bytes) = bytes else { continue };
            if bytes.is_empty() {
                bytes = store.bytes_within(&key, left).await?.unwrap_or_default();
            }
            // A record that cannot be read says nothing.
            let Some(rest) = left.checked_sub(memory(&bytes)) else { continue };
            if let Ok(record) = ledger::parse(&key, &bytes) {
                left = rest;
                found.insert(number, record);
            }
        }
    }
    Ok(found)
}

/// Reads records in parallel. A record that is too long for that has empty bytes in the result.
pub(crate) async fn read_short(
    store: &dyn Store,
    keys: impl Iterator<Item = (u64, Key)>,
) -> Result<BTreeMap<u64, Option<Bytes>>> {
    let reads = keys
        .map(|(number, key)| async move { Ok((number, store.bytes_within(&key, SHORT).await?)) });
    at_once(reads).await.into_iter().collect()
}

/// What is published, and what was made since.
#[derive(Debug)]
pub struct Tip {
    /// The timestamp that devices see.
    pub published: Published,
    /// The manifest of the published generation.
    pub shown: Manifest,
    /// The generations made since.
    pub pending: Pending,
}

impl Tip {
    /// Reads what is published and what was made since.
    ///
    /// # Errors
    /// [`StageError::NotInitialised`] before the first publication; [`StageError::Missing`] if the
    /// published manifest is gone: the serial in it must not start again.
    pub async fn read(store: &dyn Store) -> Result<Self> {
        let published = ledger::published(store).await?.ok_or(StageError::NotInitialised)?;
        let (shown, pending) = futures::try_join!(
            ledger::manifest(store, published.generation),
            Pending::read(store, published.generation)
        )?;
        Ok(Self { published, shown, pending })
    }

    /// The newest generation that rebuild may go on from.
    #[must_use]
    pub fn newest(&self) -> &Manifest {
        self.pending.chain().pop().unwrap_or(&self.shown)
    }

    /// The base of the next generation that an operator makes.
    ///
    /// # Errors
    /// [`StageError::Refused`] while rebuild has not replaced a refused generation yet.
    pub fn base(&self) -> Result<&Manifest> {
        if self.pending.is_sound() {
            return Ok(self.newest());
        }
        Err(StageError::refused(
            "a generation was refused, and the pipeline is about to replace it: try again in a \
             minute",
        ))
    }
}
