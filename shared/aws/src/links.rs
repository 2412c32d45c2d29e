//! Presigned URLs of objects in the repository bucket.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::presigning::PresigningConfig;
use tufline_store::{Bucket, ErrorKind, Key, Links, Result, StoreError};

use crate::failure::failed;

/// How long a link is valid: long enough for a device on a bad network to follow it, even if a
/// clock is some minutes off. S3 checks the time only when a download begins
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-presigned-url.html>).
const VALID: Duration = Duration::from_mins(15);

/// [`Links`] on S3. It makes links without a request. A link works only if the credentials that
/// signed it may read the object.
#[derive(Debug, Clone)]
pub struct S3Links {
    client: Client,
    repository: String,
}

impl S3Links {
    /// Makes links to objects in the bucket `repository`.
    #[must_use]
    pub fn new(client: Client, repository: String) -> Self {
        Self { client, repository }
    }
}

#[async_trait]
impl Links for S3Links {
    async fn link(&self, key: &Key) -> Result<String> {
        let place = || format!("s3://{}/{key}", self.repository);
        if key.bucket() != Bucket::Repository {
            return Err(StoreError::new(
                ErrorKind::Invalid,
                "link to",
                place(),
                "devices may read only the repository bucket",
            ));
        }
        let valid = PresigningConfig::expires_in(VALID);
        let valid = valid.map_err(|error| {
            StoreError::from_source(ErrorKind::Invalid, "link to", place(), error)
        })?;
        let request = self.client.get_object().bucket(&self.repository).key(key.path());
        let link = request.presigned(valid).await;
        Ok(link.map_err(|error| failed("link to", place(), error))?.uri().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canned::Canned;
    use tufline_tuf::Sha256;

    #[tokio::test]
    async fn a_link_names_the_object_and_when_it_expires_and_needs_no_request() {
        let canned = Canned::default();
        let links = S3Links::new(canned.s3(), "repository".into());
        let sha256 = Sha256::of(b"a");
        let link = links.link(&Key::Blob(sha256)).await.unwrap();
        assert!(
            link.contains(&format!("/blobs/{sha256}?")) && link.contains("repository"),
            "{link}"
        );
        assert!(link.contains("X-Amz-Expires=900") && link.contains("X-Amz-Signature="), "{link}");
        assert!(links.link(&Key::Announced).await.is_err());
        assert!(canned.requests().is_empty());
    }
}
