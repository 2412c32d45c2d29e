//! The bytes of targets, as far as the store tells.

use tufline_tuf::Sha256;

use crate::error::Result;
use crate::ports::Ports;

/// Whether the blob is there, as far as the store tells.
pub(crate) async fn is_stored(ports: &Ports, sha256: &Sha256, length: u64) -> Result<bool> {
    let blob = ports.blobs.head(sha256).await?;
    Ok(blob.is_some_and(|blob| blob.length == length && blob.sha256.is_none_or(|found| found == *sha256)))
}
