//! What a stage is given.

mod deadline;
mod memory;

use std::sync::Arc;
use tufline_store::{Blobs, Clock, Events, Queues, Signer, Store, Uploads};
use tufline_tuf::config::RemovalLimit;
use tufline_tuf::generation::{DEEPEST_BIN, Policy};
use tufline_tuf::{Config, RecordedPolicy, Time};

pub use deadline::Deadline;
pub(crate) use deadline::{Judging, Said};
pub use memory::ReadingMemory;
pub(crate) use memory::Room;

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
