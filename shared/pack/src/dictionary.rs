//! The dictionary of a pack: the files that the device has.

use alloc::string::String;
use alloc::vec::Vec;

use sha2::{Digest, Sha256};

/// The beginning of every dictionary (RFC 8878, section 5): a magic number, [`TABLES_ID`], and
/// entropy tables that the first block of a frame may use, so that a short block needs no tables of
/// its own. The tables were made once from Tufline's own metadata (`ZDICT_finalizeDictionary`).
/// They are part of the protocol: both sides must have the same bytes.
const TABLES: &[u8] = include_bytes!("tables.bin");

/// The number with which a frame states that it was compressed with such a dictionary.
pub const TABLES_ID: u32 = 0x5455_4601;

/// The dictionary of these files, in this order.
#[must_use]
pub fn dictionary<F: AsRef<[u8]>>(files: &[F]) -> Vec<u8> {
    let length = files.iter().map(|file| file.as_ref().len()).sum::<usize>();
    let mut dictionary = Vec::with_capacity(TABLES.len() + length);
    dictionary.extend_from_slice(TABLES);
    for file in files {
        dictionary.extend_from_slice(file.as_ref());
    }
    dictionary
}

/// The digest by which both sides know that they have the same dictionary: the first 16 hexadecimal
/// digits of the SHA-256 over the concatenated files.
#[must_use]
pub fn digest<F: AsRef<[u8]>>(files: &[F]) -> String {
    let mut sha256 = Sha256::new();
    for file in files {
        sha256.update(file);
    }
    hex::encode(sha256.finalize()).chars().take(16).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_have_their_magic_number_and_id() {
        assert_eq!(TABLES.get(..4), Some(&[0x37, 0xa4, 0x30, 0xec][..]), "RFC 8878, section 5");
        assert_eq!(TABLES.get(4..8), Some(&TABLES_ID.to_le_bytes()[..]));
    }

    #[test]
    fn a_digest_is_of_all_bytes_in_their_order() {
        // printf ab | sha256sum
        assert_eq!(digest(&["a", "b"]), "fb8e20fc2e4c3f24");
        assert_eq!(digest(&["ab"]), digest(&["a", "b"]));
        assert_ne!(digest(&["b", "a"]), digest(&["a", "b"]));
        assert!(dictionary(&["a", "b"]).ends_with(b"ab"));
    }
}
