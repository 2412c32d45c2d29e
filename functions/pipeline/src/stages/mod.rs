//! The stages. The way of one artifact is [`hash()`], [`rebuild()`], [`sign()`], [`publish()`]; each can be run any number of times, at once with itself
//! and with the others.
//!
//! *Invariant*: none of them knows another: they speak through queues and the ledger.

mod deliver;
mod hash;
mod publish;
mod rebuild;
mod reconcile;
mod refresh;
mod sign;

pub use deliver::deliver;
pub use hash::{Turn, hash};
pub use publish::{Shown, publish};
pub use rebuild::{Rebuilt, rebuild};
pub use reconcile::{published_names, reconcile};
pub use refresh::refresh;
pub use sign::sign;
