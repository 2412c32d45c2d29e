//! The chunks of blobs, in the repository bucket.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use tufline_store::{Chunks, ErrorKind, Key, Result, StoreError, Written};
use tufline_tuf::{Hasher, Sha256};

use crate::checksum::to_header;
use crate::clients::copy_patience;
use crate::failure::{failed, status};
use crate::range;
use crate::store::CONFLICT_PAUSES;

/// [`Chunks`] on S3, `chunks/<sha256>`.
#[derive(Debug, Clone)]
pub struct S3Chunks {
    client: Client,
    repository: String,
}

impl S3Chunks {
    /// The chunks in the bucket `repository`.
    #[must_use]
    pub fn new(client: Client, repository: String) -> Self {
        Self { client, repository }
    }

    fn place(&self, sha256: &Sha256) -> String {
        format!("s3://{}/{}", self.repository, Key::Chunks(*sha256))
    }
}

/// The digest of a file, read on a thread of its own.
async fn digest(path: PathBuf) -> io::Result<Sha256> {
    let digest = move || {
        let mut hasher = Hasher::new();
        io::copy(&mut File::open(path)?, &mut hasher)?;
        Ok(hasher.finish())
    };
    tokio::task::spawn_blocking(digest).await.map_err(io::Error::other)?
}

#[async_trait]
impl Chunks for S3Chunks {
    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html>
    async fn length(&self, sha256: &Sha256) -> Result<Option<u64>> {
        let request =
            self.client.head_object().bucket(&self.repository).key(Key::Chunks(*sha256).path());
        match request.send().await {
            Ok(head) => {
                let length = head.content_length().and_then(|length| u64::try_from(length).ok());
                let why = "the answer has no Content-Length";
                let no_length =
                    || StoreError::new(ErrorKind::Corrupt, "look at", self.place(sha256), why);
                length.ok_or_else(no_length).map(Some)
            }
            Err(error) if status(&error) == Some(404) => Ok(None),
            Err(error) => Err(failed("look at", self.place(sha256), error)),
        }
    }

    async fn read(&self, sha256: &Sha256, offset: u64, length: u64) -> Result<Option<Bytes>> {
        if length == 0 {
            return Ok(self.length(sha256).await?.map(|_| Bytes::new()));
        }
        range::read(&self.client, &self.repository, &Key::Chunks(*sha256), offset, length).await
    }

    /// Creates them in one request, which may have up to 5 GB
    /// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/upload-objects.html>).
    async fn create(&self, sha256: &Sha256, path: &Path) -> Result<Written> {
        let unread =
            |error| StoreError::from_source(ErrorKind::Retry, "read", path.display(), error);
        // S3 verifies this before it stores the object, so chunks that were cut or changed on the
        // way are never stored.
        let checksum = to_header(&digest(path.to_owned()).await.map_err(unread)?);
        let mut pauses = CONFLICT_PAUSES.into_iter();
        loop {
            let body = ByteStream::from_path(path)
                .await
                .map_err(|error| unread(io::Error::other(error)))?;
            let request =
                self.client.put_object().bucket(&self.repository).key(Key::Chunks(*sha256).path());
            let request = request.if_none_match("*").checksum_sha256(&checksum).body(body);
            let sent = request
                .content_type("application/octet-stream")
                .customize()
                .config_override(copy_patience());
            let Err(error) = sent.send().await else { return Ok(Written::Done) };
            match (status(&error), pauses.next()) {
                (Some(412), _) => return Ok(Written::Lost),
                // Neither won nor lost: another conditional write is in progress.
                (Some(409), Some(pause)) => tokio::time::sleep(pause).await,
                _ => return Err(failed("create", self.place(sha256), error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canned::Canned;

    fn chunks(canned: &Canned) -> S3Chunks {
        S3Chunks::new(canned.s3(), "repository".into())
    }

    /// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html#conditional-error-response>
    #[tokio::test]
    async fn they_are_created_and_never_replaced() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "list and chunks").unwrap();
        let blob = Sha256::of(b"blob");
        let conflict = |canned: Canned| canned.s3_error(409, "ConditionalRequestConflict");
        let done = |canned: Canned| canned.answer(200, &[("etag", "\"1\"")], "");
        let taken = |canned: Canned| canned.s3_error(412, "PreconditionFailed");
        for (canned, written) in [
            (done(Canned::default()), Written::Done),
            (taken(Canned::default()), Written::Lost),
            (done(conflict(Canned::default())), Written::Done),
            (taken(conflict(Canned::default())), Written::Lost),
        ] {
            assert_eq!(chunks(&canned).create(&blob, file.path()).await.unwrap(), written);
            for request in canned.requests() {
                assert_eq!(
                    (request.method.as_str(), request.header("if-none-match")),
                    ("PUT", Some("*"))
                );
                assert!(request.uri.contains(&format!("/chunks/{blob}")), "{}", request.uri);
                assert_eq!(
                    request.header("x-amz-checksum-sha256"),
                    Some(&*to_header(&Sha256::of(b"list and chunks")))
                );
                assert_eq!(
                    request.header("content-length"),
                    Some("15"),
                    "no trailer: the checksum is known"
                );
            }
        }
        for canned in [
            Canned::default().s3_error(403, "AccessDenied"),
            Canned::default().s3_error(404, "NoSuchBucket"),
        ] {
            assert!(chunks(&canned).create(&blob, file.path()).await.is_err());
        }
        assert!(chunks(&Canned::default()).create(&blob, Path::new("/nonexistent")).await.is_err());
    }

    #[tokio::test]
    async fn missing_chunks_are_distinguished_from_failures() {
        let blob = Sha256::of(b"blob");
        let canned = Canned::default().answer(404, &[], "").s3_error(404, "NoSuchKey");
        assert_eq!(chunks(&canned).length(&blob).await.unwrap(), None);
        assert_eq!(chunks(&canned).read(&blob, 0, 1).await.unwrap(), None);
        let canned = Canned::default().answer(403, &[], "").s3_error(404, "NoSuchBucket");
        assert!(chunks(&canned).length(&blob).await.is_err());
        assert!(chunks(&canned).read(&blob, 0, 1).await.is_err());
    }
}
