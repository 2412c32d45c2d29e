//! Key ids, and when two entries are one key.

use tough::schema::decoded::{Decoded, Hex};
use tough::schema::key::Key;
/// A key's id: the SHA-256 of its canonical form (TUF specification 4.2).
pub type KeyId = Decoded<Hex>;

/// The public key alone. Two entries that differ only in other fields are one key.
pub(crate) fn public_part(key: &Key) -> Vec<u8> {
    match key {
        Key::Rsa { keyval, .. } => keyval.public.to_vec(),
        Key::Ed25519 { keyval, .. } => keyval.public.to_vec(),
        Key::Ecdsa { keyval, .. } | Key::EcdsaOld { keyval, .. } => keyval.public.to_vec(),
    }
}

/// Whether both entries have the same public key, whatever their other fields.
#[must_use]
pub fn same_key(one: &Key, other: &Key) -> bool {
    public_part(one) == public_part(other)
}
