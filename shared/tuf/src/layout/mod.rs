//! Which role lists a target: a bin of the trie. The index has the digest of that bin's document,
//! which names it in the ledger.

mod addressed;
mod content;
pub mod index;
pub mod trie;

pub use addressed::{Addressed, AddressedDraft};
pub use content::{Content, digest_of, target_of};
pub(crate) use content::{read_content, same_content, write_target};
pub(crate) use index::{Expiring, IndexEntry, Page, Place};
pub use index::{Index, RoleEntry};
