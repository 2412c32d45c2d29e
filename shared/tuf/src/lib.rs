//! The pure heart of Tufline: names, role documents, generations, root rules, verification.
//!
//! *Invariant*: no I/O, no clock, no async. Everything takes bytes and a time, and returns verified values or an error.
//!
//! Its rooms, each of which imports from those before it only (`tests/structure`):
//!
//! 1. `primitives`: names, times, digests, JSON, custom metadata: what everything is made of.
//! 2. `signing`: a role's document before and after it is signed. [`Signed`] is what was verified, and nothing else can be published.
//! 3. [`root`]: root documents, which people make and sign, and what may follow what.
//! 4. [`config`]: what an operator can choose.
//! 5. `layout`: where a target stands: the [`trie`] of bins, and the [`index`] by which the ledger finds their documents.
//! 6. [`delegations`]: other parties, and the documents that they deliver.
//! 7. [`generation`]: what a batch of changes makes of the newest generation. Its record is the [`Manifest`].
//! 8. [`replay`]: the same once more, by those who don't believe whoever made it.
//! 9. [`gate`]: what a client would check before it trusts what is signed. A timestamp comes of what passed, and of nothing else.
//!
//! Begin with [`Manifest`], then [`generation::Folding`], which makes one, then [`gate::Gate`], which lets it out.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod config;
pub mod delegations;
pub mod gate;
pub mod generation;
mod layout;
mod primitives;
pub mod replay;
pub mod root;
mod signing;

/// The one canonical form, which the crate for reading others' metadata has too.
pub use tufline_metadata::canonical;

pub use config::Config;
pub use delegations::{Parties, delivery};
pub use generation::{Applied, BinsKeys, MANIFEST_FORMAT, Manifest, Outcome, RecordedPolicy, RemovalWindow};
pub use layout::{Addressed, AddressedDraft, Content, Index, RoleEntry, index, trie};
pub use primitives::{
    BadPattern, Custom, Hasher, NotRoleName, NotSha256, Pattern, PausedHasher, Rejection, RejectionCode, RoleName,
    SIDE_FILE_SUFFIX, Sha256, TargetName, Time, custom, json, plain, time,
};
pub use signing::{Draft, RoleDocument, RoleKeys, Signed, VerifyError, foreign, key_file, verify, verify_published};
