//! Reads hash's receipts: what it found in the versions of uploads.

use tufline_store::{Key, Store, UploadKey, VersionId};
use tufline_tuf::Time;

use crate::error::Result;
use crate::state::ledger::parse;
use crate::state::records::Hashed;

/// Hash's receipt for a version of an upload. An unreadable receipt counts as none, so that it
/// blocks nothing: S3's own checksum may be enough.
pub async fn receipt(store: &dyn Store, name: &str, version: &VersionId) -> Result<Option<Hashed>> {
    let key = Key::Hashed(UploadKey::new(name, version));
    let bytes = store.bytes(&key).await?;
    Ok(bytes.and_then(|bytes| readable(&key, &bytes)))
}

fn readable(key: &Key, bytes: &[u8]) -> Option<Hashed> {
    let receipt = parse(key, bytes);
    receipt
        .inspect_err(|error| tracing::error!(%error, "receipt ignored; look at who wrote it"))
        .ok()
}

/// Hash's receipt for a version of an upload, if it can be read, and when it was stored, by the
/// store's clock. `None` if there is no receipt.
pub async fn dated_receipt(
    store: &dyn Store,
    name: &str,
    version: &VersionId,
) -> Result<Option<(Option<Hashed>, Time)>> {
    let key = Key::Hashed(UploadKey::new(name, version));
    Ok(store.get(&key).await?.map(|stored| (readable(&key, &stored.bytes), stored.modified)))
}
