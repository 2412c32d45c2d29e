//! A root holder's key in a PKCS#11 token, such as a smart card or an HSM. The key never leaves the
//! token, which signs roots.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod error;
mod key;
mod public;
mod uri;

pub use error::TokenError;
pub use key::{Token, TokenKey};
pub use uri::KeyUri;
