//! Whether the bytes of targets are stored.

use tufline_tuf::Sha256;

use crate::error::Result;
use crate::ports::Ports;

/// Whether the blob is stored with this length and, where the store keeps a digest, with this
/// digest.
pub(crate) async fn is_stored(ports: &Ports, sha256: &Sha256, length: u64) -> Result<bool> {
    let blob = ports.blobs.head(sha256).await?;
    Ok(blob.is_some_and(|blob| {
        blob.length == length && blob.sha256.is_none_or(|found| found == *sha256)
    }))
}
