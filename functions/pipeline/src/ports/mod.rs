//! The ports that a stage gets.

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

/// The world as a stage sees it. On AWS, each function's role permits only what its stage uses.
#[derive(Clone)]
pub struct Ports {
    /// The repository and the ledger.
    pub store: Arc<dyn Store>,
    /// Files that build systems uploaded.
    pub uploads: Arc<dyn Uploads>,
    /// Files that other parties delivered and signed: `ROLE.json`.
    pub deliveries: Arc<dyn Uploads>,
    /// The bytes of targets.
    pub blobs: Arc<dyn Blobs>,
    /// The queues between the stages.
    pub queues: Arc<dyn Queues>,
    /// The online keys, which sign for the four online roles.
    pub signer: Arc<dyn Signer>,
    /// The bus on which events go to the outside world.
    pub events: Arc<dyn Events>,
    /// The clock that expiries are counted from.
    pub clock: Arc<dyn Clock>,
    /// The repository's configuration, the same for all stages.
    pub config: Arc<Config>,
    /// How much of the uploads this process may hold at once.
    pub reading: ReadingMemory,
    /// When a run of sign or publish ends, and how the next one continues.
    pub deadline: Deadline,
}

impl Ports {
    /// The rules for a generation that is made now. `removals` limits how many targets it may
    /// remove.
    pub(crate) fn policy(&self, removals: Option<RemovalLimit>) -> Policy {
        policy(&self.config, removals, self.clock.now())
    }
}

/// The rules of `config` for a generation that is made at `now`.
pub(crate) fn policy(config: &Config, removals: Option<RemovalLimit>, now: Time) -> Policy {
    Policy {
        recorded: RecordedPolicy::new(&config.expiry, config.max_targets_per_bin.get()),
        deepest_bin: DEEPEST_BIN,
        removals,
        now,
    }
}
