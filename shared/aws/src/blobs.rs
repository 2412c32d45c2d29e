//! The targets' bytes, in the repository bucket.

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::types::ChecksumMode;
use bytes::Bytes;
use tufline_store::{
    Blob, Blobs, ErrorKind, Kept, Key, Result, Source, StoreError, Upload, UploadKey,
};
use tufline_tuf::Sha256;
use tufline_tuf::config::LargeUploads;

use crate::checksum::whole_sha256;
use crate::copy::{Copy, Created};
use crate::failure::{failed, status};
use crate::object_key::copy_source;
use crate::range;
use crate::store::CONFLICT_PAUSES;

/// How objects are copied, by their size in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyLimits {
    /// The largest object that is copied in one request, in bytes.
    pub whole: u64,
    /// The size of the parts in which larger objects are copied, in bytes.
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

/// The largest upload that [`Blobs::check`] copies, in bytes. Lambda stops the functions that check
/// (sign and publish) after a minute, and a longer copy would stop them again and again. The
/// function hash, which has a minute too, copies no larger ones either
/// ([`LargeUploads::MOST_ABOVE`]).
const MOST_CHECKED: u64 = LargeUploads::MOST_ABOVE;

/// [`Blobs`] on S3: blobs are server-side copies of uploads.
///
/// *Invariant*: a blob is created and never replaced: each copy to a blob carries `If-None-Match:
/// *`, and the bucket's policy refuses any other write to one.
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
    pub fn new(
        client: Client,
        uploads: String,
        prefix: String,
        repository: String,
        limits: CopyLimits,
    ) -> Self {
        Self { client, uploads, prefix, repository, limits }
    }

    fn place(&self, sha256: &Sha256) -> String {
        format!("s3://{}/{}", self.repository, Key::Blob(*sha256))
    }

    /// A copy of one version of an upload: the version that the caller looked at, since another may
    /// be current by now.
    fn copy_of(&self, upload: &Upload, to: &Key) -> Copy {
        let source = copy_source(
            &self.uploads,
            &format!("{}{}", self.prefix, upload.name),
            upload.version.as_ref(),
        );
        Copy { source, bucket: self.repository.clone(), key: to.path() }
    }

    /// The copy that makes `upload` the blob `sha256`.
    fn copy_to_blob(&self, upload: &Upload, source: Source, sha256: &Sha256) -> Result<Copy> {
        let blob = Key::Blob(*sha256);
        match source {
            Source::Upload => Ok(self.copy_of(upload, &blob)),
            Source::Incoming => {
                let why = "the upload has no version, so there is no copy to keep";
                let unversioned =
                    || StoreError::new(ErrorKind::Invalid, "keep", self.place(sha256), why);
                let incoming = incoming(upload).ok_or_else(unversioned)?;
                let source = copy_source(&self.repository, &incoming.path(), None);
                Ok(Copy { source, bucket: self.repository.clone(), key: blob.path() })
            }
        }
    }

    /// Whether the blob `sha256` already holds `upload`. Fails if S3 shows that the blob has other
    /// bytes: no function ever makes such a blob, so somebody else did, and nobody may replace it.
    async fn is_kept(&self, upload: &Upload, sha256: &Sha256) -> Result<bool> {
        let Some(blob) = self.head(sha256).await? else { return Ok(false) };
        let why = if blob.length != upload.length {
            format!("it has {} bytes instead of {}", blob.length, upload.length)
        } else if let Some(stored) = blob.sha256.filter(|stored| stored != sha256) {
            format!("S3 says that its SHA-256 is {stored}")
        } else {
            return Ok(true);
        };
        let why = format!(
            "{why}; see 'A blob with other bytes' in docs/operations.md, after which it is stored \
             again"
        );
        Err(StoreError::new(ErrorKind::Corrupt, "keep", self.place(sha256), why))
    }
}

/// The key of the copy of `upload` that S3 hashes; `None` for an upload without a version, which
/// has no key of its own.
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

    /// It makes a new copy each time, even if `checked/` has one: nobody can tell who made that
    /// one, but nobody else can forge S3's answer to this request
    /// (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html>, `ChecksumSHA256`).
    /// It needs no condition, since nobody reads these copies.
    async fn check(&self, upload: &Upload) -> Result<Option<Sha256>> {
        match upload
            .version
            .as_ref()
            .map(|version| Key::Checked(UploadKey::new(&upload.name, version)))
        {
            Some(checked) if upload.length <= self.limits.whole.min(MOST_CHECKED) => {
                self.copy_of(upload, &checked).whole(&self.client).await
            }
            _ => Ok(None),
        }
    }

    async fn keep(&self, upload: &Upload, source: Source, sha256: &Sha256) -> Result<Kept> {
        if self.is_kept(upload, sha256).await? {
            return Ok(Kept::Whole);
        }
        let copy = self.copy_to_blob(upload, source, sha256)?;
        if upload.length > self.limits.whole {
            return copy.in_parts(&self.client, upload.length, self.limits.part).await;
        }
        let mut pauses = CONFLICT_PAUSES.into_iter();
        loop {
            let (pause, why) = match copy.whole_if_absent(&self.client).await? {
                Created::Done(Some(copied)) if copied != *sha256 => {
                    let why = format!(
                        "S3 says that the copy's SHA-256 is {copied}; find out who else writes \
                         there"
                    );
                    return Err(StoreError::new(
                        ErrorKind::Corrupt,
                        "keep",
                        self.place(sha256),
                        why,
                    ));
                }
                Created::Done(_) => return Ok(Kept::Whole),
                Created::Taken => (None, "S3 says that it exists, and then that it doesn't"),
                Created::Conflict => (pauses.next(), "other writes to it keep going on"),
            };
            if let Some(pause) = pause {
                tokio::time::sleep(pause).await;
            }
            // Most likely another run keeps the same bytes under another name.
            if self.is_kept(upload, sha256).await? {
                return Ok(Kept::Whole);
            }
            if pause.is_none() {
                let why = format!("{why}; it is retried");
                return Err(StoreError::new(ErrorKind::Conflict, "keep", self.place(sha256), why));
            }
        }
    }

    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html>
    async fn head(&self, sha256: &Sha256) -> Result<Option<Blob>> {
        let request =
            self.client.head_object().bucket(&self.repository).key(Key::Blob(*sha256).path());
        match request.checksum_mode(ChecksumMode::Enabled).send().await {
            Ok(head) => {
                let length = head.content_length().and_then(|length| u64::try_from(length).ok());
                let why = "the answer has no Content-Length";
                let no_length =
                    || StoreError::new(ErrorKind::Corrupt, "look at", self.place(sha256), why);
                let sha256 = whole_sha256(head.checksum_sha256(), head.checksum_type());
                Ok(Some(Blob { length: length.ok_or_else(no_length)?, sha256 }))
            }
            Err(error) if status(&error) == Some(404) => Ok(None),
            Err(error) => Err(failed("look at", self.place(sha256), error)),
        }
    }

    async fn read(&self, sha256: &Sha256, offset: u64, length: u64) -> Result<Option<Bytes>> {
        if length == 0 {
            return Ok(self.head(sha256).await?.map(|_| Bytes::new()));
        }
        range::read(&self.client, &self.repository, &Key::Blob(*sha256), offset, length).await
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
        Upload {
            name: "a b".into(),
            version,
            length: 5,
            custom: None,
            sha256: None,
            uploaded: None,
            unusable: None,
        }
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
            assert_eq!(
                request.header("x-amz-copy-source"),
                Some("uploads/targets/a%20b?versionId=v1")
            );
            assert_eq!(request.header("x-amz-checksum-algorithm"), Some("SHA256"));
            assert_eq!(request.header("x-amz-metadata-directive"), Some("REPLACE"));
            assert_eq!(request.header("x-amz-tagging-directive"), Some("REPLACE"));
            assert!(
                request.uri.contains(&format!("/incoming/{}/v1", Sha256::of(b"a b"))),
                "{}",
                request.uri
            );
        }
    }

    #[tokio::test]
    async fn a_check_is_a_copy_of_its_own() {
        let digest = Sha256::of(b"bytes");
        let both =
            [digest, Sha256::of(b"other")].map(|digest| copied(&to_header(&digest), "FULL_OBJECT"));
        let canned =
            Canned::default().answer(200, &[], both[0].clone()).answer(200, &[], both[1].clone());
        let blobs = blobs(&canned);
        assert_eq!(blobs.check(&upload()).await.unwrap(), Some(digest));
        assert_eq!(
            blobs.check(&upload()).await.unwrap(),
            Some(Sha256::of(b"other")),
            "the first answer is not reused"
        );
        for request in canned.requests() {
            assert_eq!(
                request.header("x-amz-copy-source"),
                Some("uploads/targets/a%20b?versionId=v1")
            );
            assert!(
                request.uri.contains(&format!("/checked/{}/v1", Sha256::of(b"a b"))),
                "{}",
                request.uri
            );
        }
        // A copy in parts has no digest of the whole, and a copy that would take too long is not
        // begun.
        let canned =
            Canned::default().answer(200, &[], copied(&(to_header(&digest) + "-2"), "COMPOSITE"));
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
        assert!(
            blobs(&missing).keep(&upload, Source::Incoming, &Sha256::of(b"bytes")).await.is_err()
        );
    }

    #[tokio::test]
    async fn a_blob_with_other_bytes_is_noticed_and_not_replaced() {
        let (digest, other) = (Sha256::of(b"bytes"), to_header(&Sha256::of(b"other")));
        let canned =
            Canned::default().answer(404, &[], "").answer(200, &[], copied(&other, "FULL_OBJECT"));
        let failure = blobs(&canned)
            .keep(&upload(), Source::Incoming, &digest)
            .await
            .unwrap_err()
            .to_string();
        assert!(failure.contains(&Sha256::of(b"other").to_string()), "{failure}");
        let checksum: &'static str = other.leak();
        for (headers, why) in [
            (vec![("content-length", "4")], "it has 4 bytes instead of 5".to_owned()),
            (
                vec![("content-length", "5"), ("x-amz-checksum-sha256", checksum)],
                format!("S3 says that its SHA-256 is {}", Sha256::of(b"other")),
            ),
        ] {
            for limits in [CopyLimits::default(), CopyLimits { whole: 0, part: 1 }] {
                let canned = Canned::default().answer(200, &headers, "");
                let blobs = S3Blobs { limits, ..blobs(&canned) };
                let failure =
                    blobs.keep(&upload(), Source::Upload, &digest).await.unwrap_err().to_string();
                assert!(
                    failure.contains(&why) && failure.contains("docs/operations.md"),
                    "{failure}"
                );
                assert_eq!(canned.requests().len(), 1, "the look at it");
            }
        }
        let canned = Canned::default().answer(200, &[("content-length", "5")], "");
        assert_eq!(
            blobs(&canned).keep(&upload(), Source::Upload, &digest).await.unwrap(),
            Kept::Whole
        );
    }

    /// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html#conditional-error-response>
    #[tokio::test]
    async fn a_blob_is_created_and_never_replaced() {
        let digest = Sha256::of(b"bytes");
        let good = || copied(&to_header(&digest), "FULL_OBJECT");
        let (missing, there) = ((404, ""), (200, "5"));
        let look = |canned: Canned, (status, length): (u16, &'static str)| {
            canned.answer(
                status,
                if status == 200 { vec![("content-length", length)] } else { vec![] }.as_slice(),
                "",
            )
        };
        let is_conditional = |canned: &Canned| {
            let copies: Vec<_> =
                canned.requests().into_iter().filter(|request| request.method == "PUT").collect();
            assert!(
                copies.iter().all(|copy| copy.header("if-none-match") == Some("*")),
                "{copies:?}"
            );
            copies.len()
        };
        for source in [Source::Upload, Source::Incoming] {
            let canned = look(Canned::default(), missing).answer(200, &[], good());
            assert_eq!(blobs(&canned).keep(&upload(), source, &digest).await.unwrap(), Kept::Whole);
            assert_eq!(is_conditional(&canned), 1);
        }
        // Another run has made it in the meantime, or is making it.
        for (status, code) in [(412, "PreconditionFailed"), (409, "ConditionalRequestConflict")] {
            let canned = look(look(Canned::default(), missing).s3_error(status, code), there);
            assert_eq!(
                blobs(&canned).keep(&upload(), Source::Upload, &digest).await.unwrap(),
                Kept::Whole,
                "{code}"
            );
            assert_eq!(is_conditional(&canned), 1, "{code}");
        }
        // The other run gave up.
        let canned = look(Canned::default(), missing).s3_error(409, "ConditionalRequestConflict");
        let canned = look(canned, missing).answer(200, &[], good());
        assert_eq!(
            blobs(&canned).keep(&upload(), Source::Upload, &digest).await.unwrap(),
            Kept::Whole
        );
        assert_eq!(is_conditional(&canned), 2);
        // The blob that another run made has other bytes.
        let canned = look(Canned::default(), missing).s3_error(412, "PreconditionFailed");
        let canned = look(canned, (200, "4"));
        assert!(blobs(&canned).keep(&upload(), Source::Upload, &digest).await.is_err());
        assert_eq!(is_conditional(&canned), 1);
        let lasting = (0..6).fold(look(Canned::default(), missing), |canned, _| {
            look(canned.s3_error(409, "ConditionalRequestConflict"), missing)
        });
        assert!(blobs(&lasting).keep(&upload(), Source::Upload, &digest).await.is_err());
        lasting.requests();
    }

    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html>
    #[tokio::test]
    async fn a_copy_in_parts_becomes_a_blob_only_if_there_is_none() {
        let digest = Sha256::of(b"bytes");
        let uploads = format!(
            "<ListMultipartUploadsResult><Upload><Key>blobs/{digest}</Key><UploadId>1</UploadId></Upload></ListMultipartUploadsResult>"
        );
        let parts = "<ListPartsResult><Part><PartNumber>1</PartNumber><Size>5</Size><ETag>\"1\"</ETag></Part></ListPartsResult>";
        for (status, expected) in
            [(200, Kept::Whole), (412, Kept::Contended), (409, Kept::Contended)]
        {
            let canned = Canned::default()
                .answer(404, &[], "")
                .answer(200, &[], uploads.clone())
                .answer(200, &[], parts);
            let canned = match status {
                200 => canned.answer(
                    200,
                    &[],
                    "<CompleteMultipartUploadResult><ETag>\"1-1\"</ETag></CompleteMultipartUploadResult>",
                ),
                _ => canned.s3_error(status, "PreconditionFailed"),
            };
            let blobs = S3Blobs { limits: CopyLimits { whole: 4, part: 5 }, ..blobs(&canned) };
            assert_eq!(
                blobs.keep(&upload(), Source::Upload, &digest).await.unwrap(),
                expected,
                "{status}"
            );
            let requests = canned.requests();
            let last = requests.last().unwrap();
            assert_eq!(
                (last.method.as_str(), last.header("if-none-match")),
                ("POST", Some("*")),
                "{status}"
            );
        }
    }

    /// S3 may answer 200 and then an error
    /// (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html>, "Response and
    /// special errors").
    #[tokio::test]
    async fn a_copy_that_fails_after_it_began_has_failed() {
        let body = "<Error><Code>AccessDenied</Code><Message>why</Message></Error>";
        let canned = Canned::default().answer(200, &[], body);
        assert!(blobs(&canned).copy_in(&upload()).await.is_err());
    }
}
