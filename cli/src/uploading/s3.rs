//! Uploads to a bucket: in one request with the file's SHA-256, or above 64 MiB in parts with one
//! SHA-256 each.

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{Builder, StalledStreamProtectionConfig};
use aws_sdk_s3::primitives::{ByteStream, Length};
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use aws_smithy_types::base64;
use futures::{StreamExt, TryStreamExt, stream};
use indicatif::ProgressBar;
use tufline_aws::RequestError;
use tufline_folder::given;
use tufline_tuf::{Hasher, Sha256, TargetName};

use super::plan::PlannedUpload;
use crate::repository::AwsRepository;
use crate::text::Quoted;

/// The largest upload in one request, in bytes. S3 then keeps the SHA-256 of the whole, so hash
/// need not compute it.
const LARGEST_WHOLE: u64 = 64 << 20;

/// The least and the usual largest length of a part, in bytes.
const PARTS: (u64, u64) = (8 << 20, 64 << 20);

/// The most parts of an upload
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>).
const MOST_PARTS: u64 = 10_000;

/// How many parts are sent at once: enough to fill the line, and few enough that each makes
/// progress on a slow one.
const AT_ONCE: usize = 4;

/// How long one attempt to send a part may take: enough for 64 MiB at a megabit a second.
const ATTEMPT: Duration = Duration::from_mins(10);

/// The bucket to upload to.
#[derive(Debug, Clone)]
pub struct UploadsBucket {
    client: Client,
    bucket: String,
    /// The prefix of all keys of uploads.
    prefix: String,
}

/// A part of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    /// The part's number, from 1.
    number: i32,
    offset: u64,
    length: u64,
}

impl UploadsBucket {
    pub fn of(aws: &AwsRepository) -> anyhow::Result<Self> {
        Ok(Self {
            client: aws.clients.s3.clone(),
            bucket: aws
                .resources
                .uploads_bucket
                .clone()
                .context("the uploads bucket isn't known")?,
            prefix: aws
                .resources
                .uploads_prefix
                .clone()
                .context("the uploads prefix isn't known")?,
        })
    }

    /// Uploads a file; returns its digest. `custom` must be ASCII.
    pub async fn put(
        &self,
        planned: &PlannedUpload,
        custom: Option<&str>,
        bar: &ProgressBar,
    ) -> anyhow::Result<Sha256> {
        let whole = Part { number: 1, offset: 0, length: planned.length };
        let sha256 = digest(&planned.file, whole).await?;
        let sent = if planned.length <= LARGEST_WHOLE {
            self.put_whole(planned, whole, &sha256, custom)
                .await
                .inspect(|()| bar.inc(planned.length))
        } else {
            self.put_parts(planned, custom, bar).await
        };
        sent.with_context(|| {
            format!("cannot upload to s3://{}/{}", self.bucket, self.key(planned))
        })?;
        Ok(sha256)
    }

    /// Removes an upload; its bytes stay as an older version
    /// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/DeletingObjectVersions.html>).
    pub async fn remove(&self, name: &TargetName) -> anyhow::Result<()> {
        let key = format!("{}{name}", self.prefix);
        self.client
            .delete_object()
            .bucket(&self.bucket)
            .key(key)
            .send()
            .await
            .map_err(RequestError::from)?;
        Ok(())
    }

    fn key(&self, planned: &PlannedUpload) -> String {
        format!("{}{}", self.prefix, planned.name)
    }

    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html>
    async fn put_whole(
        &self,
        planned: &PlannedUpload,
        whole: Part,
        sha256: &Sha256,
        custom: Option<&str>,
    ) -> anyhow::Result<()> {
        let request = self.client.put_object().bucket(&self.bucket).key(self.key(planned));
        let request = request
            .checksum_sha256(base64::encode(sha256.as_bytes()))
            .body(body(&planned.file, whole).await?);
        let request = match custom {
            Some(custom) => request.metadata("tuf-custom", custom),
            None => request,
        };
        request.customize().config_override(patience()).send().await.map_err(RequestError::from)?;
        Ok(())
    }

    /// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html>
    async fn put_parts(
        &self,
        planned: &PlannedUpload,
        custom: Option<&str>,
        bar: &ProgressBar,
    ) -> anyhow::Result<()> {
        let request =
            self.client.create_multipart_upload().bucket(&self.bucket).key(self.key(planned));
        let request = request.checksum_algorithm(ChecksumAlgorithm::Sha256);
        let request = match custom {
            Some(custom) => request.metadata("tuf-custom", custom),
            None => request,
        };
        let begun = request.send().await.map_err(RequestError::from)?;
        let id = begun.upload_id.context("the answer has no upload id")?;
        let sent = self.send_parts(planned, &id, bar).await;
        if sent.is_err() {
            // Parts that stay cost money. If this fails too, the bucket's lifecycle rule removes
            // them.
            let abort = self
                .client
                .abort_multipart_upload()
                .bucket(&self.bucket)
                .key(self.key(planned))
                .upload_id(id);
            let _ = abort.send().await;
        }
        sent
    }

    async fn send_parts(
        &self,
        planned: &PlannedUpload,
        id: &str,
        bar: &ProgressBar,
    ) -> anyhow::Result<()> {
        let sending = parts(planned.length).into_iter().map(|part| async move {
            let sha256 = base64::encode(digest(&planned.file, part).await?.as_bytes());
            let request =
                self.client.upload_part().bucket(&self.bucket).key(self.key(planned)).upload_id(id);
            let request = request.part_number(part.number).checksum_sha256(&sha256);
            let request = request
                .body(body(&planned.file, part).await?)
                .customize()
                .config_override(patience());
            let answer = request.send().await.map_err(RequestError::from)?;
            bar.inc(part.length);
            let done = CompletedPart::builder().part_number(part.number).checksum_sha256(sha256);
            anyhow::Ok(done.set_e_tag(answer.e_tag).build())
        });
        let done: Vec<CompletedPart> =
            stream::iter(sending).buffered(AT_ONCE).try_collect().await?;
        let done = CompletedMultipartUpload::builder().set_parts(Some(done)).build();
        let request = self
            .client
            .complete_multipart_upload()
            .bucket(&self.bucket)
            .key(self.key(planned))
            .upload_id(id);
        // S3 starts its answer at once, then sends nothing while it assembles the parts. This is
        // not a stalled stream
        // (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html>).
        let patience =
            patience().stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        let request = request.multipart_upload(done).customize().config_override(patience);
        request.send().await.map_err(RequestError::from)?;
        Ok(())
    }
}

/// Splits `length` bytes into parts.
fn parts(length: u64) -> Vec<Part> {
    let (least, largest) = PARTS;
    // A sixteenth of the file, so that the progress bar moves; more than 64 MiB only if there would
    // be too many parts.
    let size = (length / 16).clamp(least, largest).max(length.div_ceil(MOST_PARTS));
    let offsets = (0..length.div_ceil(size)).map(|index| index * size);
    let parts = (1..).zip(offsets).map(|(number, offset)| Part {
        number,
        offset,
        length: size.min(length - offset),
    });
    parts.collect()
}

async fn body(file: &Path, part: Part) -> anyhow::Result<ByteStream> {
    let body =
        ByteStream::read_from().path(file).offset(part.offset).length(Length::Exact(part.length));
    body.build().await.with_context(|| format!("cannot read {}", file.quoted()))
}

async fn digest(file: &Path, part: Part) -> anyhow::Result<Sha256> {
    let path = file.to_owned();
    let digest = tokio::task::spawn_blocking(move || hash(&path, part)).await?;
    digest.with_context(|| format!("cannot read {}", file.quoted()))
}

fn hash(file: &Path, part: Part) -> std::io::Result<Sha256> {
    use std::io::{Seek, SeekFrom};
    let mut file = given::open(file)?;
    file.seek(SeekFrom::Start(part.offset))?;
    let mut file = file.take(part.length);
    let (mut hasher, mut buffer) = (Hasher::new(), vec![0; 256 * 1024]);
    loop {
        let count = file.read(&mut buffer)?;
        let Some(piece) = buffer.get(..count).filter(|piece| !piece.is_empty()) else {
            return Ok(hasher.finish());
        };
        hasher.update(piece);
    }
}

/// Longer timeouts for a part: the client's own are meant for small requests.
fn patience() -> Builder {
    let timeouts = TimeoutConfig::builder()
        .operation_attempt_timeout(ATTEMPT)
        .operation_timeout(4 * ATTEMPT)
        .build();
    Builder::new().timeout_config(timeouts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_a_file_within_the_limits() {
        for length in [LARGEST_WHOLE + 1, 300 << 20, 1 << 30, 640_000_000_000, 50_000_000_000_000] {
            let parts = parts(length);
            assert!(parts.len() as u64 <= MOST_PARTS, "{length}");
            let mut next = 0;
            for (number, part) in (1..).zip(&parts) {
                assert_eq!((part.number, part.offset), (number, next));
                next += part.length;
            }
            assert_eq!(next, length);
            let first = parts[0].length;
            assert!(
                first >= PARTS.0 && (first <= PARTS.1 || length > PARTS.1 * MOST_PARTS),
                "{length}: {first}"
            );
        }
    }

    #[test]
    fn a_part_has_its_own_digest() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("f");
        std::fs::write(&file, "0123456789").unwrap();
        assert_eq!(
            hash(&file, Part { number: 2, offset: 3, length: 4 }).unwrap(),
            Sha256::of(b"3456")
        );
    }
}
