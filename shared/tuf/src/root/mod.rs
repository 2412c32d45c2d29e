//! Root documents (TUF specification 4.3): making one, editing its successor, signing it by several people, and what must hold
//! before it may follow the one before.
//!
//! A root that is not published yet is a [`RootFile`], which travels between people and may have any number of signatures. What
//! may be published is a [`FitRoot`], which only [`begin`] and [`succeed`] make.

mod chain;
mod diff;
mod edit;
mod error;
mod file;
mod holders;
mod keys;
mod pinned;
mod published;
mod roles;
mod rules;
mod seen;
mod signers;
mod tally;

pub use chain::{Chain, FitRoot, begin, only_adds, succeed};
pub use diff::{RootChange, changes};
pub use edit::{
    FirstRoot, KeyName, OnlineKeys, RootKey, add_key, adopt, check_holders, first, next, remove_key, set_expiry,
    set_threshold,
};
pub use error::RootError;
pub use file::{LARGEST_ROOT, RootFile};
pub use holders::{HOLDERS_FIELD, holder};
pub use keys::{expect_new_key, from_spki, key_id, kind, read_known_key, read_public_key, to_pem};
pub use pinned::{NotPinnedRoot, PinnedRoot};
pub use published::{LONGEST_HIDDEN_SECONDS, PublishedRoot, contents, own_keys, read};
pub use roles::ROLES;
pub use seen::{expect_plain, extra_fields, unused_keys};
pub use tally::{Tally, needed, tallies};

pub use crate::signing::{KeyId, same_key};
