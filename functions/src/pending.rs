//! What was made after the published generation, and what of it may be gone on from.
//!
//! Each manifest says which generation it changes, its base. *Invariant*: whatever lies in the ledger above the published generation, it is a
//! verdict and never an error: what can't be read, what leads past what is published, and what was refused is void, and rebuild goes on
//! from what is published, under numbers above all of it.

use std::collections::BTreeMap;

use tufline_store::{Key, Store};
use tufline_tuf::{Manifest, Sha256};

use crate::ledger::{self, Published, RecordedFault, RefusedGeneration};
use crate::ports::{Result, StageError, at_once};

/// The generations above what is published.
#[derive(Debug, Default)]
pub struct Pending {
    /// What is published; 0 before that.
    published: u64,
    /// By their numbers, without gaps; `None` where one can't be read.
    found: BTreeMap<u64, Option<Manifest>>,
    /// Why some of them were refused.
    refused: BTreeMap<u64, RefusedGeneration>,
}

impl Pending {
    /// Reads all of them.
    ///
    /// # Errors
    /// Requests that failed.
    pub async fn read(store: &dyn Store, published: u64) -> Result<Self> {
        let numbers = ledger::generations_after(store, published).await?;
        let reads = numbers.into_iter().map(|number| async move {
            let refused = Key::Refused(number);
            let (bytes, refused) =
                futures::try_join!(ledger::manifest_bytes(store, number), async { Ok(store.bytes(&refused).await?) })?;
            let manifest = ledger::parse_manifest(number, &bytes);
            if let Err(error) = &manifest {
                tracing::error!(generation = number, %error, "a generation can't be read");
            }
            let record: Option<RefusedGeneration> =
                refused.and_then(|bytes| ledger::parse(&Key::Refused(number), &bytes).ok());
            let refused = record.filter(|record| record.manifest == Sha256::of(&bytes));
            Ok::<_, StageError>((number, manifest.ok(), refused))
        });
        let mut pending = Self { published, ..Self::default() };
        for read in at_once(reads).await {
            let (number, manifest, refused) = read?;
            pending.found.insert(number, manifest);
            pending.refused.extend(refused.map(|refused| (number, refused)));
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
        let mut heads = self.found.values().rev().flatten();
        let mut chain = heads.find_map(|head| self.back_from(head)).unwrap_or_default();
        if let Some(first) = chain.iter().position(|manifest| self.is_refused(manifest.generation)) {
            chain.truncate(first);
        }
        chain
    }

    /// The generations from what is published to `head`, if that is where it comes from.
    fn back_from<'a>(&'a self, head: &'a Manifest) -> Option<Vec<&'a Manifest>> {
        let mut chain = vec![head];
        while let Some(newest) = chain.last().filter(|newest| newest.base != self.published) {
            let base = self.found.get(&newest.base)?.as_ref()?;
            // Only older ones: no circle.
            if base.generation >= newest.generation {
                return None;
            }
            chain.push(base);
        }
        chain.reverse();
        Some(chain)
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

    /// Those that can't be read, or lead elsewhere: nobody who counts made them.
    #[must_use]
    pub fn strange(&self) -> Option<u64> {
        let newest = self.found.iter().next_back();
        let (number, manifest) = newest?;
        let leads = manifest.as_ref().is_some_and(|manifest| self.back_from(manifest).is_some());
        (!leads && !self.refused.contains_key(number)).then_some(*number)
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
        Err(StageError::Refused(
            "a generation was refused, and the pipeline is about to replace it: try again in a minute".into(),
        ))
    }
}
