//! Numeric settings, each within its bounds.

use serde::{Deserialize, Serialize};

use super::error::BadConfig;

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

/// How many targets a role may list before it is split. The default is 1,000, about 150 kB of JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct TargetsPerBin(u32);

impl TargetsPerBin {
    /// The limit, as a count of targets.
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
            return Err(BadConfig(format!(
                "a bin of {targets} targets: use 1 to 10000, since {why}"
            )));
        }
        Ok(Self(targets))
    }
}

impl From<TargetsPerBin> for u32 {
    fn from(targets: TargetsPerBin) -> Self {
        targets.0
    }
}

/// How many documents the stage sign works on at the same time. The default is 16. Reading, signing
/// and storing one takes some 75 ms, which makes 210 signatures a second. That is below KMS's
/// smallest default quota for elliptic curves, 300 in some regions
/// (<https://docs.aws.amazon.com/kms/latest/developerguide/requests-per-second.html>). If KMS still
/// throttles a request, it is retried after pauses that double.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct SignaturesAtOnce(u16);

impl SignaturesAtOnce {
    /// The limit, as a count of documents.
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
            return Err(BadConfig(format!(
                "{signatures} signatures at once can't be meant; use 1 to 256"
            )));
        }
        Ok(Self(signatures))
    }
}

impl From<SignaturesAtOnce> for u16 {
    fn from(signatures: SignaturesAtOnce) -> Self {
        signatures.0
    }
}

/// The longest target that the serve function sends itself, in bytes. The default is 256 KiB:
/// sending that takes less time than a device's extra request after a redirect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct InlineTargets(u64);

impl InlineTargets {
    /// The most that an operator can choose, in bytes. A Lambda function answers 6 MB at most, and
    /// Base64 adds a third
    /// (<https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>).
    pub const MOST: u64 = 4 * 1024 * 1024;

    /// The limit in bytes.
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
            return Err(BadConfig(format!(
                "targets of {bytes} bytes can't be answered inline; use at most {most}"
            )));
        }
        Ok(Self(bytes))
    }
}

impl From<InlineTargets> for u64 {
    fn from(targets: InlineTargets) -> Self {
        targets.0
    }
}

/// Days until uploads expire: at least 15, since a message about an upload may wait for 14.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct ExpireDays(u16);

impl ExpireDays {
    /// The time until uploads expire, in seconds.
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
                "uploads may expire after 15 days at the earliest, not {days}: messages about \
                 them wait for up to 14"
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
