//! The stages. An artifact passes through [`hash()`], [`rebuild()`], [`sign()`] and [`publish()`].
//! Any number of runs of any stage may happen at once.
//!
//! *Invariant*: no stage knows another. They communicate through queues and the ledger.

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
