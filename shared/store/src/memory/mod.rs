//! All ports in memory, for tests. They share one world, which can fail a request, lose its reply,
//! repeat it, or delay it.
//!
//! ```
//! use std::sync::Arc;
//!
//! use tufline_store::memory::{Calm, Memory, MemoryKeys};
//! use tufline_store::{Document, Key, Store, Written};
//!
//! # futures::executor::block_on(async {
//! let now = "2026-12-01T00:00:00Z".parse()?;
//! let world = Memory::new(now, Arc::new(MemoryKeys::generate()?), Box::new(Calm));
//! let first = Document::record(Key::Manifest(1), &"the first writer's")?;
//! let second = Document::record(Key::Manifest(1), &"the second writer's")?;
//!
//! // A store replaces no object: the second writer loses.
//! assert_eq!(world.create(&first).await?, Written::Done);
//! assert_eq!(world.create(&second).await?, Written::Lost);
//! let stored = world.get(&Key::Manifest(1)).await?.ok_or("it is gone")?;
//! assert_eq!(stored.bytes, first.bytes());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

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
