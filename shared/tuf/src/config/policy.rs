//! The policy of one repository, parsed once: CDK props through the environment on AWS, `DATA/config.toml` in the
//! embedded form.

use std::fmt;
use std::str::FromStr;

use jiff::{Span, SpanRelativeTo};
use serde::{Deserialize, Serialize};

use crate::RoleName;
use crate::root::PinnedRoot;

/// What an operator can choose. Every field has a default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How long each role's documents are valid.
    pub expiry: Expiry,
    /// How hash finds an upload's SHA-256.
    pub hashing: Hashing,
    /// How many targets may be removed at once without an operator's consent.
    pub removals: RemovalLimit,
    /// Uploads larger than this are refused.
    pub largest_target: LargestTarget,
    /// After how many days the uploads bucket expires current objects; `None` where it doesn't. While set, a delete
    /// marker removes a target only where the expiry can't have made it: it stands on another delete marker, or on an upload that
    /// wasn't so old.
    pub uploads_expire_days: Option<ExpireDays>,
    /// A role that lists more targets than this is split into 16 bins.
    pub max_targets_per_bin: TargetsPerBin,
    /// How many documents are signed at the same time.
    pub signatures_at_once: SignaturesAtOnce,
    /// Longer targets are redirected to the bucket by the serve function. The embedded form sends all by itself.
    pub inline_targets: InlineTargets,
    /// Which uploads are worked on beside all others, and in what pieces.
    pub large_uploads: LargeUploads,
    /// Whether parties to whom names are delegated may delegate further. Default no.
    pub nested_delegations: bool,
    /// Whether people sign the top-level targets role, which delegates to bins then: the repository never drafts it by itself.
    /// Default no.
    pub offline_targets: bool,
    /// The root with which the chain of roots begins, which devices ship with: no other is believed in its place then, whoever may write where it
    /// lies, and none before it counts. Default: version 1, as it lies there.
    pub trusted_root: Option<PinnedRoot>,
}

impl Config {
    /// Whether people sign the documents of `role`, and no key that a server has.
    #[must_use]
    pub fn is_signed_by_people(&self, role: &RoleName) -> bool {
        self.offline_targets && *role == RoleName::targets()
    }
}

/// How long documents are valid from the moment they are made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Expiry {
    /// `timestamp.json`; re-signed when under half is left. Default 1 day.
    pub timestamp: Lifetime,
    /// Snapshots; renewed when under a third is left. Default 7 days.
    pub snapshot: Lifetime,
    /// `targets` and the bins; renewed when under a third is left. Default 90 days.
    pub targets: Lifetime,
    /// A development root. Default 365 days.
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
    /// The upload's own full-object checksum, else a server-side copy's, else by reading it.
    #[default]
    Auto,
    /// Always by reading it.
    Stream,
}

/// The limit on removals at once, over [`RemovalLimit::WINDOW_SECONDS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RemovalLimit {
    /// Hold removals of more than this share of all targets, in percent; 100 holds none.
    pub percent: u8,
    /// Never hold up to this many.
    pub at_least: u64,
}

impl RemovalLimit {
    /// Removals that come within this time count together: `aws s3 rm --recursive` arrives in many batches.
    pub const WINDOW_SECONDS: u64 = 600;
}

impl Default for RemovalLimit {
    fn default() -> Self {
        Self { percent: 50, at_least: 20 }
    }
}

/// The largest target, in bytes. The default is S3's limit for an object, 50 TB
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LargestTarget(pub u64);

impl Default for LargestTarget {
    fn default() -> Self {
        Self(50_000_000_000_000)
    }
}

/// How many targets a role may list before it is split. Default 1,000, which are some 150 kB of JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct TargetsPerBin(u32);

impl TargetsPerBin {
    /// As a number.
    #[must_use]
    pub fn get(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl Default for TargetsPerBin {
    fn default() -> Self {
        Self(1000)
    }
}

impl TryFrom<u32> for TargetsPerBin {
    type Error = BadConfig;

    fn try_from(targets: u32) -> Result<Self, BadConfig> {
        if !(1..=10_000).contains(&targets) {
            let why = "clients take 5 MB of a targets file at most";
            return Err(BadConfig(format!("a bin of {targets} targets: use 1 to 10000, since {why}")));
        }
        Ok(Self(targets))
    }
}

impl From<TargetsPerBin> for u32 {
    fn from(targets: TargetsPerBin) -> Self {
        targets.0
    }
}

/// How many documents sign works on at the same time. Default 16: with some 75 ms for reading, signing and storing each,
/// that is 210 signatures a second, below the smallest default quota that KMS has for elliptic curves, 300 in some regions
/// (<https://docs.aws.amazon.com/kms/latest/developerguide/requests-per-second.html>). Where KMS throttles all the same,
/// requests are tried again after pauses that double.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct SignaturesAtOnce(u16);

impl SignaturesAtOnce {
    /// As a number.
    #[must_use]
    pub fn get(self) -> usize {
        usize::from(self.0)
    }
}

impl Default for SignaturesAtOnce {
    fn default() -> Self {
        Self(16)
    }
}

impl TryFrom<u16> for SignaturesAtOnce {
    type Error = BadConfig;

    fn try_from(signatures: u16) -> Result<Self, BadConfig> {
        if !(1..=256).contains(&signatures) {
            return Err(BadConfig(format!("{signatures} signatures at once can't be meant; use 1 to 256")));
        }
        Ok(Self(signatures))
    }
}

impl From<SignaturesAtOnce> for u16 {
    fn from(signatures: SignaturesAtOnce) -> Self {
        signatures.0
    }
}

/// The longest target that the serve function answers itself, in bytes. Default 256 KiB: such a one is there sooner than
/// a device could follow a redirect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct InlineTargets(u64);

impl InlineTargets {
    /// A Lambda function answers 6 MB at most, and bytes grow by a third in Base64
    /// (<https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>).
    pub const MOST: u64 = 4 * 1024 * 1024;

    /// In bytes.
    #[must_use]
    pub fn bytes(self) -> u64 {
        self.0
    }
}

impl Default for InlineTargets {
    fn default() -> Self {
        Self(256 * 1024)
    }
}

impl TryFrom<u64> for InlineTargets {
    type Error = BadConfig;

    fn try_from(bytes: u64) -> Result<Self, BadConfig> {
        if bytes > Self::MOST {
            let most = Self::MOST;
            return Err(BadConfig(format!("targets of {bytes} bytes can't be answered inline; use at most {most}")));
        }
        Ok(Self(bytes))
    }
}

impl From<InlineTargets> for u64 {
    fn from(targets: InlineTargets) -> Self {
        targets.0
    }
}

/// Which uploads are worked on beside all others, in runs of limited length, and in what pieces. All in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "SizesOfLargeUploads", into = "SizesOfLargeUploads")]
pub struct LargeUploads(SizesOfLargeUploads);

/// The sizes in [`LargeUploads`], not checked yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SizesOfLargeUploads {
    /// Longer uploads go to the queue of large ones. Default 256 MiB, which S3 copies, or a function reads, in a few seconds.
    pub above: u64,
    /// What must be read is read in pieces of this size. Default 4 MiB.
    pub piece: u64,
    /// After so many bytes the progress is stored, and the next large upload has its turn. Default 4 GiB: a minute on AWS,
    /// where a function reads 50 to 90 MB/s.
    pub run: u64,
    /// Longer uploads are copied in parts. Default 5 GB, the most that S3 copies in one request
    /// (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html>).
    pub copy_above: u64,
    /// The size of these parts; S3 takes 5 MiB to 5 GiB. Default 128 MiB.
    pub copy_part: u64,
}

impl LargeUploads {
    /// What the function hash, which is stopped after a minute, may be given to copy or to read.
    pub const MOST_ABOVE: u64 = 1 << 30;
    /// So that several pieces fit into the memory that reading may take.
    pub const MOST_PIECE: u64 = 4 << 20;

    /// The sizes.
    #[must_use]
    pub fn sizes(self) -> SizesOfLargeUploads {
        self.0
    }
}

impl Default for SizesOfLargeUploads {
    fn default() -> Self {
        Self { above: 256 << 20, piece: 4 << 20, run: 4 << 30, copy_above: 5_000_000_000, copy_part: 128 << 20 }
    }
}

impl TryFrom<SizesOfLargeUploads> for LargeUploads {
    type Error = BadConfig;

    fn try_from(sizes: SizesOfLargeUploads) -> Result<Self, BadConfig> {
        let SizesOfLargeUploads { above, piece, run, copy_above, copy_part } = sizes;
        let check = |name: &str, size: u64, least: u64, most: u64, why: &str| {
            if (least..=most).contains(&size) {
                return Ok(());
            }
            Err(BadConfig(format!("large_uploads.{name} is {size}: use {least} to {most} bytes, since {why}")))
        };
        check("above", above, 0, Self::MOST_ABOVE, "the function hash is stopped after a minute")?;
        check("piece", piece, 1, Self::MOST_PIECE, "several pieces are held in memory")?;
        check("run", run, piece, u64::MAX, "a run reads one piece at least")?;
        check(
            "copy_above",
            copy_above,
            above,
            5_000_000_000,
            "only large uploads are copied in parts, and S3 copies 5 GB in one",
        )?;
        check("copy_part", copy_part, 1, 5 << 30, "S3 takes no larger parts")?;
        Ok(Self(sizes))
    }
}

impl From<LargeUploads> for SizesOfLargeUploads {
    fn from(large: LargeUploads) -> Self {
        large.0
    }
}

/// A time in seconds, written as a person would: `"7 days"`, `"36h"`, `"90d"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Lifetime(u64);

impl Lifetime {
    /// A lifetime of so many seconds.
    ///
    /// # Errors
    /// [`BadConfig`] below 10 seconds, which no client on a slow network could use.
    pub fn from_seconds(seconds: u64) -> Result<Self, BadConfig> {
        if seconds < 10 {
            return Err(BadConfig(format!("a lifetime of {seconds} s is too short; use at least 10 s")));
        }
        Ok(Self(seconds))
    }

    /// In seconds.
    #[must_use]
    pub fn seconds(self) -> u64 {
        self.0
    }
}

/// A configuration that cannot be meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadConfig(String);

impl FromStr for Lifetime {
    type Err = BadConfig;

    fn from_str(text: &str) -> Result<Self, BadConfig> {
        let seconds =
            text.parse::<Span>().and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours())).map_err(
                |error| BadConfig(format!("'{text}' is not a length of time such as \"7 days\" or \"36h\": {error}")),
            )?;
        Self::from_seconds(u64::try_from(seconds.as_secs()).unwrap_or(0))
    }
}

impl TryFrom<String> for Lifetime {
    type Error = BadConfig;

    fn try_from(text: String) -> Result<Self, BadConfig> {
        text.parse()
    }
}

impl From<Lifetime> for String {
    fn from(lifetime: Lifetime) -> Self {
        lifetime.to_string()
    }
}

impl fmt::Display for Lifetime {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}s", self.0)
    }
}

/// Days until uploads expire: at least 15, since a message about an upload may wait for 14.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct ExpireDays(u16);

impl ExpireDays {
    /// In seconds.
    #[must_use]
    pub fn seconds(self) -> i64 {
        i64::from(self.0) * 24 * 60 * 60
    }
}

impl TryFrom<u16> for ExpireDays {
    type Error = BadConfig;

    fn try_from(days: u16) -> Result<Self, BadConfig> {
        if days < 15 {
            return Err(BadConfig(format!(
                "uploads may expire after 15 days at the earliest, not {days}: messages about them wait for up to 14"
            )));
        }
        Ok(Self(days))
    }
}

impl From<ExpireDays> for u16 {
    fn from(days: ExpireDays) -> Self {
        days.0
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
        let config: Config = serde_json::from_str(r#"{"expiry":{"timestamp":"36h","snapshot":"7 days"}}"#).unwrap();
        assert_eq!(config.expiry.timestamp.seconds(), 129_600);
        assert_eq!(config.expiry.snapshot.seconds(), 604_800);
        let written = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<Config>(&written).unwrap(), config);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
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
