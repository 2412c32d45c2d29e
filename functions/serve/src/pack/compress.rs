//! Zstandard (RFC 8878).

use std::io;

use tufline_store::{ErrorKind, StoreError};
use zstd::bulk::Compressor;

/// A pack takes 0.4 ms at this level, and is a tenth smaller than at 3; above, it takes many times as long for little.
const LEVEL: i32 = 6;

/// One frame with its length and its checksum.
pub fn compress(pack: &[u8], dictionary: Option<&[u8]>) -> Result<Vec<u8>, StoreError> {
    let compress = || -> io::Result<Vec<u8>> {
        let mut compressor = Compressor::with_dictionary(LEVEL, dictionary.unwrap_or_default())?;
        compressor.include_checksum(true)?;
        compressor.compress(pack)
    };
    compress().map_err(|error| StoreError::from_source(ErrorKind::Retry, "compress", "a pack", error))
}
