//! Finds what is current under a target name: the newest version that is not rejected.
//!
//! *Invariant*: whether a version is rejected is a pure function of what HEAD returns
//! ([`judge_upload`]). Hash and rebuild use the same function. A rejected version counts as never
//! uploaded. Rebuild's own two rejections, of a full bin and of another party's name, depend on the
//! generation: such a version stays current, and changes no target.
//!
//! *Invariant*: where uploads expire, a delete marker removes a target only if no lifecycle can
//! have made the marker (`is_explicit`).

use futures::future::OptionFuture;
use tufline_store::{Head, PastVersion, Upload, VersionId};
use tufline_tuf::config::ExpireDays;
use tufline_tuf::time::seconds_between;
use tufline_tuf::{Config, Custom, Rejection, RejectionCode, Sha256, TargetName, Time, custom};

use crate::concurrency::look_in_order;
use crate::error::Result;
use crate::ports::Ports;
use crate::state::receipts;
use crate::state::records::Hashed;

/// What is current under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Current {
    /// This version is current.
    Object(Accepted),
    /// The target is gone: there is a delete marker, or no version at all.
    Gone {
        /// The delete marker's version; `None` if there is no version at all.
        marker: Option<VersionId>,
    },
    /// Nobody can tell. Either all known versions are rejected and older ones are unknown, or a
    /// lifecycle may have deleted the upload. The published target stays.
    Unknown,
}

/// An upload that is not rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The upload, as HEAD returned it.
    pub upload: Upload,
    /// The version of the upload, which is never missing here.
    pub version: VersionId,
    /// The upload's custom metadata.
    pub custom: Custom,
}

/// An upload that is rejected, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedVersion {
    /// The upload, as HEAD returned it.
    pub upload: Upload,
    /// Why it is rejected.
    pub rejection: Rejection,
}

/// Returns [`current_upload`], and hash's receipt for what is current. If `expected` is current,
/// both requests run at the same time.
pub async fn current_and_receipt(
    ports: &Ports,
    name: &TargetName,
    expected: Option<&VersionId>,
) -> Result<(Current, Vec<RejectedVersion>, Option<Hashed>)> {
    let receipt = |version| receipts::receipt(&*ports.store, name.as_str(), version);
    let early = OptionFuture::from(expected.map(receipt));
    let (current, early) = futures::join!(current_upload(ports, name), early);
    let (current, rejected) = current?;
    let receipt = match &current {
        Current::Object(accepted) if Some(&accepted.version) == expected => {
            early.transpose()?.flatten()
        }
        Current::Object(accepted) => receipt(&accepted.version).await?,
        Current::Gone { .. } | Current::Unknown => None,
    };
    Ok((current, rejected, receipt))
}

/// Finds what is current under `name`, and the rejected versions above it. It lists the history only
/// if the newest version is rejected, or if a lifecycle may have made the delete marker.
pub async fn current_upload(
    ports: &Ports,
    name: &TargetName,
) -> Result<(Current, Vec<RejectedVersion>)> {
    let (uploads, config) = (&*ports.uploads, &*ports.config);
    let expires = config.uploads_expire_days.is_some();
    let mut rejected = Vec::new();
    let newest = match uploads.head(name.as_str()).await? {
        Head::Gone { marker } if !expires => return Ok((Current::Gone { marker }, rejected)),
        // No version is left, and nobody can tell who deleted them.
        Head::Gone { marker: None } => return Ok((Current::Unknown, rejected)),
        Head::Gone { marker } => marker,
        Head::Object(upload) => {
            let version = upload.version.clone();
            if let Some(accepted) = accept(config, upload, &mut rejected) {
                return Ok((Current::Object(accepted), rejected));
            }
            version
        }
    };
    let history = uploads.versions(name.as_str()).await?;
    let is_last = |met: &Met| match met {
        Met::Nothing => false,
        Met::Upload(upload) => judge_upload(config, upload).is_ok(),
        Met::End => true,
    };
    let met =
        look_in_order(&history, |past| meet(ports, name, newest.as_ref(), past), is_last).await?;
    for (place, met) in met.into_iter().enumerate() {
        if let Met::Upload(upload) = met
            && let Some(accepted) = accept(config, upload, &mut rejected)
        {
            return Ok((Current::Object(accepted), rejected));
        }
        match history.get(place..).and_then(<[_]>::split_first) {
            Some((PastVersion::Marker { version, modified }, beneath)) => {
                let explicit = is_explicit(ports, name, *modified, beneath).await?;
                let gone = Current::Gone { marker: Some(version.clone()) };
                return Ok((if explicit { gone } else { Current::Unknown }, rejected));
            }
            Some((PastVersion::Forgotten | PastVersion::Unknown, _)) => {
                return Ok((Current::Unknown, rejected));
            }
            Some((PastVersion::Object { .. }, _)) | None => {}
        }
    }
    Ok((if expires { Current::Unknown } else { Current::Gone { marker: None } }, rejected))
}

async fn meet(
    ports: &Ports,
    name: &TargetName,
    newest: Option<&VersionId>,
    past: &PastVersion,
) -> Result<Met> {
    Ok(match past {
        PastVersion::Object { version, .. } if Some(version) == newest => Met::Nothing,
        PastVersion::Object { version, .. } => ports
            .uploads
            .head_version(name.as_str(), version)
            .await?
            .map_or(Met::Nothing, Met::Upload),
        PastVersion::Marker { .. } | PastVersion::Forgotten | PastVersion::Unknown => Met::End,
    })
}

/// One entry of a history, as the search for the current version meets it.
enum Met {
    /// The entry does not count.
    Nothing,
    /// The entry is an upload.
    Upload(Upload),
    /// The search ends here: nothing beneath counts.
    End,
}

/// Whether somebody, and no lifecycle, made the delete marker with the time `made`. `beneath` are
/// the entries under it. If a lifecycle may have made it, it proves nothing, and the published
/// target stays.
///
/// It costs one request for each multipart upload beneath, up to the first entry that settles the
/// question.
pub(crate) async fn is_explicit(
    ports: &Ports,
    name: &TargetName,
    made: Time,
    beneath: &[PastVersion],
) -> Result<bool> {
    let Some(limit) = ports.config.uploads_expire_days else { return Ok(true) };
    if seconds_between(made, ports.clock.now()) >= limit.seconds() {
        return Ok(false);
    }
    let look = |past| async move {
        let hashed = match past {
            &PastVersion::Object { ref version, in_parts: true, .. } => {
                receipts::dated_receipt(&*ports.store, name.as_str(), version)
                    .await?
                    .map(|(_, stored)| stored)
            }
            _ => None,
        };
        Ok(tells(limit, made, past, hashed))
    };
    let told = look_in_order(beneath, look, Option::is_some).await?;
    Ok(told.last().copied().flatten().unwrap_or(false))
}

/// How much the clocks may differ, in seconds.
const CLOCKS: i64 = 3600;

/// Whether the entry beneath a delete marker proves that no lifecycle made the marker; `None` if it
/// proves nothing either way. `hashed` is when the entry's receipt was stored.
///
/// A lifecycle puts a delete marker only on a current object that is at least `limit` old, never on
/// another marker. It keeps the version that it made noncurrent for as long
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/lifecycle-expire-general-considerations.html>;
/// days are counted up to the next midnight,
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/intro-lifecycle-rules.html>). So for a
/// younger marker, the entry beneath is the one it was made on, or an older one. There is one
/// exception. A multipart upload may have been completed later and still be listed under the
/// marker, since S3 dates it by its start. It proves something only if its receipt was stored
/// before the marker was made.
fn tells(
    limit: ExpireDays,
    made: Time,
    beneath: &PastVersion,
    hashed: Option<Time>,
) -> Option<bool> {
    match beneath {
        PastVersion::Marker { .. } => Some(true),
        PastVersion::Object { in_parts: true, .. } if hashed.is_none_or(|hashed| hashed > made) => {
            None
        }
        PastVersion::Object { modified, .. } => {
            Some(seconds_between(*modified, made) < limit.seconds() - CLOCKS)
        }
        PastVersion::Forgotten | PastVersion::Unknown => Some(false),
    }
}

/// The SHA-256 of an upload's bytes, where it is known: S3's own checksum of the whole object, else
/// hash's receipt. Nobody can forge the checksum. A thief of hash's role can forge a receipt.
#[must_use]
pub fn known_digest(upload: &Upload, receipt: Option<&Hashed>) -> Option<Sha256> {
    let receipt = receipt.filter(|receipt| receipt.length == upload.length);
    upload.sha256.or(receipt.map(|receipt| receipt.sha256))
}

fn accept(
    config: &Config,
    upload: Upload,
    rejected: &mut Vec<RejectedVersion>,
) -> Option<Accepted> {
    match judge_upload(config, &upload) {
        Ok((version, custom)) => Some(Accepted { upload, version, custom }),
        Err(rejection) => {
            rejected.push(RejectedVersion { upload, rejection });
            None
        }
    }
}

/// Decides whether an upload may become a target, by what HEAD returned and the policy alone.
///
/// # Errors
/// The [`Rejection`].
pub fn judge_upload(
    config: &Config,
    upload: &Upload,
) -> std::result::Result<(VersionId, Custom), Rejection> {
    upload.name.parse::<TargetName>()?;
    if let Some(why) = &upload.unusable {
        return Err(Rejection::new(RejectionCode::NotAFile, why.clone()));
    }
    let Some(version) = upload.version.clone() else {
        let reason =
            "the uploads bucket keeps no versions; enable versioning on it and upload again";
        return Err(Rejection::new(RejectionCode::Unversioned, reason));
    };
    let largest = config.largest_target.0;
    if upload.length > largest {
        let reason = format!(
            "it has {} bytes and the configured limit is {largest}; raise largest_target",
            upload.length
        );
        return Err(Rejection::new(RejectionCode::Size, reason));
    }
    let custom = upload.custom.as_deref().map(custom::parse).transpose()?.unwrap_or_default();
    Ok((version, custom))
}
