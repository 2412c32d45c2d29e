//! What is current under a target name: the newest version that is not refused.
//!
//! *Invariant*: whether a version is refused is a pure function of what HEAD returns ([`judge`]), the same in hash and in
//! rebuild; a refused version counts as never uploaded.

use futures::future::OptionFuture;
use tufline_store::{Head, PastVersion, Upload, Uploads, VersionId};
use tufline_tuf::{Config, Custom, Refusal, RefusalCode, TargetName, custom};

use crate::ledger::{self, Hashed};
use crate::ports::{Ports, Result};

/// What is current under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Current {
    /// This version.
    Object(Accepted),
    /// Nothing: a delete marker, or no version at all.
    Gone {
        /// The delete marker's version.
        marker: Option<VersionId>,
    },
    /// All known versions are refused, and what was there before isn't known: what is published stays.
    Unknown,
}

/// A version that is not refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// As HEAD returned it.
    pub upload: Upload,
    /// Its version.
    pub version: VersionId,
    /// Its custom metadata.
    pub custom: Custom,
}

/// A version that is refused, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedUpload {
    /// As HEAD returned it.
    pub upload: Upload,
    /// Why.
    pub refusal: Refusal,
}

/// [`current`], and hash's receipt for what is current. If `expected` is what is current, both take one request's time.
pub async fn current_and_receipt(
    ports: &Ports,
    name: &TargetName,
    expected: Option<&VersionId>,
) -> Result<(Current, Vec<RefusedUpload>, Option<Hashed>)> {
    let receipt = |version| ledger::receipt(&*ports.store, name.as_str(), version);
    let early = OptionFuture::from(expected.map(receipt));
    let (current, early) = futures::join!(current(&*ports.uploads, &ports.config, name), early);
    let (current, refused) = current?;
    let receipt = match &current {
        Current::Object(accepted) if Some(&accepted.version) == expected => early.transpose()?.flatten(),
        Current::Object(accepted) => receipt(&accepted.version).await?,
        Current::Gone { .. } | Current::Unknown => None,
    };
    Ok((current, refused, receipt))
}

/// Looks at `name`. The history is only listed where the newest version is refused.
pub async fn current(
    uploads: &dyn Uploads,
    config: &Config,
    name: &TargetName,
) -> Result<(Current, Vec<RefusedUpload>)> {
    let mut refused = Vec::new();
    let newest = match uploads.head(name.as_str()).await? {
        Head::Gone { marker } => return Ok((Current::Gone { marker }, refused)),
        Head::Object(upload) => upload,
    };
    let newest_version = newest.version.clone();
    if let Some(accepted) = accept(config, newest, &mut refused) {
        return Ok((Current::Object(accepted), refused));
    }
    for past in uploads.versions(name.as_str()).await? {
        match past {
            PastVersion::Forgotten | PastVersion::Unknown => return Ok((Current::Unknown, refused)),
            PastVersion::Marker { version, .. } => return Ok((Current::Gone { marker: Some(version) }, refused)),
            PastVersion::Object { version, .. } if Some(&version) == newest_version.as_ref() => {}
            PastVersion::Object { version, .. } => {
                let Some(upload) = uploads.head_version(name.as_str(), &version).await? else { continue };
                if let Some(accepted) = accept(config, upload, &mut refused) {
                    return Ok((Current::Object(accepted), refused));
                }
            }
        }
    }
    Ok((Current::Gone { marker: None }, refused))
}

fn accept(config: &Config, upload: Upload, refused: &mut Vec<RefusedUpload>) -> Option<Accepted> {
    match judge(config, &upload) {
        Ok((version, custom)) => Some(Accepted { upload, version, custom }),
        Err(refusal) => {
            refused.push(RefusedUpload { upload, refusal });
            None
        }
    }
}

/// Whether an upload may become a target, by what HEAD returned and the policy alone.
///
/// # Errors
/// The [`Refusal`].
pub fn judge(config: &Config, upload: &Upload) -> std::result::Result<(VersionId, Custom), Refusal> {
    upload.name.parse::<TargetName>()?;
    let Some(version) = upload.version.clone() else {
        let reason = "the uploads bucket keeps no versions; enable versioning on it and upload again";
        return Err(Refusal::new(RefusalCode::Unversioned, reason));
    };
    let largest = config.largest_target.0;
    if upload.length > largest {
        let reason =
            format!("it has {} bytes and the configured limit is {largest}; raise largest_target", upload.length);
        return Err(Refusal::new(RefusalCode::Size, reason));
    }
    let custom = upload.custom.as_deref().map(custom::parse).transpose()?.unwrap_or_default();
    Ok((version, custom))
}
