//! Role documents before and after signing: a [`Draft`] has no bytes to publish, and only
//! verification makes a [`Signed`]. This room also reads files that others signed, and key files.

mod document;
mod error;
pub mod foreign;
pub mod key_file;
mod key_kind;
mod keys;
mod message;
pub(crate) mod own_types;
mod role_keys;
pub(crate) mod signature;
mod signed;

pub use document::RoleDocument;
pub use error::VerifyError;
pub(crate) use error::from_one;
pub(crate) use keys::public_part;
pub use keys::{KeyId, same_key};
pub(crate) use message::canonical_message;
pub use role_keys::RoleKeys;
pub use signed::{Draft, Signed, verify, verify_published};
