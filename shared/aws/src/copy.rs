//! Server-side copies within S3: no byte passes through here.

use std::ops::Range;

use aws_sdk_s3::Client;
use aws_sdk_s3::types::{
    ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart, MetadataDirective, TaggingDirective,
};
use futures::{StreamExt, TryStreamExt, stream};
use tufline_store::{Result, StoreError};
use tufline_tuf::Sha256;

use crate::checksum::whole_sha256;
use crate::clients::copy_patience;
use crate::failure::failed;

/// The most parts of a multipart upload (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>).
const MOST_PARTS: u64 = 10_000;

/// How many parts are copied at once: enough that a large object takes seconds for each gigabyte, not minutes.
const AT_ONCE: usize = 8;

/// A blob is bytes, whatever the uploader called it: a browser must not run it as a page.
const CONTENT_TYPE: &str = "application/octet-stream";

/// From what is copied to where.
#[derive(Debug, Clone)]
pub(crate) struct Copy {
    /// As in `x-amz-copy-source`.
    pub(crate) source: String,
    /// The bucket to copy to.
    pub(crate) bucket: String,
    /// The key to copy to.
    pub(crate) key: String,
}

impl Copy {
    fn place(&self) -> String {
        format!("{} to s3://{}/{}", self.source, self.bucket, self.key)
    }

    /// Copies in one request, and answers the SHA-256 of the whole copy where S3 computed one
    /// (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html>).
    ///
    /// Neither metadata nor tags come along: copying tags needs permissions that a tagged upload would make us lack.
    pub(crate) async fn whole(&self, client: &Client) -> Result<Option<Sha256>> {
        let answer = client
            .copy_object()
            .copy_source(&self.source)
            .bucket(&self.bucket)
            .key(&self.key)
            .checksum_algorithm(ChecksumAlgorithm::Sha256)
            .metadata_directive(MetadataDirective::Replace)
            .tagging_directive(TaggingDirective::Replace)
            .content_type(CONTENT_TYPE)
            .customize()
            .config_override(copy_patience())
            .send()
            .await
            .map_err(|error| failed("copy", self.place(), &error))?;
        Ok(answer
            .copy_object_result()
            .and_then(|result| whole_sha256(result.checksum_sha256(), result.checksum_type())))
    }

    /// Copies `length` bytes in parts of about `part` bytes
    /// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/CopyingObjectsMPUapi.html>).
    ///
    /// A crash in between leaves an unfinished upload, which no reader sees and the bucket's lifecycle rule removes.
    pub(crate) async fn in_parts(&self, client: &Client, length: u64, part: u64) -> Result<()> {
        let create = client.create_multipart_upload().bucket(&self.bucket).key(&self.key).content_type(CONTENT_TYPE);
        let upload = create.send().await.map_err(|error| failed("copy", self.place(), &error))?.upload_id;
        let upload = upload.ok_or_else(|| StoreError::new("copy", self.place(), "the answer has no UploadId"))?;
        let copied = self.copy_parts(client, &upload, length, part).await;
        if copied.is_err() {
            let abort = client.abort_multipart_upload().bucket(&self.bucket).key(&self.key).upload_id(&upload);
            // The first failure says more than this one would, and the lifecycle rule removes what stays.
            let _: std::result::Result<_, _> = abort.send().await;
        }
        copied
    }

    async fn copy_parts(&self, client: &Client, upload: &str, length: u64, part: u64) -> Result<()> {
        let parts = (1..).zip(split(length, part)).map(|(number, range)| self.copy_part(client, upload, number, range));
        let parts: Vec<CompletedPart> = stream::iter(parts).buffered(AT_ONCE).try_collect().await?;
        client
            .complete_multipart_upload()
            .bucket(&self.bucket)
            .key(&self.key)
            .upload_id(upload)
            .multipart_upload(CompletedMultipartUpload::builder().set_parts(Some(parts)).build())
            .customize()
            .config_override(copy_patience())
            .send()
            .await
            .map(drop)
            .map_err(|error| failed("copy", self.place(), &error))
    }

    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_UploadPartCopy.html>
    async fn copy_part(&self, client: &Client, upload: &str, number: i32, range: Range<u64>) -> Result<CompletedPart> {
        let answer = client
            .upload_part_copy()
            .copy_source(&self.source)
            .copy_source_range(format!("bytes={}-{}", range.start, range.end - 1))
            .bucket(&self.bucket)
            .key(&self.key)
            .upload_id(upload)
            .part_number(number)
            .customize()
            .config_override(copy_patience())
            .send()
            .await
            .map_err(|error| failed("copy", self.place(), &error))?;
        let tag = answer.copy_part_result.and_then(|result| result.e_tag);
        let tag = tag.ok_or_else(|| StoreError::new("copy", self.place(), "a part's answer has no ETag"))?;
        Ok(CompletedPart::builder().part_number(number).e_tag(tag).build())
    }
}

/// `length` bytes in parts of `part` bytes, or of more where that would be too many parts; the last may be shorter.
fn split(length: u64, part: u64) -> impl Iterator<Item = Range<u64>> {
    let part = part.max(length.div_ceil(MOST_PARTS)).max(1);
    (0..length.div_ceil(part)).map(move |number| number * part..length.min((number + 1) * part))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parts() {
        assert_eq!(split(10, 4).collect::<Vec<_>>(), [0..4, 4..8, 8..10]);
        assert_eq!(split(8, 4).collect::<Vec<_>>(), [0..4, 4..8]);
        assert_eq!(split(0, 4).count(), 0);
        let largest = 50 << 40;
        assert_eq!(split(largest, 512 << 20).count(), 10_000, "the largest object in as many parts as there may be");
    }

    proptest! {
        #[test]
        fn parts_cover_everything_once(length in 0..1_000_000_u64, part in 1..50_000_u64) {
            let mut end = 0;
            let mut count = 0;
            for range in split(length, part) {
                prop_assert_eq!(range.start, end);
                prop_assert!(range.end > range.start);
                (end, count) = (range.end, count + 1);
            }
            prop_assert_eq!(end, length);
            prop_assert!(count <= MOST_PARTS);
        }
    }
}
