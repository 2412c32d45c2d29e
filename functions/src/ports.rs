//! What a stage is given.

use std::sync::Arc;

use futures::stream::{self, StreamExt};
use tufline_store::{Blobs, Clock, Events, Queues, Signer, Store, StoreError, Uploads};
use tufline_tuf::config::RemovalLimit;
use tufline_tuf::generation::{DEEPEST_BIN, GenerationError, Policy};
use tufline_tuf::root::RootError;
use tufline_tuf::{Config, RecordedPolicy, Time, VerifyError};

use crate::deadline::Deadline;
use crate::reading::ReadingMemory;

/// The world as a stage sees it. On AWS each function's role permits only what its stage uses of this.
#[derive(Clone)]
pub struct Ports {
    /// The repository and the ledger.
    pub store: Arc<dyn Store>,
    /// What build systems dropped.
    pub uploads: Arc<dyn Uploads>,
    /// What other parties dropped: `ROLE.json`, signed by them.
    pub deliveries: Arc<dyn Uploads>,
    /// The bytes of targets.
    pub blobs: Arc<dyn Blobs>,
    /// The queues between the stages.
    pub queues: Arc<dyn Queues>,
    /// The online keys.
    pub signer: Arc<dyn Signer>,
    /// Where events go.
    pub events: Arc<dyn Events>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The repository's policy.
    pub config: Arc<Config>,
    /// How much of the uploads may be held at once.
    pub reading: ReadingMemory,
    /// When a run of sign or publish ends, and where the next goes on.
    pub deadline: Deadline,
}

impl Ports {
    /// What the repository's policy says of a generation that is made now.
    pub(crate) fn policy(&self, removals: Option<RemovalLimit>) -> Policy {
        policy(&self.config, removals, self.clock.now())
    }
}

/// What `config` says of a generation that is made `now`.
pub(crate) fn policy(config: &Config, removals: Option<RemovalLimit>, now: Time) -> Policy {
    Policy {
        recorded: RecordedPolicy::new(&config.expiry, config.max_targets_per_bin.get()),
        deepest_bin: DEEPEST_BIN,
        removals,
        now,
    }
}

/// How many requests a stage has under way at once. S3 takes 3,500 writes a second and prefix; what limits here is the
/// memory and the network of a small function.
pub(crate) const REQUESTS_AT_ONCE: usize = 32;

/// How many HEAD requests a stage has under way at once, of which nothing is held in memory: at 20 ms each that is what S3
/// takes a second and prefix, 5,500 (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html>).
pub(crate) const HEADS_AT_ONCE: usize = 110;

/// Runs requests, [`REQUESTS_AT_ONCE`] at a time; answers come in any order.
pub(crate) async fn at_once<F: Future>(requests: impl Iterator<Item = F>) -> Vec<F::Output> {
    some_at_once(REQUESTS_AT_ONCE, requests).await
}

/// Runs requests, `most` at a time; answers come in any order.
///
/// Takes what an iterator makes all at once: an iterator over borrowed things that lives on while a future waits keeps that
/// future from moving between threads (<https://github.com/rust-lang/rust/issues/102211>).
pub(crate) async fn some_at_once<F: Future>(most: usize, requests: impl Iterator<Item = F>) -> Vec<F::Output> {
    let requests: Vec<F> = requests.collect();
    stream::iter(requests).buffer_unordered(most).collect().await
}

/// Looks at `entries` in order, some together, twice as many each time, so that no more are looked at for nothing than there was reason to;
/// `is_last` says with which answer it ends. Answers what was looked at, in order.
pub(crate) async fn look_in_order<'a, E, F: Future<Output = Result<A>>, A>(
    entries: &'a [E],
    look: impl Fn(&'a E) -> F,
    is_last: impl Fn(&A) -> bool,
) -> Result<Vec<A>> {
    let (mut answers, mut left, mut count) = (Vec::new(), entries, 1);
    while !left.is_empty() {
        let (some, rest) = left.split_at(count.min(left.len()));
        let looks: Vec<F> = some.iter().map(&look).collect();
        for answer in stream::iter(looks).buffered(REQUESTS_AT_ONCE).collect::<Vec<_>>().await {
            let answer = answer?;
            let ends = is_last(&answer);
            answers.push(answer);
            if ends {
                return Ok(answers);
            }
        }
        (left, count) = (rest, (2 * count).min(REQUESTS_AT_ONCE));
    }
    Ok(answers)
}

/// Why a stage could not finish. Its message comes again later, and so does refresh.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// A request failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A document is not what it should be.
    #[error(transparent)]
    Document(#[from] VerifyError),
    /// A root cannot be published.
    #[error("this root cannot be published: {0}")]
    Root(#[from] RootError),
    /// A batch cannot be folded in.
    #[error(transparent)]
    Generation(#[from] GenerationError),
    /// A record cannot be written or read as JSON.
    #[error("{0}: not readable: {1}")]
    Record(String, String),
    /// Something that must be stored is not.
    #[error("{0} is missing: {1}")]
    Missing(String, &'static str),
    /// The repository has no root or no first generation yet.
    #[error("the repository is not initialised: run `tufline init` first")]
    NotInitialised,
    /// The online key of a role is not the one that devices trust.
    #[error("the online key of {0} is not among the keys that the newest root lists for it: publish a root that does")]
    UntrustedKey(String),
    /// The clock is behind the last signing: an expiry counted from it would be wrong.
    #[error(
        "the clock says {now}, but the timestamp was stored at {stored}: not signing until the clock is right; if it is, and was ahead then, \
         see docs/operations.md, \"The clock\""
    )]
    ClockBehind {
        /// This machine's time.
        now: tufline_tuf::Time,
        /// The store's time of the last publication.
        stored: tufline_tuf::Time,
    },
    /// Others won every race.
    #[error("{0} lost {1} races in a row: trying again later")]
    Contended(&'static str, usize),
    /// The uploads could not all be asked in the time that a run has.
    #[error(
        "there was no time for {left} of the names that generation {generation} changes, after {looked}: the next run goes on there"
    )]
    OutOfTime {
        /// The generation that is judged.
        generation: u64,
        /// Of so many names the uploads were asked in this run.
        looked: usize,
        /// Of so many they must still be.
        left: usize,
    },
    /// The root cannot be used, or a record fails its check.
    #[error("{0}")]
    Refused(String),
}

/// What a stage answers.
pub type Result<T> = std::result::Result<T, StageError>;
