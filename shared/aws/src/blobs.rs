//! The bytes of targets, in the repository bucket.

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::types::ChecksumMode;
use bytes::{Bytes, BytesMut};
use tufline_store::{Blob, Blobs, Kept, Key, Result, Source, StoreError, Upload, UploadKey};
use tufline_tuf::Sha256;
use tufline_tuf::config::LargeUploads;

use crate::checksum::whole_sha256;
use crate::copy::Copy;
use crate::failure::{code, failed, status};
use crate::object_key::copy_source;
use crate::range;

/// How objects are copied, by their size in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyLimits {
    /// Up to this size in one request.
    pub whole: u64,
    /// Larger ones in parts of this size.
    pub part: u64,
}

impl From<LargeUploads> for CopyLimits {
    fn from(large: LargeUploads) -> Self {
        let sizes = large.sizes();
        Self { whole: sizes.copy_above, part: sizes.copy_part }
    }
}

impl Default for CopyLimits {
    fn default() -> Self {
        LargeUploads::default().into()
    }
}

/// Larger uploads aren't copied to be checked, in bytes. Whoever checks is stopped after 30 seconds, and a copy that takes longer would
/// stop it again and again; what the function hash, which has a minute, may be given to copy is no more
/// ([`LargeUploads::MOST_ABOVE`]).
const MOST_CHECKED: u64 = LargeUploads::MOST_ABOVE;

/// [`Blobs`] on S3: blobs are server-side copies of uploads.
#[derive(Debug, Clone)]
pub struct S3Blobs {
    client: Client,
    uploads: String,
    prefix: String,
    repository: String,
    limits: CopyLimits,
}

impl S3Blobs {
    /// Blobs in the bucket `repository`, from the uploads under `prefix` in the bucket `uploads`.
    #[must_use]
    pub fn new(client: Client, uploads: String, prefix: String, repository: String, limits: CopyLimits) -> Self {
        Self { client, uploads, prefix, repository, limits }
    }

    fn place(&self, sha256: &Sha256) -> String {
        format!("s3://{}/{}", self.repository, Key::Blob(*sha256))
    }

    /// A copy of one version of an upload. Only the version that was looked at: what is current may have changed since.
    fn copy_of(&self, upload: &Upload, to: &Key) -> Copy {
        let source = copy_source(&self.uploads, &format!("{}{}", self.prefix, upload.name), upload.version.as_ref());
        Copy { source, bucket: self.repository.clone(), key: to.path() }
    }
}

/// Where the copy of `upload` that is being hashed lies; `None` for one without a version, which has no place of its own.
fn incoming(upload: &Upload) -> Option<Key> {
    upload.version.as_ref().map(|version| Key::Incoming(UploadKey::new(&upload.name, version)))
}

#[async_trait]
impl Blobs for S3Blobs {
    async fn copy_in(&self, upload: &Upload) -> Result<Option<Sha256>> {
        match incoming(upload) {
            Some(incoming) if upload.length <= self.limits.whole => {
                self.copy_of(upload, &incoming).whole(&self.client).await
            }
            _ => Ok(None),
        }
    }

    /// Copied anew each time, even where `checked/` has such a copy: whose it is nobody can tell, and what S3 answers to this very
    /// request nobody else can forge (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html>, `ChecksumSHA256`). No
    /// condition is needed, for nobody reads the copies.
    async fn check(&self, upload: &Upload) -> Result<Option<Sha256>> {
        match upload.version.as_ref().map(|version| Key::Checked(UploadKey::new(&upload.name, version))) {
            Some(checked) if upload.length <= self.limits.whole.min(MOST_CHECKED) => {
                self.copy_of(upload, &checked).whole(&self.client).await
            }
            _ => Ok(None),
        }
    }

    async fn keep(&self, upload: &Upload, source: Source, sha256: &Sha256) -> Result<Kept> {
        let sound = |blob: Blob| blob.length == upload.length && blob.sha256.is_none_or(|stored| stored == *sha256);
        if self.head(sha256).await?.is_some_and(sound) {
            return Ok(Kept::Whole);
        }
        let blob = Key::Blob(*sha256);
        let copy = match source {
            Source::Upload => self.copy_of(upload, &blob),
            Source::Incoming => {
                let incoming = incoming(upload).ok_or_else(|| {
                    StoreError::new(
                        "keep",
                        self.place(sha256),
                        "the upload has no version and so no copy to take it from",
                    )
                })?;
                let source = copy_source(&self.repository, &incoming.path(), None);
                Copy { source, bucket: self.repository.clone(), key: blob.path() }
            }
        };
        if upload.length > self.limits.whole {
            return copy.in_parts(&self.client, upload.length, self.limits.part).await;
        }
        match copy.whole(&self.client).await? {
            Some(copied) if copied != *sha256 => {
                let why = format!("S3 says that the copy's SHA-256 is {copied}; look at who else writes there");
                Err(StoreError::new("keep", self.place(sha256), why))
            }
            _ => Ok(Kept::Whole),
        }
    }

    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html>
    async fn head(&self, sha256: &Sha256) -> Result<Option<Blob>> {
        let request = self.client.head_object().bucket(&self.repository).key(Key::Blob(*sha256).path());
        match request.checksum_mode(ChecksumMode::Enabled).send().await {
            Ok(head) => {
                let length = head.content_length().and_then(|length| u64::try_from(length).ok());
                let no_length = || StoreError::new("look at", self.place(sha256), "the answer has no Content-Length");
                let sha256 = whole_sha256(head.checksum_sha256(), head.checksum_type());
                Ok(Some(Blob { length: length.ok_or_else(no_length)?, sha256 }))
            }
            Err(error) if status(&error) == Some(404) => Ok(None),
            Err(error) => Err(failed("look at", self.place(sha256), &error)),
        }
    }

    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html>: 416 where nothing is left from `offset`.
    async fn read(&self, sha256: &Sha256, offset: u64, length: u64) -> Result<Option<Bytes>> {
        let Some(range) = range::header(offset, length) else {
            return Ok(self.head(sha256).await?.map(|_| Bytes::new()));
        };
        let request = self.client.get_object().bucket(&self.repository).key(Key::Blob(*sha256).path()).range(range);
        match request.send().await {
            Ok(answer) => match range::cut(answer, offset, length, BytesMut::new()).await {
                Ok(bytes) => Ok(Some(bytes.freeze())),
                Err(why) => Err(StoreError::new("read", self.place(sha256), why)),
            },
            Err(error) if status(&error) == Some(416) => Ok(Some(Bytes::new())),
            Err(error) if code(&error) == Some("NoSuchKey") => Ok(None),
            Err(error) => Err(failed("read", self.place(sha256), &error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canned::Canned;
    use crate::checksum::to_header;
    use tufline_store::VersionId;

    fn blobs(canned: &Canned) -> S3Blobs {
        let [uploads, prefix, repository] = ["uploads", "targets/", "repository"].map(String::from);
        S3Blobs::new(canned.s3(), uploads, prefix, repository, CopyLimits::default())
    }

    fn upload() -> Upload {
        let version = Some(VersionId("v1".into()));
        Upload { name: "a b".into(), version, length: 5, custom: None, sha256: None, uploaded: None }
    }

    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html#API_CopyObject_ResponseSyntax>
    fn copied(checksum: &str, kind: &str) -> String {
        format!(
            "<CopyObjectResult><ETag>\"1\"</ETag><ChecksumType>{kind}</ChecksumType><ChecksumSHA256>{checksum}</ChecksumSHA256>\
             </CopyObjectResult>"
        )
    }

    #[tokio::test]
    async fn a_copy_tells_the_digest_of_the_whole() {
        let digest = Sha256::of(b"bytes");
        for (checksum, kind, expected) in [
            (to_header(&digest), "FULL_OBJECT", Some(digest)),
            (to_header(&digest) + "-2", "FULL_OBJECT", None),
            (to_header(&digest) + "-2", "COMPOSITE", None),
        ] {
            let canned = Canned::default().answer(200, &[], copied(&checksum, kind));
            assert_eq!(blobs(&canned).copy_in(&upload()).await.unwrap(), expected);
            let request = &canned.requests()[0];
            assert_eq!(request.header("x-amz-copy-source"), Some("uploads/targets/a%20b?versionId=v1"));
            assert_eq!(request.header("x-amz-checksum-algorithm"), Some("SHA256"));
            assert_eq!(request.header("x-amz-metadata-directive"), Some("REPLACE"));
            assert_eq!(request.header("x-amz-tagging-directive"), Some("REPLACE"));
            assert!(request.uri.contains(&format!("/incoming/{}/v1", Sha256::of(b"a b"))), "{}", request.uri);
        }
    }

    #[tokio::test]
    async fn a_check_is_a_copy_of_its_own() {
        let digest = Sha256::of(b"bytes");
        let both = [digest, Sha256::of(b"other")].map(|digest| copied(&to_header(&digest), "FULL_OBJECT"));
        let canned = Canned::default().answer(200, &[], both[0].clone()).answer(200, &[], both[1].clone());
        let blobs = blobs(&canned);
        assert_eq!(blobs.check(&upload()).await.unwrap(), Some(digest));
        assert_eq!(
            blobs.check(&upload()).await.unwrap(),
            Some(Sha256::of(b"other")),
            "nothing is believed of the first"
        );
        for request in canned.requests() {
            assert_eq!(request.header("x-amz-copy-source"), Some("uploads/targets/a%20b?versionId=v1"));
            assert!(request.uri.contains(&format!("/checked/{}/v1", Sha256::of(b"a b"))), "{}", request.uri);
        }
        // One of parts has no digest of the whole, and what takes too long is not begun.
        let canned = Canned::default().answer(200, &[], copied(&(to_header(&digest) + "-2"), "COMPOSITE"));
        assert_eq!(self::blobs(&canned).check(&upload()).await.unwrap(), None);
        let canned = Canned::default();
        let large = Upload { length: MOST_CHECKED + 1, ..upload() };
        assert_eq!(self::blobs(&canned).check(&large).await.unwrap(), None);
    }

    #[tokio::test]
    async fn an_upload_without_a_version_is_not_copied_in() {
        let upload = Upload { version: None, ..upload() };
        let canned = Canned::default();
        assert_eq!(blobs(&canned).copy_in(&upload).await.unwrap(), None);
        let missing = Canned::default().answer(404, &[], "");
        assert!(blobs(&missing).keep(&upload, Source::Incoming, &Sha256::of(b"bytes")).await.is_err());
    }

    #[tokio::test]
    async fn a_blob_with_other_bytes_is_noticed() {
        let (digest, other) = (Sha256::of(b"bytes"), to_header(&Sha256::of(b"other")));
        let canned = Canned::default().answer(404, &[], "").answer(200, &[], copied(&other, "FULL_OBJECT"));
        let failure = blobs(&canned).keep(&upload(), Source::Incoming, &digest).await.unwrap_err().to_string();
        assert!(failure.contains(&Sha256::of(b"other").to_string()), "{failure}");
        // One that is there with another length, or with another digest, is written again.
        let good = copied(&to_header(&digest), "FULL_OBJECT");
        let checksum: &'static str = other.leak();
        for headers in
            [vec![("content-length", "4")], vec![("content-length", "5"), ("x-amz-checksum-sha256", checksum)]]
        {
            let canned = Canned::default().answer(200, &headers, "").answer(200, &[], good.clone());
            assert_eq!(blobs(&canned).keep(&upload(), Source::Upload, &digest).await.unwrap(), Kept::Whole);
            canned.requests();
        }
        let canned = Canned::default().answer(200, &[("content-length", "5")], "");
        assert_eq!(blobs(&canned).keep(&upload(), Source::Upload, &digest).await.unwrap(), Kept::Whole);
    }

    /// S3 may answer 200 and then an error
    /// (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html>, "Response and special errors").
    #[tokio::test]
    async fn a_copy_that_fails_after_it_began_has_failed() {
        let body = "<Error><Code>AccessDenied</Code><Message>why</Message></Error>";
        let canned = Canned::default().answer(200, &[], body);
        assert!(blobs(&canned).copy_in(&upload()).await.is_err());
    }
}
