//! The repository and the ledger in two buckets.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_smithy_types::DateTime;
use aws_smithy_types::byte_stream::ByteStream;
use bytes::Bytes;
use tufline_store::{
    Bucket, Document, ErrorKind, Folder, Key, Pointer, Result, Store, StoreError, Stored, Tag,
    Written, expect_readable,
};
use tufline_tuf::root::PinnedRoot;
use tufline_tuf::{Sha256, Time};

use crate::checksum;
use crate::failure::{RequestError, code, failed, status};

/// The pauses before a write is sent again that S3 answered with 409. S3 does that while another
/// conditional write to the key is in progress: this one neither won nor lost. Any write of a small
/// object ends within these pauses.
pub(crate) const CONFLICT_PAUSES: [Duration; 5] = [
    Duration::from_millis(20),
    Duration::from_millis(60),
    Duration::from_millis(180),
    Duration::from_millis(540),
    Duration::from_millis(1620),
];

/// The most keys in one answer
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html>).
const PAGE: usize = 1000;

/// [`Store`] on S3.
#[derive(Debug, Clone)]
pub struct S3Store {
    client: Client,
    repository: String,
    ledger: String,
    forbidden_is_missing: bool,
}

impl S3Store {
    /// The repository and the ledger in the buckets with these names.
    #[must_use]
    pub fn new(client: Client, repository: String, ledger: String) -> Self {
        Self { client, repository, ledger, forbidden_is_missing: false }
    }

    /// A store for readers without `s3:ListBucket`. S3 answers them 403 for a missing object
    /// (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html>, "Permissions"), so
    /// 403 must count as missing. A stage must never use this: a withdrawn permission would look
    /// like an empty repository.
    #[must_use]
    pub fn forbidden_is_missing(self) -> Self {
        Self { forbidden_is_missing: true, ..self }
    }

    fn bucket(&self, bucket: Bucket) -> &str {
        match bucket {
            Bucket::Repository => &self.repository,
            Bucket::Ledger => &self.ledger,
        }
    }

    fn place(&self, key: &Key) -> String {
        format!("s3://{}/{key}", self.bucket(key.bucket()))
    }

    /// The body of an answer; empty if it is longer than `most`.
    async fn body(
        &self,
        key: &Key,
        most: usize,
        length: Option<i64>,
        mut body: ByteStream,
    ) -> Result<Bytes> {
        let (mut pieces, mut read) = (Vec::new(), 0);
        if length.is_some_and(|length| usize::try_from(length).is_ok_and(|length| length > most)) {
            return Ok(Bytes::new());
        }
        while let Some(piece) = body.next().await {
            let piece = piece
                .map_err(|error| RequestError::unanswered(error).of("read", self.place(key)))?;
            read += piece.len();
            if read > most {
                return Ok(Bytes::new());
            }
            pieces.push(piece);
        }
        // There is mostly only one piece.
        Ok(match &mut pieces[..] {
            [piece] => std::mem::take(piece),
            pieces => pieces.concat().into(),
        })
    }

    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html>
    fn put(&self, document: &Document, condition: Condition<'_>) -> PutObjectFluentBuilder {
        let request = self
            .client
            .put_object()
            .bucket(self.bucket(document.key().bucket()))
            .key(document.key().path())
            .content_type("application/json")
            // S3 verifies this before it stores the object, so a document that was cut or changed
            // on the way is never stored.
            .checksum_sha256(checksum::to_header(&Sha256::of(document.bytes())))
            .body(document.bytes().clone().into());
        match condition {
            Condition::Absent => request.if_none_match("*"),
            Condition::Unchanged(tag) => request.if_match(&tag.0),
        }
    }

    /// Makes a conditional write
    /// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html>). 412 means
    /// that the condition didn't hold; 404 under `If-Match`, that there is nothing to replace; 409,
    /// that it must ask again.
    async fn write(
        &self,
        action: &'static str,
        document: &Document,
        condition: Condition<'_>,
    ) -> Result<Written> {
        let mut pauses = CONFLICT_PAUSES.into_iter();
        loop {
            let Err(error) = self.put(document, condition).send().await else {
                return Ok(Written::Done);
            };
            match (status(&error), code(&error)) {
                (Some(412), _) | (Some(404), Some("NoSuchKey")) => return Ok(Written::Lost),
                (Some(409), _) => match pauses.next() {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => return Err(failed(action, self.place(document.key()), error)),
                },
                _ => return Err(failed(action, self.place(document.key()), error)),
            }
        }
    }
}

/// The condition of a write.
#[derive(Debug, Clone, Copy)]
enum Condition<'a> {
    /// `If-None-Match: *`: the key doesn't exist.
    Absent,
    /// `If-Match`: the object still has this tag.
    Unchanged(&'a Tag),
}

#[async_trait]
impl Store for S3Store {
    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html>
    async fn get_within(&self, key: &Key, most: usize) -> Result<Option<Stored>> {
        let request = self.client.get_object().bucket(self.bucket(key.bucket())).key(key.path());
        let answer = match request.send().await {
            Ok(answer) => answer,
            // The code decides: a missing bucket is a 404 too, and must not look like an empty one.
            Err(error) if code(&error) == Some("NoSuchKey") => return Ok(None),
            Err(error) if self.forbidden_is_missing && status(&error) == Some(403) => {
                return Ok(None);
            }
            Err(error) => return Err(failed("read", self.place(key), error)),
        };
        let incomplete = |what: &str| {
            StoreError::new(
                ErrorKind::Corrupt,
                "read",
                self.place(key),
                format!("the answer has no {what}"),
            )
        };
        let tag = Tag(answer.e_tag.ok_or_else(|| incomplete("ETag"))?);
        let modified = answer
            .last_modified
            .as_ref()
            .and_then(to_time)
            .ok_or_else(|| incomplete("Last-Modified"))?;
        let most = most.min(key.most_bytes());
        let bytes = self.body(key, most, answer.content_length, answer.body).await?;
        Ok(Some(Stored { bytes, tag, modified }))
    }

    fn pinned_root(&self) -> Option<PinnedRoot> {
        None
    }

    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html>
    async fn exists(&self, key: &Key) -> Result<bool> {
        let request = self.client.head_object().bucket(self.bucket(key.bucket())).key(key.path());
        match request.send().await {
            Ok(_) => Ok(true),
            Err(error) if status(&error) == Some(404) => Ok(false),
            Err(error) if self.forbidden_is_missing && status(&error) == Some(403) => Ok(false),
            Err(error) => Err(failed("look for", self.place(key), error)),
        }
    }

    async fn create(&self, document: &Document) -> Result<Written> {
        expect_readable("create", document)?;
        self.write("create", document, Condition::Absent).await
    }

    async fn replace(&self, document: &Pointer, expected: &Tag) -> Result<Written> {
        expect_readable("replace", document)?;
        // An empty `If-Match` would be no condition at all.
        if expected.0.is_empty() {
            return Ok(Written::Lost);
        }
        self.write("replace", document, Condition::Unchanged(expected)).await
    }

    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html>: keys come in the
    /// order of their UTF-8 bytes.
    async fn list(&self, folder: Folder, after: Option<&Key>, limit: usize) -> Result<Vec<Key>> {
        let bucket = self.bucket(folder.bucket());
        let mut keys = Vec::new();
        let mut after = after.map(Key::path);
        while keys.len() < limit {
            let page = PAGE.min(limit - keys.len());
            let request = self.client.list_objects_v2().bucket(bucket).prefix(folder.prefix());
            let request = request
                .set_start_after(after.clone())
                .max_keys(i32::try_from(page).unwrap_or(i32::MAX));
            let answer = request.send().await;
            let answer = answer.map_err(|error| {
                failed("list", format!("s3://{bucket}/{}", folder.prefix()), error)
            })?;
            let paths = || answer.contents().iter().filter_map(|object| object.key());
            keys.extend(paths().filter_map(Key::parse));
            let Some(last) = paths().next_back() else { break };
            after = Some(last.to_owned());
            if answer.is_truncated() != Some(true) {
                break;
            }
        }
        Ok(keys)
    }
}

pub(crate) fn to_time(time: &DateTime) -> Option<Time> {
    Time::new(time.secs(), i32::try_from(time.subsec_nanos()).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canned::Canned;

    fn store(canned: &Canned) -> S3Store {
        S3Store::new(canned.s3(), "repository".into(), "ledger".into())
    }

    fn record() -> Pointer {
        Pointer::record(Key::Announced, &7).unwrap()
    }

    /// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html#conditional-error-response>
    #[tokio::test]
    async fn a_conflict_is_neither_won_nor_lost() {
        let canned = Canned::default().s3_error(409, "ConditionalRequestConflict").answer(
            200,
            &[("etag", "\"1\"")],
            "",
        );
        assert_eq!(store(&canned).create(&record()).await.unwrap(), Written::Done);
        for request in canned.requests() {
            assert_eq!(
                (request.method.as_str(), request.header("if-none-match")),
                ("PUT", Some("*"))
            );
            assert_eq!(request.header("content-type"), Some("application/json"));
            assert_eq!(
                request.header("x-amz-checksum-sha256").unwrap(),
                checksum::to_header(&Sha256::of(b"7"))
            );
            assert_eq!(request.body, "7");
        }
        let lasting = (0..6).fold(Canned::default(), |canned, _| {
            canned.s3_error(409, "ConditionalRequestConflict")
        });
        let failure = store(&lasting).create(&record()).await.unwrap_err();
        assert_eq!(
            failure.to_string(),
            "create s3://ledger/announced.json: ConditionalRequestConflict (HTTP 409): why"
        );
        lasting.requests();
    }

    #[tokio::test]
    async fn a_retry_that_meets_its_own_success_has_lost() {
        let canned =
            Canned::default().s3_error(500, "InternalError").s3_error(412, "PreconditionFailed");
        let tag = Tag("\"0\"".into());
        assert_eq!(store(&canned).replace(&record(), &tag).await.unwrap(), Written::Lost);
        assert!(
            canned.requests().iter().all(|request| request.header("if-match") == Some("\"0\""))
        );
    }

    #[tokio::test]
    async fn replacing_a_missing_object_is_lost_and_other_failures_are_errors() {
        let tag = Tag("\"0\"".into());
        let canned = Canned::default().s3_error(404, "NoSuchKey");
        assert_eq!(store(&canned).replace(&record(), &tag).await.unwrap(), Written::Lost);
        for (status, code) in [(404, "NoSuchBucket"), (403, "AccessDenied"), (400, "BadDigest")] {
            let canned = Canned::default().s3_error(status, code);
            assert!(store(&canned).replace(&record(), &tag).await.is_err(), "{code}");
        }
        assert_eq!(
            store(&Canned::default()).replace(&record(), &Tag(String::new())).await.unwrap(),
            Written::Lost
        );
    }

    #[tokio::test]
    async fn an_object_that_is_too_long_is_not_read() {
        let fields = [("etag", "\"1\""), ("last-modified", "Wed, 25 Nov 2026 00:00:00 GMT")];
        // With the length that S3 announces, and without.
        let long = [fields[0], fields[1], ("content-length", "16385")];
        for (length, fields, read) in
            [(16_384, &fields[..], 16_384), (16_385, &fields, 0), (16_385, &long, 0)]
        {
            let canned = Canned::default().answer(200, fields, " ".repeat(length));
            let stored = store(&canned).get(&Key::Timestamp).await.unwrap().unwrap();
            assert_eq!(stored.bytes.len(), read);
        }
    }

    #[tokio::test]
    async fn forbidden_is_missing_only_for_those_who_ask_for_it() {
        let canned = || Canned::default().s3_error(403, "AccessDenied").answer(403, &[], "");
        let stage = store(&canned());
        assert!(stage.get(&Key::Announced).await.is_err());
        assert!(stage.exists(&Key::Announced).await.is_err());
        let reader = store(&canned()).forbidden_is_missing();
        assert_eq!(reader.get(&Key::Announced).await.unwrap(), None);
        assert!(!reader.exists(&Key::Announced).await.unwrap());
    }
}
