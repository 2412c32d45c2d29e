//! Which uploads are large, and in what pieces the pipeline works on them.

use serde::{Deserialize, Serialize};

use super::error::BadConfig;

/// Sizes for large uploads, all in bytes. The pipeline works on large uploads apart from all
/// others, in runs of limited length.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "SizesOfLargeUploads", into = "SizesOfLargeUploads")]
pub struct LargeUploads(SizesOfLargeUploads);

/// The sizes in [`LargeUploads`], not yet checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SizesOfLargeUploads {
    /// Uploads longer than this go to the queue of large ones. The default is 256 MiB, which S3
    /// copies, or a function reads, in a few seconds.
    pub above: u64,
    /// The pipeline reads a large upload in pieces of this size. The default is 4 MiB.
    pub piece: u64,
    /// After this many bytes a run stores its progress, and the next large upload has its turn. The
    /// default is 4 GiB: a minute on AWS, where a function reads 50 to 90 MB/s.
    pub run: u64,
    /// Uploads longer than this are copied in parts. The default is 5 GB, the most that S3 copies
    /// in one request (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html>).
    pub copy_above: u64,
    /// The size of these parts. S3 takes 5 MiB to 5 GiB. The default is 128 MiB.
    pub copy_part: u64,
}

impl LargeUploads {
    /// The highest value of `above`: the function hash is stopped after a minute, and must copy or
    /// read this much in that time.
    pub const MOST_ABOVE: u64 = 1 << 30;
    /// The highest value of `piece`: several pieces must fit into the memory that reading may take.
    pub const MOST_PIECE: u64 = 4 << 20;

    /// The sizes, which are within their bounds.
    #[must_use]
    pub fn sizes(self) -> SizesOfLargeUploads {
        self.0
    }
}

impl Default for SizesOfLargeUploads {
    fn default() -> Self {
        Self {
            above: 256 << 20,
            piece: 4 << 20,
            run: 4 << 30,
            copy_above: 5_000_000_000,
            copy_part: 128 << 20,
        }
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
            Err(BadConfig(format!(
                "large_uploads.{name} is {size}: use {least} to {most} bytes, since {why}"
            )))
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
