//! Records rejections: of an upload or a delivery that can never become a target.

use tufline_store::{
    DELIVERIES, Event, Key, RejectedUpload, UploadKey, Uploads, VersionId, Written,
};
use tufline_tuf::Rejection;

use crate::error::Result;
use crate::measure;
use crate::ports::Ports;
use crate::state::current::RejectedVersion;
use crate::state::ledger;

/// Announces a rejection. It sends the event first, then stores the receipt, which keeps later
/// looks from sending the event again.
pub(crate) async fn reject(ports: &Ports, rejected: &RejectedVersion) -> Result<()> {
    reject_at(ports, &*ports.uploads, &rejected.upload.name, rejected).await
}

/// The same for an object in `uploads`, under the `name` by which people know it.
pub(crate) async fn reject_at(
    ports: &Ports,
    uploads: &dyn Uploads,
    name: &str,
    rejected: &RejectedVersion,
) -> Result<()> {
    let RejectedVersion { upload, rejection } = rejected;
    let version = upload.version.clone().unwrap_or(VersionId("null".into()));
    let key = Key::Rejected(UploadKey::new(name, &version));
    if ports.store.exists(&key).await? {
        return Ok(());
    }
    let Rejection { code, reason } = rejection.clone();
    let place = uploads.place(&upload.name);
    tracing::warn!(upload = %version, name, ?code, reason, "upload rejected");
    measure::rejected();
    let rejected = RejectedUpload {
        place,
        name: name.to_owned(),
        version: upload.version.clone(),
        code,
        reason,
    };
    ports.events.send(&[Event::UploadRejected(rejected.clone())]).await?;
    // A crash here sends the event twice. If the creation loses, another instance sent the event
    // too.
    match ports.store.create(&ledger::record(key, &rejected)?).await? {
        Written::Done | Written::Lost => Ok(()),
    }
}

/// Announces the rejection of a delivery.
pub(crate) async fn reject_delivery(ports: &Ports, rejected: &RejectedVersion) -> Result<()> {
    reject_at(ports, &*ports.deliveries, &told(&rejected.upload.name), rejected).await
}

/// The name by which people know a delivery: its key.
pub(crate) fn told(name: &str) -> String {
    format!("{DELIVERIES}{name}")
}
