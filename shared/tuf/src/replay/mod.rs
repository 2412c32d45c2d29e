//! Replay: folds the changes of the generations that wait into what is published once more, so that whoever signs or shows them need not
//! believe whoever made them.
//!
//! *Invariant*: a generation that passes is what [`Folding`](crate::generation::Folding) makes of its base and its `changes`, to the letter: its
//! documents, their versions and expiries, its index, and its counts. What its maker is free to choose is bounded here: the time, the numbers
//! that it leaves out, the roles that are drafted anew without a change, and the policy, which is that of now or of its base. What devices would
//! see changed by it is listed in [`Replay::net`]: whether the uploads justify that is for others to say, and so is what it says of other
//! parties.
//!
//! Documents are folded one after another, each through all generations, so that no more of them are in memory than the caller reads at once.

mod chain;
mod facts;
mod replayed;

pub use chain::{Succession, places};
pub use facts::{CLOCK_TOLERANCE_SECONDS, LARGEST_JUMP, ReplayRules};
pub use replayed::{Net, Replay, Replayed};
