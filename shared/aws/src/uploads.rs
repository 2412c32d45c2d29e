//! The uploads: the versions of the objects below a prefix.

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::operation::head_object::{HeadObjectError, HeadObjectOutput};
use aws_sdk_s3::operation::list_object_versions::ListObjectVersionsOutput;
use aws_sdk_s3::types::{ChecksumMode, EncodingType};
use bytes::BytesMut;
use tufline_store::{
    BoxedError, ErrorKind, Head, PastVersion, Result, StoreError, Upload, Uploads, VersionId,
};
use tufline_tuf::Time;

use crate::checksum::whole_sha256;
use crate::failure::{code, failed, status};
use crate::history::{ListingOrder, mix};
use crate::object_key::{LONGEST_KEY, from_listing};
use crate::store::to_time;
use crate::{range, rfc2047};

/// The name of the user metadata that holds custom metadata: `x-amz-meta-tuf-custom`.
const CUSTOM: &str = "tuf-custom";

/// [`Uploads`] on S3.
#[derive(Debug, Clone)]
pub struct S3Uploads {
    client: Client,
    bucket: String,
    prefix: String,
    listing_tells: bool,
}

/// The place at which a listing continues.
#[derive(Debug, Default)]
struct Marker {
    key: Option<String>,
    version: Option<String>,
}

/// One entry of a listing of versions.
struct ListedVersion {
    key: String,
    version: Option<VersionId>,
    is_latest: bool,
    modified: Option<Time>,
    kind: Kind,
}

/// The kind of an entry.
enum Kind {
    Object { in_parts: bool },
    Marker,
}

/// A page of a listing of versions, in S3's order: by key, and the newest of a key first.
struct VersionsPage {
    entries: Vec<ListedVersion>,
    next: Option<Marker>,
}

impl S3Uploads {
    /// The objects in `bucket` whose keys begin with `prefix`, which may be empty.
    #[must_use]
    pub fn new(client: Client, bucket: String, prefix: String) -> Self {
        Self { client, bucket, prefix, listing_tells: false }
    }

    /// For an uploader that may list only below its prefix. S3 answers it 403 for the bucket, and
    /// for each missing object
    /// (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html>, "Permissions"); but
    /// a listing of the name's versions tells whether the object is missing. No stage needs this.
    #[must_use]
    pub fn listing_tells(self) -> Self {
        Self { listing_tells: true, ..self }
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html>: S3 returns checksums
    /// only on request.
    async fn head_object(
        &self,
        name: &str,
        version: Option<&VersionId>,
    ) -> std::result::Result<HeadObjectOutput, SdkError<HeadObjectError, HttpResponse>> {
        self.client
            .head_object()
            .bucket(&self.bucket)
            .key(self.key(name))
            .set_version_id(version.map(|version| version.0.clone()))
            .checksum_mode(ChecksumMode::Enabled)
            .send()
            .await
    }

    /// Fails if the bucket itself is missing: a HEAD of an object then answers a mere 404 too. A
    /// wrong name in the configuration must not look as if every upload had been removed.
    async fn bucket_exists(&self) -> Result<()> {
        let answer = self.client.head_bucket().bucket(&self.bucket).send().await;
        answer.map(drop).map_err(|error| failed("look at", format!("s3://{}", self.bucket), error))
    }

    /// Decides about `name` after `error`: it is gone if its versions may be listed and none is
    /// current; otherwise the error stands.
    async fn gone_by_its_listing(&self, name: &str, error: StoreError) -> Result<Head> {
        if !self.listing_tells {
            return Err(error);
        }
        match self.versions(name).await.as_deref() {
            Ok([]) => Ok(Head::Gone { marker: None }),
            Ok([PastVersion::Marker { version, .. }, ..]) => {
                Ok(Head::Gone { marker: Some(version.clone()) })
            }
            Ok(
                [PastVersion::Object { .. } | PastVersion::Forgotten | PastVersion::Unknown, ..],
            )
            | Err(_) => Err(error),
        }
    }

    /// Whether S3 considers `version` malformed. A HEAD answers only 400 then, as to an expired
    /// token; a GET tells them apart.
    async fn is_malformed(&self, name: &str, version: &VersionId) -> Result<bool> {
        let request = self
            .client
            .get_object()
            .bucket(&self.bucket)
            .key(self.key(name))
            .version_id(&version.0);
        match request.range("bytes=0-0").send().await {
            Err(error) if code(&error) == Some("InvalidArgument") => Ok(true),
            Err(error) => Err(failed("look at", self.place(name), error)),
            Ok(_) => Ok(false),
        }
    }

    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectVersions.html>
    async fn list_versions(&self, prefix: &str, from: Marker) -> Result<VersionsPage> {
        let order = ListingOrder::default();
        let request = self.client.list_object_versions().bucket(&self.bucket).prefix(prefix);
        let request = request.set_key_marker(from.key).set_version_id_marker(from.version);
        let answer = request
            .encoding_type(EncodingType::Url)
            .customize()
            .interceptor(order.clone())
            .send()
            .await;
        let place = || format!("s3://{}/{prefix}*", self.bucket);
        let answer = answer.map_err(|error| failed("list the versions of", place(), error))?;
        page(&answer, &order).map_err(|error| {
            StoreError::from_source(ErrorKind::Corrupt, "list the versions of", place(), error)
        })
    }

    fn to_upload(&self, name: &str, head: &HeadObjectOutput) -> Result<Upload> {
        let length = head.content_length().and_then(|length| u64::try_from(length).ok());
        let why = "the answer has no Content-Length";
        let no_length = || StoreError::new(ErrorKind::Corrupt, "look at", self.place(name), why);
        Ok(Upload {
            name: name.to_owned(),
            version: to_version(head.version_id()),
            length: length.ok_or_else(no_length)?,
            custom: head
                .metadata()
                .and_then(|metadata| metadata.get(CUSTOM))
                .map(|custom| rfc2047::decode(custom)),
            sha256: whole_sha256(head.checksum_sha256(), head.checksum_type()),
            uploaded: head.last_modified().and_then(to_time),
            unusable: None,
        })
    }
}

/// A version id. `null` counts as none: S3 gives it to objects stored while the bucket kept no
/// versions, and their bytes may be replaced
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/versioning-workflows.html>), so it pins
/// nothing.
fn to_version(version: Option<&str>) -> Option<VersionId> {
    version.filter(|version| *version != "null").map(|version| VersionId(version.to_owned()))
}

/// Whether an object may have been uploaded in parts: its `ETag` is then not the 32 hexadecimal
/// digits of an MD5
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html>); in
/// practice it ends in `-N`.
fn in_parts(tag: Option<&str>) -> bool {
    let tag = tag.unwrap_or_default().trim_matches('"');
    !(tag.len() == 32 && tag.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn page(
    answer: &ListObjectVersionsOutput,
    order: &ListingOrder,
) -> std::result::Result<VersionsPage, BoxedError> {
    // An emulator that doesn't know the encoding doesn't confirm it.
    let encoded = answer.encoding_type() == Some(&EncodingType::Url);
    let decode = |key: Option<&str>| {
        let key = key.ok_or("an entry has no key")?;
        if encoded {
            Ok::<_, BoxedError>(
                from_listing(key).ok_or_else(|| format!("the key '{key}' is not UTF-8"))?,
            )
        } else {
            Ok(key.to_owned())
        }
    };
    let versions = answer.versions().iter().map(|version| {
        Ok::<_, BoxedError>(ListedVersion {
            key: decode(version.key())?,
            version: to_version(version.version_id()),
            is_latest: version.is_latest() == Some(true),
            modified: version.last_modified().and_then(to_time),
            kind: Kind::Object { in_parts: in_parts(version.e_tag()) },
        })
    });
    let markers = answer.delete_markers().iter().map(|marker| {
        Ok(ListedVersion {
            key: decode(marker.key())?,
            version: to_version(marker.version_id()),
            is_latest: marker.is_latest() == Some(true),
            modified: marker.last_modified().and_then(to_time),
            kind: Kind::Marker,
        })
    });
    let mixed = mix(&order.entries(), versions, markers)
        .ok_or("cannot tell the order of versions and delete markers")?;
    let next = if answer.is_truncated() == Some(true) {
        let version = answer.next_version_id_marker().map(ToOwned::to_owned);
        Some(Marker { key: Some(decode(answer.next_key_marker())?), version })
    } else {
        None
    };
    Ok(VersionsPage { entries: mixed.into_iter().collect::<std::result::Result<_, _>>()?, next })
}

#[async_trait]
impl Uploads for S3Uploads {
    /// If a delete marker is current, S3 answers 404 with `x-amz-delete-marker: true` and the
    /// marker's version id in `x-amz-version-id`
    /// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/DeleteMarker.html>).
    async fn head(&self, name: &str) -> Result<Head> {
        // S3 cannot hold such a key, and answers only 400 to a HEAD of it.
        if self.key(name).len() > LONGEST_KEY || self.key(name).is_empty() {
            return Ok(Head::Gone { marker: None });
        }
        let error = match self.head_object(name, None).await {
            Ok(head) => return Ok(Head::Object(self.to_upload(name, &head)?)),
            Err(error) if status(&error) == Some(404) => error,
            Err(error) if status(&error) == Some(403) => {
                return self
                    .gone_by_its_listing(name, failed("look at", self.place(name), error))
                    .await;
            }
            Err(error) => return Err(failed("look at", self.place(name), error)),
        };
        let header = |name| error.raw_response().and_then(|response| response.headers().get(name));
        if header("x-amz-delete-marker") == Some("true") {
            return Ok(Head::Gone { marker: to_version(header("x-amz-version-id")) });
        }
        match self.bucket_exists().await {
            Ok(()) => Ok(Head::Gone { marker: None }),
            Err(error) => self.gone_by_its_listing(name, error).await,
        }
    }

    /// 404 means no such version; 405, a delete marker; 400, not a version id at all (a forged
    /// message may contain anything).
    async fn head_version(&self, name: &str, version: &VersionId) -> Result<Option<Upload>> {
        if self.key(name).len() > LONGEST_KEY || self.key(name).is_empty() {
            return Ok(None);
        }
        match self.head_object(name, Some(version)).await {
            Ok(head) => Ok(Some(self.to_upload(name, &head)?)),
            Err(error) => match status(&error) {
                Some(404) => self.bucket_exists().await.map(|()| None),
                Some(405) => Ok(None),
                Some(400) if self.is_malformed(name, version).await? => Ok(None),
                _ => Err(failed("look at", self.place(name), error)),
            },
        }
    }

    async fn versions(&self, name: &str) -> Result<Vec<PastVersion>> {
        let key = self.key(name);
        // The prefix also matches longer keys, but these come after the key itself.
        let page = self.list_versions(&key, Marker::default()).await?;
        let more = page.next.is_some() && page.entries.iter().all(|entry| entry.key == key);
        let entries = page.entries.into_iter().filter(|entry| entry.key == key);
        let history = entries.map(|entry| {
            let Some(version) = entry.version else { return Ok(PastVersion::Unknown) };
            let why = "an entry has no LastModified";
            let undated = || {
                StoreError::new(ErrorKind::Corrupt, "list the versions of", self.place(name), why)
            };
            let modified = entry.modified.ok_or_else(undated)?;
            Ok(match entry.kind {
                Kind::Object { in_parts } => PastVersion::Object { version, modified, in_parts },
                Kind::Marker => PastVersion::Marker { version, modified },
            })
        });
        history.chain(more.then_some(Ok(PastVersion::Unknown))).collect()
    }

    /// A key marker without a version marker skips all versions of that key.
    async fn list(&self, after: Option<&str>) -> Result<Vec<String>> {
        let mut from = Marker { key: after.map(|name| self.key(name)), version: None };
        loop {
            let page = self.list_versions(&self.prefix, from).await?;
            let current = page.entries.into_iter().filter(|entry| entry.is_latest);
            let found: Vec<String> = current
                .filter_map(|entry| Some(entry.key.strip_prefix(&self.prefix)?.to_owned()))
                .collect();
            // A page may hold nothing but the older versions of one name.
            match page.next {
                Some(next) if found.is_empty() => from = next,
                _ => return Ok(found),
            }
        }
    }

    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html>: 416 if nothing is left
    /// from `offset` on.
    async fn read_into(
        &self,
        buffer: BytesMut,
        upload: &Upload,
        offset: u64,
        length: u64,
    ) -> Result<BytesMut> {
        let Some(range) = range::header(offset, length) else { return Ok(BytesMut::new()) };
        let request =
            self.client.get_object().bucket(&self.bucket).key(self.key(&upload.name)).range(range);
        let request =
            request.set_version_id(upload.version.as_ref().map(|version| version.0.clone()));
        match request.send().await {
            Ok(answer) => range::cut(answer, offset, length, buffer)
                .await
                .map_err(|error| error.of("read", self.place(&upload.name))),
            Err(error) if status(&error) == Some(416) => Ok(BytesMut::new()),
            Err(error) => Err(failed("read", self.place(&upload.name), error)),
        }
    }

    fn place(&self, name: &str) -> String {
        format!("s3://{}/{}", self.bucket, self.key(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canned::Canned;

    fn uploads(canned: &Canned) -> S3Uploads {
        S3Uploads::new(canned.s3(), "uploads".into(), "targets/".into())
    }

    /// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/DeleteMarker.html>
    #[tokio::test]
    async fn a_delete_marker_is_known_by_its_headers() {
        let headers = [("x-amz-delete-marker", "true"), ("x-amz-version-id", "m1")];
        let canned = Canned::default().answer(404, &headers, "");
        let marker = Some(VersionId("m1".into()));
        assert_eq!(uploads(&canned).head("a").await.unwrap(), Head::Gone { marker });
        let canned = Canned::default().answer(405, &headers, "");
        assert_eq!(
            uploads(&canned).head_version("a", &VersionId("m1".into())).await.unwrap(),
            None
        );
    }

    #[tokio::test]
    async fn nothing_is_gone_if_the_bucket_is_missing_or_closed() {
        let canned = Canned::default().answer(404, &[], "").answer(200, &[], "");
        assert_eq!(uploads(&canned).head("a").await.unwrap(), Head::Gone { marker: None });
        for status in [404, 403] {
            let canned = Canned::default().answer(404, &[], "").answer(status, &[], "");
            assert!(uploads(&canned).head("a").await.is_err());
            canned.requests();
            let canned = Canned::default()
                .answer(404, &[], "")
                .answer(status, &[], "")
                .s3_error(status, "any");
            assert!(uploads(&canned).listing_tells().head("a").await.is_err());
            canned.requests();
        }
        let canned = Canned::default().answer(403, &[], "");
        assert!(uploads(&canned).head("a").await.is_err());
        let canned = Canned::default().answer(403, &[], "").s3_error(403, "AccessDenied");
        let failure = uploads(&canned).listing_tells().head("a").await.unwrap_err().to_string();
        assert_eq!(canned.requests().len(), 2);
        assert!(
            failure.contains("look at s3://uploads/targets/a") && failure.contains("403"),
            "{failure}"
        );
    }

    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html>, "Permissions"
    #[tokio::test]
    async fn an_uploader_learns_which_names_below_its_prefix_are_gone() {
        let there = entry("Version", "targets/a", "v1", true);
        let marker = entry("DeleteMarker", "targets/a", "m1", true)
            + &entry("Version", "targets/a", "v1", false);
        let longer = entry("Version", "targets/a0", "v1", true);
        let forgotten = entry("DeleteMarker", "targets/a", "null", true);
        let gone = |marker: Option<&str>| {
            Some(Head::Gone { marker: marker.map(|id| VersionId(id.into())) })
        };
        for (entries, expected) in [
            (String::new(), gone(None)),
            (longer, gone(None)),
            (marker, gone(Some("m1"))),
            // It exists, but may not be read.
            (there, None),
            (forgotten, None),
        ] {
            for answers in [vec![403], vec![404, 403]] {
                let canned = answers
                    .into_iter()
                    .fold(Canned::default(), |canned, status| canned.answer(status, &[], ""));
                let canned = canned.answer(200, &[], listing("", &entries, ""));
                assert_eq!(
                    uploads(&canned).listing_tells().head("a").await.ok(),
                    expected,
                    "{entries}"
                );
                assert!(
                    canned.requests().last().unwrap().uri.contains("prefix=targets%2Fa"),
                    "only below the prefix"
                );
            }
        }
    }

    #[tokio::test]
    async fn a_malformed_version_is_gone_and_an_expired_token_is_not() {
        let version = VersionId("x".into());
        let canned = Canned::default().answer(400, &[], "").s3_error(400, "InvalidArgument");
        assert_eq!(uploads(&canned).head_version("a", &version).await.unwrap(), None);
        assert_eq!(canned.requests()[1].header("range"), Some("bytes=0-0"));
        let canned = Canned::default().answer(400, &[], "").s3_error(400, "ExpiredToken");
        let failure = uploads(&canned).head_version("a", &version).await.unwrap_err().to_string();
        assert!(failure.contains("ExpiredToken"), "{failure}");
    }

    #[tokio::test]
    async fn an_object_from_before_versions_has_none() {
        let headers = [
            ("x-amz-version-id", "null"),
            ("content-length", "5"),
            ("x-amz-meta-tuf-custom", "=?UTF-8?B?w6k=?="),
        ];
        let canned = Canned::default().answer(200, &headers, "");
        let Head::Object(upload) = uploads(&canned).head("a").await.unwrap() else { panic!() };
        let expected = Upload {
            name: "a".into(),
            version: None,
            length: 5,
            custom: Some("é".into()),
            sha256: None,
            uploaded: None,
            unusable: None,
        };
        assert_eq!(upload, expected);
        assert_eq!(canned.requests()[0].header("x-amz-checksum-mode"), Some("ENABLED"));
    }

    fn listing(encoding: &str, entries: &str, next: &str) -> String {
        let truncated = !next.is_empty();
        format!(
            "<ListVersionsResult>{encoding}<IsTruncated>{truncated}</IsTruncated>{next}{entries}</ListVersionsResult>"
        )
    }

    fn entry(kind: &str, key: &str, version: &str, is_latest: bool) -> String {
        entry_with(
            kind,
            key,
            version,
            is_latest,
            "<LastModified>2026-01-01T00:00:00.000Z</LastModified>",
        )
    }

    fn entry_with(kind: &str, key: &str, version: &str, is_latest: bool, more: &str) -> String {
        format!(
            "<{kind}><Key>{key}</Key><VersionId>{version}</VersionId><IsLatest>{is_latest}</IsLatest>{more}</{kind}>"
        )
    }

    /// The order and the encoding in
    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectVersions.html#API_ListObjectVersions_Examples>.
    #[tokio::test]
    async fn names_are_decoded_and_pages_without_any_are_skipped() {
        let url = "<EncodingType>url</EncodingType>";
        let next = "<NextKeyMarker>targets/a+b</NextKeyMarker><NextVersionIdMarker>v1</NextVersionIdMarker>";
        let old = entry("Version", "targets/a+b", "v1", false);
        let new = entry("DeleteMarker", "targets/a%01%2B", "m1", true)
            + &entry("Version", "targets/b", "v2", true);
        let canned = Canned::default().answer(200, &[], listing(url, &old, next)).answer(
            200,
            &[],
            listing(url, &new, ""),
        );
        assert_eq!(uploads(&canned).list(Some("a")).await.unwrap(), ["a\u{1}+", "b"]);
        let requests = canned.requests();
        assert!(requests[0].uri.contains("encoding-type=url"), "{}", requests[0].uri);
        assert!(requests[0].uri.contains("key-marker=targets%2Fa&"), "{}", requests[0].uri);
        assert!(requests[1].uri.contains("key-marker=targets%2Fa%20b&"), "{}", requests[1].uri);
        assert!(requests[1].uri.contains("version-id-marker=v1"), "{}", requests[1].uri);
    }

    #[tokio::test]
    async fn history_keeps_the_order_of_the_answer() {
        let dated = |kind: &str, version: &str, tag: &str, second: u64| {
            let modified = format!("2026-01-01T00:00:0{second}.000Z");
            let more =
                format!("<ETag>&quot;{tag}&quot;</ETag><LastModified>{modified}</LastModified>");
            entry_with(kind, "targets/a", version, false, &more)
        };
        let md5 = "0123456789abcdef0123456789ABCDEF";
        let entries = dated("Version", "v3", "0123456789abcdef0123456789abcdef-2", 1)
            + &dated("DeleteMarker", "m2", "", 3)
            + &dated("Version", "v2", md5, 2)
            + &dated("Version", "null", md5, 1)
            + &dated("DeleteMarker", "m1", "", 0);
        let others = entry("Version", "targets/a0", "v9", true);
        let next = "<NextKeyMarker>targets/a0</NextKeyMarker><NextVersionIdMarker>v9</NextVersionIdMarker>";
        let id = |id: &str| VersionId(id.into());
        let at = |second: i64| Time::from_second(1_767_225_600 + second).unwrap();
        let mut expected = vec![
            PastVersion::Object { version: id("v3"), modified: at(1), in_parts: true },
            PastVersion::Marker { version: id("m2"), modified: at(3) },
            PastVersion::Object { version: id("v2"), modified: at(2), in_parts: false },
            PastVersion::Unknown,
            PastVersion::Marker { version: id("m1"), modified: at(0) },
        ];
        let canned =
            Canned::default().answer(200, &[], listing("", &(entries.clone() + &others), next));
        assert_eq!(uploads(&canned).versions("a").await.unwrap(), expected);
        canned.requests();
        // It doesn't look beyond a whole page of one name.
        let next =
            "<NextKeyMarker>targets/a</NextKeyMarker><NextVersionIdMarker>m1</NextVersionIdMarker>";
        let canned = Canned::default().answer(200, &[], listing("", &entries, next));
        expected.push(PastVersion::Unknown);
        assert_eq!(uploads(&canned).versions("a").await.unwrap(), expected);
        canned.requests();
        // An entry without a date is an error.
        let canned = Canned::default().answer(
            200,
            &[],
            listing("", &entry_with("Version", "targets/a", "v1", true, ""), ""),
        );
        assert!(uploads(&canned).versions("a").await.is_err());
    }
}
