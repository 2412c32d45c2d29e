//! What a key signs.

use serde::Serialize;
use tough::schema::Role;
use tufline_metadata::canonical::{self, Unalike};

use super::error::{VerifyError, unreadable};
use crate::primitives::RoleName;
/// What a key signs: the canonical form (TUF specification 4.2). Where clients don't all write the same, why, and that of clients in Rust.
pub(crate) fn canonical_message<T: Role + Serialize>(
    role: &RoleName,
    document: &T,
) -> Result<(Vec<u8>, Option<Unalike>), VerifyError> {
    match canonical::form(document) {
        Ok(form) => Ok((form, None)),
        Err(unalike) => {
            let form = document.canonical_form().map_err(|error| unreadable(role, &error))?;
            Ok((form, Some(unalike)))
        }
    }
}
