//! All ports in memory, for tests. They share one world, which can fail a request, lose its reply,
//! repeat it, or delay it.

mod chunks;
mod control;
mod keys;
mod queues;
mod signer;
mod store;
mod uploads;
mod world;

pub use control::{Calm, Control, Fate, Request};
pub use keys::MemoryKeys;
pub use world::{Memory, QueuedMessage};
