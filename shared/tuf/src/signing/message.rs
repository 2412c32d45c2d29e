//! The message that a key signs.

use serde::Serialize;
use tough::schema::Role;
use tufline_metadata::canonical::{self, Unalike};

use super::error::{VerifyError, unreadable};
use crate::primitives::RoleName;
/// The message that a key signs: the document's canonical form (TUF specification 4.2). If clients
/// write different forms, it is the form of clients in Rust, with the reason why the others differ.
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
