//! Server-side copies within S3: the bytes never pass through this process.

use std::collections::BTreeMap;
use std::ops::Range;

use aws_sdk_s3::Client;
use aws_sdk_s3::operation::copy_object::CopyObjectOutput;
use aws_sdk_s3::operation::copy_object::builders::CopyObjectFluentBuilder;
use aws_sdk_s3::types::{
    ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart, MetadataDirective, TaggingDirective,
};
use futures::{StreamExt, TryStreamExt, stream};
use tufline_store::{ErrorKind, Kept, Result, StoreError};
use tufline_tuf::Sha256;

use crate::checksum::whole_sha256;
use crate::clients::copy_patience;
use crate::failure::{code, failed, status};

/// The most parts of a multipart upload
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>).
const MOST_PARTS: u64 = 10_000;

/// How many parts one call copies, all at once: enough that a large object takes seconds for each
/// gigabyte, not minutes, and few enough that a call takes only seconds.
const AT_ONCE: usize = 16;

/// A blob is bytes, whatever the uploader called it: a browser must not run it as a page.
const CONTENT_TYPE: &str = "application/octet-stream";

/// The source and the destination of a copy.
#[derive(Debug, Clone)]
pub(crate) struct Copy {
    /// The value of `x-amz-copy-source`.
    pub(crate) source: String,
    /// The bucket to copy to.
    pub(crate) bucket: String,
    /// The key to copy to.
    pub(crate) key: String,
}

/// The result of a copy that may not replace anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Created {
    /// The copy is made. It has the SHA-256 of the whole copy if S3 computed one.
    Done(Option<Sha256>),
    /// The key exists already.
    Taken,
    /// Another write to the key was in progress: this one neither won nor lost.
    Conflict,
}

impl Copy {
    fn place(&self) -> String {
        format!("{} to s3://{}/{}", self.source, self.bucket, self.key)
    }

    /// Copies in one request, replacing what is there; returns the SHA-256 of the whole copy if S3
    /// computed one.
    pub(crate) async fn whole(&self, client: &Client) -> Result<Option<Sha256>> {
        let answer = self.request(client).customize().config_override(copy_patience()).send().await;
        answer.map(|copied| sha256_of(&copied)).map_err(|error| failed("copy", self.place(), error))
    }

    /// Copies in one request, unless the key exists
    /// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html>:
    /// `If-None-Match` works for copies as for other writes).
    pub(crate) async fn whole_if_absent(&self, client: &Client) -> Result<Created> {
        let request = self.request(client).if_none_match("*");
        match request.customize().config_override(copy_patience()).send().await {
            Ok(copied) => Ok(Created::Done(sha256_of(&copied))),
            Err(error) if status(&error) == Some(412) => Ok(Created::Taken),
            Err(error) if status(&error) == Some(409) => Ok(Created::Conflict),
            Err(error) => Err(failed("copy", self.place(), error)),
        }
    }

    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html>
    ///
    /// It copies neither metadata nor tags: to copy the tags of a tagged upload it would need more
    /// permissions.
    fn request(&self, client: &Client) -> CopyObjectFluentBuilder {
        client
            .copy_object()
            .copy_source(&self.source)
            .bucket(&self.bucket)
            .key(&self.key)
            .checksum_algorithm(ChecksumAlgorithm::Sha256)
            .metadata_directive(MetadataDirective::Replace)
            .tagging_directive(TaggingDirective::Replace)
            .content_type(CONTENT_TYPE)
    }

    /// Copies some of the missing parts, of `length` bytes in parts of about `part` bytes. Once all
    /// parts are there, it completes the copy, unless the key exists by then
    /// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/CopyingObjectsMPUapi.html>).
    ///
    /// S3 remembers the parts, so a later call of any process continues. Several calls at once copy
    /// the same parts twice, which is harmless. No reader sees an unfinished copy, and the bucket's
    /// lifecycle rule removes one that nobody continues.
    pub(crate) async fn in_parts(&self, client: &Client, length: u64, part: u64) -> Result<Kept> {
        let upload = match self.unfinished(client).await? {
            Some(upload) => upload,
            None => self.begin(client).await?,
        };
        let Some(there) = self.parts_there(client, &upload).await? else {
            return Ok(Kept::Contended);
        };
        let (mut whole, mut missing) = (Vec::new(), Vec::new());
        for (number, range) in (1..).zip(split(length, part)) {
            match there.get(&number) {
                // A part of the same size at the same place, from this upload or from another with
                // the same bytes.
                Some((size, tag)) if *size == range.end - range.start => {
                    whole.push(completed(number, tag.clone()));
                }
                _ => missing.push((number, range)),
            }
        }
        let finishes = missing.len() <= AT_ONCE;
        let copies = missing
            .into_iter()
            .take(AT_ONCE)
            .map(|(number, range)| self.copy_part(client, &upload, number, range));
        let copies: Vec<_> = copies.collect();
        whole.extend(
            stream::iter(copies)
                .buffer_unordered(AT_ONCE)
                .try_collect::<Vec<CompletedPart>>()
                .await?,
        );
        if !finishes {
            return Ok(Kept::Partly);
        }
        whole.sort_by_key(CompletedPart::part_number);
        self.complete(client, &upload, whole).await
    }

    /// The unfinished copy that was begun first, if there is one, so that all processes choose the
    /// same. S3 lists them by key, and by time within a key
    /// (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListMultipartUploads.html>).
    async fn unfinished(&self, client: &Client) -> Result<Option<String>> {
        let request = client.list_multipart_uploads().bucket(&self.bucket).prefix(&self.key);
        let answer = request.send().await.map_err(|error| failed("copy", self.place(), error))?;
        let uploads = answer.uploads.unwrap_or_default().into_iter();
        Ok(uploads
            .filter(|upload| upload.key() == Some(&self.key))
            .find_map(|upload| upload.upload_id))
    }

    async fn begin(&self, client: &Client) -> Result<String> {
        let create = client
            .create_multipart_upload()
            .bucket(&self.bucket)
            .key(&self.key)
            .content_type(CONTENT_TYPE);
        let upload =
            create.send().await.map_err(|error| failed("copy", self.place(), error))?.upload_id;
        upload.ok_or_else(|| {
            StoreError::new(ErrorKind::Corrupt, "copy", self.place(), "the answer has no UploadId")
        })
    }

    /// The size and the `ETag` of each finished part, by number; `None` if another process has just
    /// completed the copy. S3 lists a thousand at a time
    /// (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListParts.html>).
    async fn parts_there(
        &self,
        client: &Client,
        upload: &str,
    ) -> Result<Option<BTreeMap<i32, (u64, String)>>> {
        let (mut parts, mut after) = (BTreeMap::new(), None);
        loop {
            let request = client.list_parts().bucket(&self.bucket).key(&self.key).upload_id(upload);
            let answer = match request.set_part_number_marker(after.take()).send().await {
                Ok(answer) => answer,
                Err(error) if code(&error) == Some("NoSuchUpload") => return Ok(None),
                Err(error) => return Err(failed("copy", self.place(), error)),
            };
            after = answer.next_part_number_marker.filter(|_| answer.is_truncated == Some(true));
            parts.extend(answer.parts.unwrap_or_default().into_iter().filter_map(|part| {
                Some((part.part_number?, (u64::try_from(part.size?).ok()?, part.e_tag?)))
            }));
            if after.is_none() {
                return Ok(Some(parts));
            }
        }
    }

    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html>
    async fn complete(
        &self,
        client: &Client,
        upload: &str,
        parts: Vec<CompletedPart>,
    ) -> Result<Kept> {
        let request = client
            .complete_multipart_upload()
            .bucket(&self.bucket)
            .key(&self.key)
            .upload_id(upload);
        let request = request.if_none_match("*");
        let request = request
            .multipart_upload(CompletedMultipartUpload::builder().set_parts(Some(parts)).build());
        match request.customize().config_override(copy_patience()).send().await {
            Ok(_) => Ok(Kept::Whole),
            // Another process was first, or is about to be: the next call finds the blob.
            Err(error)
                if code(&error) == Some("NoSuchUpload")
                    || matches!(status(&error), Some(409 | 412)) =>
            {
                Ok(Kept::Contended)
            }
            Err(error) => Err(failed("copy", self.place(), error)),
        }
    }

    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_UploadPartCopy.html>
    async fn copy_part(
        &self,
        client: &Client,
        upload: &str,
        number: i32,
        range: Range<u64>,
    ) -> Result<CompletedPart> {
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
            .map_err(|error| failed("copy", self.place(), error))?;
        let tag = answer.copy_part_result.and_then(|result| result.e_tag);
        let no_tag = || {
            StoreError::new(ErrorKind::Corrupt, "copy", self.place(), "a part's answer has no ETag")
        };
        let tag = tag.ok_or_else(no_tag)?;
        Ok(completed(number, tag))
    }
}

fn sha256_of(copied: &CopyObjectOutput) -> Option<Sha256> {
    let result = copied.copy_object_result()?;
    whole_sha256(result.checksum_sha256(), result.checksum_type())
}

fn completed(number: i32, tag: String) -> CompletedPart {
    CompletedPart::builder().part_number(number).e_tag(tag).build()
}

/// Splits `length` bytes into parts of `part` bytes, or larger ones if there would be too many; the
/// last may be shorter.
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
        assert_eq!(
            split(largest, 512 << 20).count(),
            10_000,
            "the largest object in as many parts as there may be"
        );
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
