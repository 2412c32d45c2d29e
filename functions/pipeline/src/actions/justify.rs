//! Decides whether devices may see a name change now, by asking the uploads. Sign and publish ask
//! this.
//!
//! Sign and publish believe no manifest: a thief of rebuild's role could put an old firmware into
//! one. They ask S3 which bytes were in effect lately, and believe hash's receipts only where S3
//! keeps no SHA-256.
//!
//! *In effect* at a given time is the newest entry in a name's history that counts then. A version
//! that is not rejected counts from when its receipt was stored, a delete marker from when it was
//! made. A version newer than that may be shown as soon as it exists.
//!
//! *Invariant*: content judged [`Justified::Yes`] or [`Justified::Lately`] was in effect within the
//! last [`WINDOW_SECONDS`], with two exceptions that nobody can detect: a version deleted for good
//! within the window counts as if it had never existed, and a multipart upload that was completed
//! within the window, but is listed under newer entries, counts as if it had been there before
//! them. The content in effect now is always [`Justified::Yes`], once it has its receipt.
//! (`functions/pipeline/tests/justify.rs`)

use tufline_store::{PastVersion, VersionId};
use tufline_tuf::time::seconds_between;
use tufline_tuf::{Content, TargetName, Time};

use crate::concurrency::{at_once, look_in_order};
use crate::error::Result;
use crate::justified::{Justified, WINDOW_SECONDS};
use crate::ports::Ports;
use crate::state::current::{Accepted, Current, current_upload, is_explicit, judge_upload};
use crate::state::receipts;

/// Whether `name` may have `content` now; `None` means that the target is gone. `version` is the
/// upload's version that a manifest names. It is only a hint where to look first: a manifest may
/// say anything, and the same bytes may have been uploaded again.
///
/// Requests: one look at the current upload, and where S3 keeps no SHA-256 of its bytes, a read of
/// its receipt and a server-side copy. If the current upload has the content, that is all.
/// Otherwise: one listing; a look at each version that came within the window, with its receipt and
/// copy where all else matches; and two requests for each older version, down to the first one
/// whose receipt is older too. A few beneath that are looked at as well, since looks go out
/// together.
///
/// # Errors
/// A request failed, so nothing is known.
pub async fn justify(
    ports: &Ports,
    name: &TargetName,
    version: Option<&VersionId>,
    content: Option<&Content>,
) -> Result<Justified> {
    let (current, _) = current_upload(ports, name).await?;
    let (found, compared) = match (content, current) {
        (None, Current::Gone { .. }) => (Justified::Yes, None),
        (Some(content), Current::Object(accepted)) => {
            (compare(ports, &accepted, content).await?, Some(accepted.version))
        }
        _ => (Justified::NotNow, None),
    };
    if found == Justified::Yes {
        return Ok(found);
    }
    let history = ports.uploads.versions(name.as_str()).await?;
    let past = Past { ports, name, history, now: ports.clock.now() };
    let lately = match content {
        None => past.was_gone().await?,
        Some(content) => past.was(content, version, compared.as_ref()).await?,
    };
    Ok(match lately {
        Justified::NotNow => found,
        Justified::Yes => Justified::Lately,
        Justified::Lately | Justified::Otherwise => lately,
    })
}

/// Whether an upload has `content`. It reads the receipt only where S3's own SHA-256 does not
/// settle the question.
async fn compare(ports: &Ports, accepted: &Accepted, content: &Content) -> Result<Justified> {
    let Accepted { upload, version, custom } = accepted;
    if upload.length != content.length || *custom != content.custom {
        return Ok(Justified::NotNow);
    }
    if upload.sha256 == Some(content.sha256) {
        return Ok(Justified::Yes);
    }
    let receipt = receipts::receipt(&*ports.store, &upload.name, version).await?;
    if receipt
        .is_none_or(|receipt| (receipt.sha256, receipt.length) != (content.sha256, content.length))
    {
        return Ok(Justified::NotNow);
    }
    // A receipt is enough only where the store computes no digest: a thief of hash's role could
    // have written anything there.
    let stored = match upload.sha256 {
        None => ports.blobs.check(upload).await?.unwrap_or(content.sha256),
        Some(sha256) => sha256,
    };
    Ok(if stored == content.sha256 { Justified::Yes } else { Justified::Otherwise })
}

/// The version history of a name.
struct Past<'a> {
    ports: &'a Ports,
    name: &'a TargetName,
    history: Vec<PastVersion>,
    now: Time,
}

impl Past<'_> {
    /// Whether the name was gone within the window.
    ///
    /// Only a delete marker shows that. Where the history just ends, versions may have been deleted
    /// for good, and rebuild must look at the name again.
    async fn was_gone(&self) -> Result<Justified> {
        let mut left = self.history.as_slice();
        loop {
            let marker = left.iter().position(|past| matches!(past, PastVersion::Marker { .. }));
            let (above, rest) = left.split_at(marker.unwrap_or(left.len()));
            if self.first_old(above).await?.is_some() {
                return Ok(Justified::NotNow);
            }
            let Some((PastVersion::Marker { modified, .. }, beneath)) = rest.split_first() else {
                return Ok(Justified::NotNow);
            };
            if is_explicit(self.ports, self.name, *modified, beneath).await? {
                return Ok(Justified::Yes);
            }
            if self.is_before(*modified) {
                return Ok(Justified::NotNow);
            }
            left = beneath;
        }
    }

    /// Whether the name had `content` within the window, perhaps as `version`. The caller has
    /// compared `compared` already: it does not have it.
    async fn was(
        &self,
        content: &Content,
        version: Option<&VersionId>,
        compared: Option<&VersionId>,
    ) -> Result<Justified> {
        let mut found = Justified::NotNow;
        let mut unmet = version.filter(|version| Some(*version) != compared);
        let is_version = |past: &PastVersion, wanted: Option<&VersionId>| matches!(past, PastVersion::Object { version, .. } if Some(version) == wanted);
        let hinted =
            unmet.and_then(|_| self.history.iter().position(|past| is_version(past, unmet)));
        let (above, beneath) = self.history.split_at(hinted.unwrap_or_default());
        let mut old = self.first_old(above).await?;
        if old.is_none() {
            if let Some(met) = unmet.take_if(|_| hinted.is_some()) {
                found = self.look(met, content).await?;
                if found == Justified::Yes {
                    return Ok(found);
                }
            }
            old = self.first_old(beneath).await?.map(|place| above.len() + place);
        }
        let recent = self.history.get(..=old.unwrap_or(usize::MAX - 1)).unwrap_or(&self.history);
        let is_forgotten = recent.contains(&PastVersion::Forgotten);
        let others = recent
            .iter()
            .enumerate()
            .filter(|(place, past)| Some(*place) != hinted && !is_version(past, compared));
        let others = others.filter_map(|(_, past)| match past {
            PastVersion::Object { version, .. } => Some(version),
            PastVersion::Marker { .. } | PastVersion::Forgotten | PastVersion::Unknown => None,
        });
        let mut failure = None;
        for looked in at_once(others.map(|met| self.look(met, content))).await {
            match looked {
                Ok(Justified::Yes | Justified::Lately) => return Ok(Justified::Yes),
                Ok(Justified::Otherwise) => found = Justified::Otherwise,
                Ok(Justified::NotNow) => {}
                Err(error) => failure = Some(error),
            }
        }
        if let Some(version) = unmet.filter(|_| is_forgotten)
            && self.was_hashed(version, content).await?
        {
            return Ok(Justified::Yes);
        }
        failure.map_or(Ok(found), Err)
    }

    /// The place of the first old entry among `entries`.
    async fn first_old(&self, entries: &[PastVersion]) -> Result<Option<usize>> {
        let looked = look_in_order(entries, |past| self.is_old(past), |is_old| *is_old).await?;
        Ok(looked.iter().position(|is_old| *is_old))
    }

    fn is_before(&self, time: Time) -> bool {
        seconds_between(time, self.now) > WINDOW_SECONDS
    }

    /// Whether nothing beneath `past` was in effect within the window, because `past` itself has
    /// counted for longer.
    ///
    /// S3 dates a multipart upload by its start, which may be long before its completion. Its
    /// receipt is stored after the completion, so both times must be old. An upload without a
    /// receipt does not count yet: devices still see the entry beneath it.
    async fn is_old(&self, past: &PastVersion) -> Result<bool> {
        match past {
            PastVersion::Marker { modified, .. } => Ok(self.is_before(*modified)),
            PastVersion::Object { version, modified, .. } if self.is_before(*modified) => {
                let (ports, name) = (self.ports, self.name.as_str());
                let receipt = receipts::dated_receipt(&*ports.store, name, version).await?;
                if receipt.is_none_or(|(_, stored)| !self.is_before(stored)) {
                    return Ok(false);
                }
                let upload = ports.uploads.head_version(name, version).await?;
                Ok(upload.is_some_and(|upload| judge_upload(&ports.config, &upload).is_ok()))
            }
            PastVersion::Object { .. } => Ok(false),
            PastVersion::Forgotten | PastVersion::Unknown => Ok(true),
        }
    }

    /// Whether `version` has `content`.
    async fn look(&self, version: &VersionId, content: &Content) -> Result<Justified> {
        let (ports, name) = (self.ports, self.name.as_str());
        let Some(upload) = ports.uploads.head_version(name, version).await? else {
            return Ok(Justified::NotNow);
        };
        let Ok((version, custom)) = judge_upload(&ports.config, &upload) else {
            return Ok(Justified::NotNow);
        };
        if upload.length != content.length || custom != content.custom {
            return Ok(Justified::NotNow);
        }
        compare(ports, &Accepted { upload, version, custom }, content).await
    }

    /// Whether hash found `content` in `version` within the window.
    ///
    /// This is for files, which are overwritten in place and leave nothing but the receipt. The
    /// receipt can be believed there: all stages are one process, so nobody can steal one stage's
    /// role. The old file's custom metadata is lost, so this compares bytes only.
    async fn was_hashed(&self, version: &VersionId, content: &Content) -> Result<bool> {
        let found =
            receipts::dated_receipt(&*self.ports.store, self.name.as_str(), version).await?;
        Ok(found.is_some_and(|(receipt, stored)| {
            seconds_between(stored, self.now) <= WINDOW_SECONDS
                && receipt
                    .is_some_and(|it| (it.sha256, it.length) == (content.sha256, content.length))
        }))
    }
}
