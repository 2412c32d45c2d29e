//! Events for the world outside: what became of uploads, and what needs an operator.

use serde::{Deserialize, Serialize};
use tufline_tuf::delegations::PartyState;
use tufline_tuf::{RejectionCode, RoleName, Sha256, TargetName};

use crate::key::VersionId;

/// The `source` of every event.
pub const EVENT_SOURCE: &str = "tufline";

/// The most bytes of JSON that one event's detail may take: EventBridge's limit for an entry is 256 KB in all
/// (<https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-putevents.html>).
pub const LARGEST_DETAIL: usize = 240_000;

/// An event. Each is sent at least once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "detail-type", content = "detail")]
pub enum Event {
    /// Devices can now see these targets, and no longer see the removed ones. A generation with many changes is told in
    /// several events.
    #[serde(rename = "Targets Published")]
    TargetsPublished {
        /// The generation, which is the snapshot's version.
        generation: u64,
        /// New or changed targets.
        targets: Vec<PublishedTarget>,
        /// Removed targets.
        removed: Vec<TargetName>,
    },
    /// This version of an upload will never be a target.
    #[serde(rename = "Upload Rejected")]
    UploadRejected(RejectedUpload),
    /// This version of an upload is no longer current: it was overwritten or removed, and will not be published any more.
    #[serde(rename = "Upload Superseded")]
    UploadSuperseded {
        /// The name.
        name: String,
        /// The version that will not be published.
        version: VersionId,
    },
    /// The bytes of this version of an upload are kept. Its name is another party's, whose document says whether devices see them.
    #[serde(rename = "Upload Delegated")]
    UploadDelegated {
        /// The name.
        name: String,
        /// The version.
        version: VersionId,
        /// The party's role.
        role: RoleName,
    },
    /// What devices see of another party's role changed.
    #[serde(rename = "Delegation Changed")]
    DelegationChanged {
        /// The generation.
        generation: u64,
        /// The role.
        role: RoleName,
        /// Whether devices look there.
        state: PartyState,
        /// The version of its new document, if it has one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        document: Option<u64>,
        /// The version of the upload that has it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<VersionId>,
    },
    /// The gate refused a generation. What was published stays; the pipeline tries to mend what it can.
    #[serde(rename = "Generation Refused")]
    GenerationRefused {
        /// The generation.
        generation: u64,
        /// One line.
        reason: String,
    },
    /// Something lies where a root belongs, and is none that devices would follow: it counts as absent. Somebody has rights that he should
    /// not have.
    #[serde(rename = "Root Ignored")]
    RootIgnored {
        /// The version in its name.
        version: u64,
        /// Of what is stored there.
        sha256: Sha256,
        /// One line.
        reason: String,
    },
    /// More targets than configured were removed at once; the removal waits until an operator accepts it.
    #[serde(rename = "Removals Held")]
    RemovalsHeld {
        /// How many.
        removals: u64,
        /// Of how many targets.
        targets: u64,
        /// One line that says what to do.
        reason: String,
    },
}

/// A target in [`Event::TargetsPublished`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedTarget {
    /// The target.
    pub name: TargetName,
    /// The upload's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<VersionId>,
    /// The digest.
    pub sha256: Sha256,
    /// In bytes.
    pub length: u64,
}

/// A refused upload: the event's detail, and the receipt `rejected/…` in the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectedUpload {
    /// Where the upload lies.
    pub place: String,
    /// The key after the prefix.
    pub name: String,
    /// The upload's version.
    pub version: Option<VersionId>,
    /// For machines.
    pub code: RejectionCode,
    /// For people: one line.
    pub reason: String,
}

impl Event {
    /// The events that tell of generation `generation`, each within [`LARGEST_DETAIL`]; none where there is nothing to tell.
    #[must_use]
    pub fn published(generation: u64, targets: &[PublishedTarget], removed: &[TargetName]) -> Vec<Self> {
        // The longest name takes 240 bytes, version and digest 64 to 1,024 more: 150 of them stay below the limit.
        const TARGETS_PER_EVENT: usize = 150;
        let mut events: Vec<Self> = targets
            .chunks(TARGETS_PER_EVENT)
            .map(|part| Self::TargetsPublished { generation, targets: part.to_vec(), removed: Vec::new() })
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
