//! Events for the outside world: what became of uploads, and what needs an operator.

use serde::{Deserialize, Serialize};
use tufline_tuf::delegations::PartyState;
use tufline_tuf::{RejectionCode, RoleName, Sha256, TargetName};

use crate::key::VersionId;

/// The `source` of every event.
pub const EVENT_SOURCE: &str = "tufline";

/// The most bytes of JSON that one event's detail may have. EventBridge's limit for a whole entry
/// is 256 KB (<https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-putevents.html>).
pub const LARGEST_DETAIL: usize = 240_000;

/// An event. Each is sent at least once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "detail-type", content = "detail")]
pub enum Event {
    /// Devices now see these targets, and no longer see the removed ones. A generation with many
    /// changes takes several events.
    #[serde(rename = "Targets Published")]
    TargetsPublished {
        /// The generation, which is the snapshot's version.
        generation: u64,
        /// New or changed targets.
        targets: Vec<PublishedTarget>,
        /// Targets that devices no longer see.
        removed: Vec<TargetName>,
    },
    /// This version of an upload will never be a target.
    #[serde(rename = "Upload Rejected")]
    UploadRejected(RejectedUpload),
    /// This version of an upload is no longer current: it was overwritten or removed, and will
    /// never be published.
    #[serde(rename = "Upload Superseded")]
    UploadSuperseded {
        /// The upload's key, after the prefix.
        name: String,
        /// The version that will not be published.
        version: VersionId,
    },
    /// The bytes of this version of an upload are stored. Its name belongs to another party, whose
    /// document decides whether devices see it.
    #[serde(rename = "Upload Delegated")]
    UploadDelegated {
        /// The upload's key, after the prefix.
        name: String,
        /// The version whose bytes are stored.
        version: VersionId,
        /// The party's role, to which the name belongs.
        role: RoleName,
    },
    /// What devices see of another party's role has changed.
    #[serde(rename = "Delegation Changed")]
    DelegationChanged {
        /// The generation with the change.
        generation: u64,
        /// The party's role, which may be one below the party's own.
        role: RoleName,
        /// Whether devices look for targets in this role.
        state: PartyState,
        /// The version of the role's new document, if it has one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        document: Option<u64>,
        /// The version of the upload that delivered the document.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<VersionId>,
    },
    /// A generation was refused. What was published stays, and the pipeline mends what it can.
    #[serde(rename = "Generation Refused")]
    GenerationRefused {
        /// The generation that was refused.
        generation: u64,
        /// Why, in one line.
        reason: String,
    },
    /// A file lies in the place of a root, and devices would not follow it: it counts as absent.
    /// Somebody has permissions that they should not have.
    #[serde(rename = "Root Ignored")]
    RootIgnored {
        /// The version in the file's name.
        version: u64,
        /// The SHA-256 of the file's bytes.
        sha256: Sha256,
        /// Why it is no root, in one line.
        reason: String,
    },
    /// More targets than the configured limit were removed at once. The removals wait until an
    /// operator accepts them.
    #[serde(rename = "Removals Held")]
    RemovalsHeld {
        /// How many targets were removed.
        removals: u64,
        /// How many targets there were.
        targets: u64,
        /// What happened and what to do, in one line.
        reason: String,
    },
}

/// A target in [`Event::TargetsPublished`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedTarget {
    /// The name under which devices find the target.
    pub name: TargetName,
    /// The version of its upload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<VersionId>,
    /// The SHA-256 of its bytes.
    pub sha256: Sha256,
    /// Its length, in bytes.
    pub length: u64,
}

/// A rejected upload: the event's detail, and the receipt `rejected/…` in the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectedUpload {
    /// Where the upload lies: a URL or a path.
    pub place: String,
    /// The upload's key, after the prefix.
    pub name: String,
    /// The upload's version; `None` if the bucket keeps no versions.
    pub version: Option<VersionId>,
    /// Why it was rejected, for machines.
    pub code: RejectionCode,
    /// Why it was rejected and what to do, for people: one line.
    pub reason: String,
}

impl Event {
    /// The events for a published generation, each within [`LARGEST_DETAIL`]. Empty if no target
    /// changed.
    #[must_use]
    pub fn published(
        generation: u64,
        targets: &[PublishedTarget],
        removed: &[TargetName],
    ) -> Vec<Self> {
        // A target takes up to 240 bytes of name, 64 of digest and 1,024 of version: 150 of them
        // stay below the limit.
        const TARGETS_PER_EVENT: usize = 150;
        let mut events: Vec<Self> = targets
            .chunks(TARGETS_PER_EVENT)
            .map(|part| Self::TargetsPublished {
                generation,
                targets: part.to_vec(),
                removed: Vec::new(),
            })
            .collect();
        events.extend(removed.chunks(2 * TARGETS_PER_EVENT).map(|part| Self::TargetsPublished {
            generation,
            targets: Vec::new(),
            removed: part.to_vec(),
        }));
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_a_large_generation_are_split_to_fit() {
        let name = |number: usize| format!("{number:0>240}").parse::<TargetName>().unwrap();
        let targets: Vec<_> = (0..1000)
            .map(|number| PublishedTarget {
                name: name(number),
                version: Some(VersionId("v".repeat(1024))),
                sha256: Sha256::of(b""),
                length: u64::MAX,
            })
            .collect();
        let events = Event::published(7, &targets, &(0..1000).map(name).collect::<Vec<_>>());
        let (mut told, mut gone) = (Vec::new(), 0);
        for event in &events {
            let json = serde_json::to_value(event).unwrap();
            assert_eq!(json["detail-type"], "Targets Published");
            assert!(json["detail"].to_string().len() <= LARGEST_DETAIL);
            let Event::TargetsPublished { targets, removed, .. } = event else { panic!() };
            told.extend(targets.iter().cloned());
            gone += removed.len();
        }
        assert_eq!((told, gone), (targets, 1000));
        assert!(Event::published(7, &[], &[]).is_empty());
    }
}
