//! Where a target stands: in a bin of the trie, whose document the index finds in the ledger, where it lies under its digest.

mod addressed;
mod content;
pub mod index;
pub mod trie;

pub use addressed::{Addressed, AddressedDraft};
pub use content::{Content, digest_of, target_of};
pub(crate) use content::{read_content, same_content, write_target};
pub(crate) use index::{Expiring, IndexEntry, Page, Place};
pub use index::{Index, RoleEntry};
