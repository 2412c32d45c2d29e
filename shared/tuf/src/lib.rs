//! The pure heart of Tufline: names, role documents, generations, root rules and verification.
//!
//! *Invariant*: no I/O, no clock, no async. Each function takes bytes and a time, and returns
//! verified values or an error.
//!
//! The crate has rooms. Each room imports only from the rooms before it (`tests/structure` checks
//! this):
//!
//! 1. `primitives`: names, times, digests, JSON and custom metadata, which all other rooms use.
//! 2. `signing`: a role's document before and after it is signed. A [`Signed`] is verified, and
//!    only a [`Signed`] can be published.
//! 3. [`root`]: root documents, which people make and sign, and the rules for a root's successor.
//! 4. [`config`]: what an operator can choose.
//! 5. `layout`: which role lists a target. The [`trie`] divides the targets among bins, and the
//!    ledger finds the bins' documents by the [`index`].
//! 6. [`delegations`]: other parties, and the documents that they deliver.
//! 7. [`generation`]: applies a batch of changes to the newest generation. Its [`Manifest`] records
//!    the result.
//! 8. [`replay`]: computes a generation again, for the stages that don't trust its manifest.
//! 9. [`gate`]: checks a signed generation as a client would. Only the gate makes the content of a
//!    timestamp, and only from a generation that passed.
//!
//! Begin with [`Manifest`]. Then read [`generation::Folding`], which makes a manifest, and
//! [`gate::Gate`], which decides whether devices may see it.

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

/// The canonical form. Its code is in the crate that reads others' metadata, which needs it too.
pub use tufline_metadata::canonical;

pub use config::Config;
pub use delegations::{Parties, delivery};
pub use generation::{
    Applied, BinsKeys, MANIFEST_FORMAT, Manifest, Outcome, RecordedPolicy, RemovalWindow,
};
pub use layout::{Addressed, AddressedDraft, Content, Index, RoleEntry, index, trie};
pub use primitives::{
    BadPattern, Custom, Hasher, NotRoleName, NotSha256, Pattern, PausedHasher, Rejection,
    RejectionCode, RoleName, SIDE_FILE_SUFFIX, Sha256, TargetName, Time, custom, json, plain, time,
};
pub use signing::{
    Draft, RoleDocument, RoleKeys, Signed, VerifyError, foreign, key_file, verify, verify_published,
};
