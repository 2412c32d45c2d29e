//! The settings that an operator can choose.

use serde::{Deserialize, Serialize};

use super::bounds::{ExpireDays, InlineTargets, LargestTarget, SignaturesAtOnce, TargetsPerBin};
use super::large_uploads::LargeUploads;
use super::lifetime::Lifetime;
use crate::primitives::RoleName;
use crate::root::PinnedRoot;

/// An operator's settings. Every field has a default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How long each role's documents are valid.
    pub expiry: Expiry,
    /// How hash finds an upload's SHA-256.
    pub hashing: Hashing,
    /// How many targets may be removed at once without an operator's consent.
    pub removals: RemovalLimit,
    /// Uploads larger than this are rejected.
    pub largest_target: LargestTarget,
    /// After how many days the uploads bucket expires current objects; `None` where it doesn't.
    /// While this is set, a delete marker removes a target only if the expiry can't have made the
    /// marker: the marker lies on another delete marker, or on an upload that was not that old.
    pub uploads_expire_days: Option<ExpireDays>,
    /// A role that lists more targets than this is split into 16 bins.
    pub max_targets_per_bin: TargetsPerBin,
    /// How many documents are signed at the same time.
    pub signatures_at_once: SignaturesAtOnce,
    /// The serve function redirects devices to the bucket for longer targets. The embedded form
    /// sends all targets itself.
    pub inline_targets: InlineTargets,
    /// Which uploads are large, and in what pieces the pipeline works on them.
    pub large_uploads: LargeUploads,
    /// Whether the embedded form cuts targets into chunks, so that a device with an older image
    /// fetches only the chunks that it lacks. On AWS a separate function cuts them. Default no.
    pub chunks: bool,
    /// Whether parties may delegate their names further. Default no.
    pub nested_delegations: bool,
    /// Whether people sign the top-level targets role. That role then delegates to bins, and the
    /// repository never drafts it itself. Default no.
    pub offline_targets: bool,
    /// The root with which the chain of roots begins, and which devices ship with. If it is set, no
    /// other file at that version is trusted, whoever wrote it, and earlier roots don't count. By
    /// default the chain begins with version 1 as it is stored.
    pub trusted_root: Option<PinnedRoot>,
}

impl Config {
    /// Whether people sign the documents of `role`, and no online key does.
    #[must_use]
    pub fn is_signed_by_people(&self, role: &RoleName) -> bool {
        self.offline_targets && *role == RoleName::targets()
    }
}

/// How long documents are valid, counted from the moment they are made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Expiry {
    /// The timestamp, which is signed again when less than half of this is left. Default 1 day.
    pub timestamp: Lifetime,
    /// Snapshots, which are renewed when less than a third of this is left. Default 7 days.
    pub snapshot: Lifetime,
    /// `targets` and the bins, which are renewed when less than a third of this is left. Default 90
    /// days.
    pub targets: Lifetime,
    /// The development root that `tufline` makes itself. Default 365 days.
    pub root: Lifetime,
}

impl Default for Expiry {
    fn default() -> Self {
        const DAY: u64 = 24 * 60 * 60;
        Self {
            timestamp: Lifetime(DAY),
            snapshot: Lifetime(7 * DAY),
            targets: Lifetime(90 * DAY),
            root: Lifetime(365 * DAY),
        }
    }
}

/// How hash finds an upload's SHA-256.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hashing {
    /// The upload's own full-object checksum; without one, that of a server-side copy; without
    /// either, by reading the bytes.
    #[default]
    Auto,
    /// Always by reading the bytes.
    Stream,
}

/// How many targets may be removed within [`RemovalLimit::WINDOW_SECONDS`] without an operator's
/// consent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RemovalLimit {
    /// Removals of more than this share of all targets are held, in percent; 100 holds none.
    pub percent: u8,
    /// Removals of up to this many targets are never held.
    pub at_least: u64,
}

impl RemovalLimit {
    /// Removals within this many seconds count together, since `aws s3 rm --recursive` arrives in
    /// many batches.
    pub const WINDOW_SECONDS: u64 = 600;
}

impl Default for RemovalLimit {
    fn default() -> Self {
        Self { percent: 50, at_least: 20 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_has_a_default() {
        assert_eq!(serde_json::from_str::<Config>("{}").unwrap(), Config::default());
        assert_eq!(Config::default().expiry.snapshot.seconds(), 604_800);
    }

    #[test]
    fn lifetimes_are_written_as_people_write_them() {
        let config: Config =
            serde_json::from_str(r#"{"expiry":{"timestamp":"36h","snapshot":"7 days"}}"#).unwrap();
        assert_eq!(config.expiry.timestamp.seconds(), 129_600);
        assert_eq!(config.expiry.snapshot.seconds(), 604_800);
        let written = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<Config>(&written).unwrap(), config);
    }

    #[test]
    fn settings_out_of_bounds_are_refused() {
        for text in [
            r#"{"expiry":{"timestamp":"1s"}}"#,
            r#"{"expiry":{"timestamp":"soon"}}"#,
            r#"{"expiry":{"timestamp":"-1d"}}"#,
            r#"{"uploads_expire_days":14}"#,
            r#"{"hashing":"md5"}"#,
            r#"{"inline_targets":4194305}"#,
            r#"{"large_uploads":{"above":1073741825}}"#,
            r#"{"large_uploads":{"piece":0}}"#,
            r#"{"large_uploads":{"piece":4194305}}"#,
            r#"{"large_uploads":{"run":4194303}}"#,
            r#"{"large_uploads":{"copy_above":5000000001}}"#,
            r#"{"large_uploads":{"copy_above":268435455}}"#,
            r#"{"large_uploads":{"copy_part":5368709121}}"#,
            r#"{"large_uploads":{"other":1}}"#,
            r#"{"max_targets_per_bin":0}"#,
            r#"{"signatures_at_once":0}"#,
            r#"{"signatures_at_once":257}"#,
            r#"{"max_targets_per_bin":10001}"#,
            r#"{"trusted_root":"15"}"#,
            r#"{"unknown":1}"#,
        ] {
            assert!(serde_json::from_str::<Config>(text).is_err(), "{text}");
        }
    }
}
