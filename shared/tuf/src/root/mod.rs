//! Root documents (TUF specification 4.3): making a root, editing its successor, collecting several
//! people's signatures, and the conditions under which it may follow its predecessor.
//!
//! An unpublished root is a [`RootFile`], which people pass to each other and which may have any
//! number of signatures. A root that may be published is a [`FitRoot`], which only [`begin`] and
//! [`succeed`] make.

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
    FirstRoot, KeyName, OnlineKeys, RootKey, add_key, adopt, check_holders, first, next,
    remove_key, set_expiry, set_threshold,
};
pub use error::RootError;
pub use file::{LARGEST_ROOT, RootFile};
pub use holders::{HOLDERS_FIELD, holder};
pub use keys::{
    expect_new_key, from_spki, key_id, kind, read_known_key, read_public_key, short_id, to_pem,
    written_id,
};
pub use pinned::{NotPinnedRoot, PinnedRoot};
pub use published::{LONGEST_HIDDEN_SECONDS, PublishedRoot, contents, own_keys, read};
pub use roles::ROLES;
pub use seen::{expect_plain, extra_fields, unused_keys};
pub use tally::{Tally, needed, tallies};

pub use crate::signing::{KeyId, same_key};
