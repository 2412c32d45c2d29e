//! Replay: folds the changes of the waiting generations into the published one again. Stages that
//! sign or show a generation call it, so that they need not trust the generation's maker.
//!
//! *Invariant*: a generation that passes is exactly what [`Folding`](crate::generation::Folding)
//! makes of its base and its `changes`: its documents, their versions and expiries, its index and
//! its counts. This room bounds what the maker may choose: the time, the numbers that are skipped,
//! the roles that are drafted again without a change, and the policy, which is the current one or
//! the base's. [`Replay::net`] lists what devices would see changed. The caller must check that the
//! uploads justify those changes, and that its parties follow ([`crate::delivery`]).
//!
//! Documents are folded one after another, each through all generations. So only the documents that
//! the caller reads at once are in memory.

mod chain;
mod facts;
mod replayed;

pub use chain::{Succession, places};
pub use facts::{CLOCK_TOLERANCE_SECONDS, LARGEST_JUMP, ReplayRules};
pub use replayed::{Net, Replay, Replayed};
