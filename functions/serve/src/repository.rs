//! The repository as devices may read it, and the answers that they get.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, Stream};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use tufline_store::{Blobs, Chunks, ErrorKind, Key, Links, Store, StoreError};
use tufline_tuf::Sha256;
#[cfg(doc)]
use tufline_tuf::root::LONGEST_HIDDEN_SECONDS;

use crate::gzip;
use crate::pack::memory::Packs;
use crate::path::Resource;
use crate::range::RequestedRange;

/// The largest piece of a blob that is held in memory for one answer, in bytes.
const PIECE: u64 = 1024 * 1024;

/// `Cache-Control` of metadata with a version in its name, and of blobs: they never change.
const FOREVER: &str = "public, max-age=31536000, immutable";

/// `Cache-Control` of the timestamp: clients ask for it each time, and the `ETag` makes that cheap.
const ASK_AGAIN: &str = "no-cache";

/// `Cache-Control` of a root that does not exist yet. A cache may answer for us, but must not hide
/// a new root for longer than [`LONGEST_HIDDEN_SECONDS`].
const FOR_SECONDS: &str = "max-age=5";

/// `Cache-Control` of chunks that do not exist: they may be made soon, or never.
const FOR_A_MINUTE: &str = "max-age=60";

pub(crate) const NEVER: &str = "no-store";

/// The repository, as devices may read it.
#[derive(Clone)]
pub struct ServedRepository {
    /// The store that has the metadata.
    pub store: Arc<dyn Store>,
    /// The bytes of the targets.
    pub blobs: Arc<dyn Blobs>,
    /// The chunks of targets, for targets that have chunks.
    pub chunks: Arc<dyn Chunks>,
    /// How to answer with something too large for one answer; `None` if answers may have any
    /// length.
    pub redirects: Option<Redirects>,
    /// What the server keeps for making packs; `None` if it makes none.
    pub packs: Option<Arc<Packs>>,
    /// How long to wait before each further try of a failed read. Some clients give up at a single
    /// 503 on a metadata file.
    pub pauses: Vec<Duration>,
}

/// Sends devices to the bucket for large objects. A Lambda function answers at most 6 MB
/// (<https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>).
#[derive(Clone)]
pub struct Redirects {
    /// Makes the links to the bucket.
    pub links: Arc<dyn Links>,
    /// The limit above which devices are redirected, in bytes. For a target it is the length of the
    /// requested part. For chunks it is their whole length, since a device asks for many parts of
    /// them by one link.
    pub inline_targets: u64,
    /// Metadata longer than this is redirected, in bytes.
    pub inline_metadata: u64,
}

/// An answer to a device.
pub struct Answer {
    /// The HTTP status to send.
    pub status: StatusCode,
    /// All header fields that the body needs, including `Content-Length`.
    pub headers: HeaderMap,
    /// The body, which a caller sends or streams.
    pub body: Body,
}

/// The body of an [`Answer`].
pub enum Body {
    /// Bytes that are in memory already.
    Whole(Bytes),
    /// A part of a blob, or of its chunks, read piece by piece.
    Blob(BlobPart),
}

/// Bytes that are still to be sent.
#[derive(Clone)]
pub struct BlobPart {
    repository: ServedRepository,
    served: Served,
    offset: u64,
    end: u64,
}

/// An object that never changes once it exists, and may be long.
#[derive(Clone, Copy)]
enum Served {
    Blob(Sha256),
    Chunks(Sha256),
}

impl Served {
    fn key(self) -> Key {
        match self {
            Self::Blob(sha256) => Key::Blob(sha256),
            Self::Chunks(sha256) => Key::Chunks(sha256),
        }
    }

    /// The tag of the object. Chunks of one blob may be compressed differently and so have another
    /// length; the tag tells these representations apart.
    fn tag(self, length: u64) -> String {
        match self {
            Self::Blob(sha256) => format!("\"{sha256}\""),
            Self::Chunks(sha256) => format!("\"{sha256}-{length}\""),
        }
    }
}

impl ServedRepository {
    /// Answers a request for the decoded `path`; see [`crate::decode`].
    pub async fn answer(&self, method: &Method, path: &str, fields: &HeaderMap) -> Answer {
        if method != Method::GET && method != Method::HEAD {
            let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, NEVER, "only GET and HEAD\n");
            answer.set(header::ALLOW, "GET, HEAD");
            return answer;
        }
        let answer = match Resource::of(path) {
            Some(Resource::Metadata(key)) => self.metadata(&key, fields).await,
            Some(Resource::Target(digests)) => self.target(method, &digests, fields).await,
            Some(Resource::Chunks(digests)) => self.chunks(method, &digests, fields).await,
            None => Ok(not_found(NEVER)),
        };
        let mut answer = answer.unwrap_or_else(|error| unanswered(path, &error));
        if method == Method::HEAD {
            answer.body = Body::Whole(Bytes::new());
        }
        answer
    }

    async fn metadata(&self, key: &Key, fields: &HeaderMap) -> Result<Answer, StoreError> {
        let root = key.root_version();
        // Only a device that is older than the first root asks for a root before it, and gets the
        // file as its makers left it.
        let is_before = root.is_some_and(|version| version < self.store.first_root());
        let read = || if is_before { self.store.unverified(key) } else { self.store.get(key) };
        let Some(stored) = self.persist(read).await? else {
            return Ok(not_found(if root.is_some() { FOR_SECONDS } else { NEVER }));
        };
        if stored.bytes.is_empty() {
            let why = "it is empty, or longer than devices accept";
            return Err(StoreError::new(ErrorKind::Corrupt, "serve", key, why));
        }
        let age = if *key == Key::Timestamp { ASK_AGAIN } else { FOREVER };
        let packs = gzip::is_worthwhile(stored.bytes.len()) && gzip::is_accepted(fields);
        // Compressed bytes are another representation, so they have a tag of their own (RFC 9110,
        // section 8.8.3.3).
        let tag = format!("\"{}{}\"", Sha256::of(&stored.bytes), if packs { "-gzip" } else { "" });
        let mut answer = if is_known(fields, &tag) {
            not_modified(age, &tag)
        } else {
            let packing = |error: std::io::Error| {
                StoreError::from_source(ErrorKind::Retry, "pack", key, error)
            };
            let bytes =
                if packs { gzip::pack(&stored.bytes).map_err(packing)? } else { stored.bytes };
            if let Some(redirects) = self
                .redirects
                .as_ref()
                .filter(|redirects| bytes.len() as u64 > redirects.inline_metadata)
            {
                return self.redirect(redirects, key).await;
            }
            let mut answer =
                Answer::new(StatusCode::OK, age, "application/json", Body::Whole(bytes));
            answer.set(header::ETAG, &tag);
            if packs {
                answer.set(header::CONTENT_ENCODING, "gzip");
            }
            answer
        };
        answer.set(header::VARY, "Accept-Encoding");
        Ok(answer)
    }

    async fn target(
        &self,
        method: &Method,
        digests: &[Sha256],
        fields: &HeaderMap,
    ) -> Result<Answer, StoreError> {
        for sha256 in digests {
            if let Some(blob) = self.persist(|| self.blobs.head(sha256)).await? {
                let answer = self.part(method, Served::Blob(*sha256), blob.length, fields);
                return match &self.redirects {
                    // A link is valid for GET only, so HEAD is answered here.
                    Some(redirects)
                        if method == Method::GET
                            && answer.body.length() > redirects.inline_targets =>
                    {
                        self.redirect(redirects, &Key::Blob(*sha256)).await
                    }
                    _ => Ok(answer),
                };
            }
        }
        Ok(not_found(NEVER))
    }

    async fn chunks(
        &self,
        method: &Method,
        digests: &[Sha256],
        fields: &HeaderMap,
    ) -> Result<Answer, StoreError> {
        for sha256 in digests {
            if let Some(length) = self.persist(|| self.chunks.length(sha256)).await? {
                return match &self.redirects {
                    Some(redirects)
                        if method == Method::GET && length > redirects.inline_targets =>
                    {
                        self.redirect(redirects, &Key::Chunks(*sha256)).await
                    }
                    _ => Ok(self.part(method, Served::Chunks(*sha256), length, fields)),
                };
            }
        }
        Ok(not_found(FOR_A_MINUTE))
    }

    fn part(&self, method: &Method, served: Served, length: u64, fields: &HeaderMap) -> Answer {
        let tag = served.tag(length);
        if is_known(fields, &tag) {
            return not_modified(FOREVER, &tag);
        }
        let field = |name: HeaderName| fields.get(name).and_then(|value| value.to_str().ok());
        // Ranges count for GET only and, with If-Range, only if the device has a part of these very
        // bytes (RFC 9110, sections 14.2 and 13.1.5).
        let counts =
            method == Method::GET && field(header::IF_RANGE).is_none_or(|expected| expected == tag);
        let (status, part) =
            match RequestedRange::of(field(header::RANGE).filter(|_| counts), length) {
                RequestedRange::Whole => (StatusCode::OK, 0..length),
                RequestedRange::Part(part) => (StatusCode::PARTIAL_CONTENT, part),
                RequestedRange::Unsatisfiable => {
                    let mut answer =
                        plain(StatusCode::RANGE_NOT_SATISFIABLE, NEVER, "no such range\n");
                    answer.set(header::CONTENT_RANGE, &format!("bytes */{length}"));
                    return answer;
                }
            };
        let body = Body::Blob(BlobPart {
            repository: self.clone(),
            served,
            offset: part.start,
            end: part.end,
        });
        let mut answer = Answer::new(status, FOREVER, "application/octet-stream", body);
        answer.set(header::ETAG, &tag);
        answer.set(header::ACCEPT_RANGES, "bytes");
        if status == StatusCode::PARTIAL_CONTENT {
            answer.set(
                header::CONTENT_RANGE,
                &format!("bytes {}-{}/{length}", part.start, part.end - 1),
            );
        }
        answer
    }

    /// Sends the device to the object itself. Status 307 keeps the method, and clients keep `Range`
    /// on the way.
    async fn redirect(&self, redirects: &Redirects, key: &Key) -> Result<Answer, StoreError> {
        let link = self.persist(|| redirects.links.link(key)).await?;
        let mut answer = plain(StatusCode::TEMPORARY_REDIRECT, NEVER, "");
        answer.set(header::LOCATION, &link);
        Ok(answer)
    }

    async fn read(
        &self,
        served: Served,
        offset: u64,
        length: u64,
    ) -> Result<Option<Bytes>, StoreError> {
        match served {
            Served::Blob(sha256) => self.blobs.read(&sha256, offset, length).await,
            Served::Chunks(sha256) => self.chunks.read(&sha256, offset, length).await,
        }
    }

    /// Repeats a read until it succeeds or has failed after the last pause. A failure that waiting
    /// cannot mend is returned at once.
    pub(crate) async fn persist<T, R: Future<Output = Result<T, StoreError>>>(
        &self,
        read: impl Fn() -> R,
    ) -> Result<T, StoreError> {
        for pause in &self.pauses {
            match read().await {
                Ok(found) => return Ok(found),
                Err(error) if !error.kind.may_pass() => return Err(error),
                Err(error) => tracing::info!(%error, "read failed, trying again"),
            }
            tokio::time::sleep(*pause).await;
        }
        read().await
    }
}

impl BlobPart {
    /// The bytes, in pieces of at most 1 MiB. Each piece is read when the caller asks for it. An
    /// error ends the stream. The caller must then cut the connection, so that no device takes a
    /// part for the whole.
    pub fn pieces(self) -> impl Stream<Item = Result<Bytes, StoreError>> + Send + use<> {
        stream::try_unfold(self, |mut part| async move {
            if part.offset >= part.end {
                return Ok(None);
            }
            let length = PIECE.min(part.end - part.offset);
            let piece = part
                .repository
                .persist(|| part.repository.read(part.served, part.offset, length))
                .await?;
            let piece = piece.filter(|piece| !piece.is_empty());
            let why = "it ends before its length";
            let ends = || StoreError::new(ErrorKind::Corrupt, "read", part.served.key(), why);
            let piece = piece.ok_or_else(ends)?;
            part.offset += piece.len() as u64;
            Ok(Some((piece, part)))
        })
    }
}

impl Body {
    /// The length in bytes.
    fn length(&self) -> u64 {
        match self {
            Self::Whole(bytes) => bytes.len() as u64,
            Self::Blob(part) => part.end - part.offset,
        }
    }
}

impl Answer {
    pub(crate) fn new(
        status: StatusCode,
        age: &'static str,
        kind: &'static str,
        body: Body,
    ) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_LENGTH, body.length().into());
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(age));
        Self { status, headers, body }
    }

    /// Sets a field to `value`, which must be printable ASCII.
    pub(crate) fn set(&mut self, name: HeaderName, value: &str) {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
    }
}

/// Logs a failed read, and makes the answer for it.
pub(crate) fn unanswered(path: &str, error: &StoreError) -> Answer {
    match error.kind {
        ErrorKind::Denied => tracing::error!(path, kind = %error.kind, %error, "not answered"),
        kind => tracing::warn!(path, %kind, %error, "not answered"),
    }
    plain(StatusCode::SERVICE_UNAVAILABLE, NEVER, "try again later\n")
}

/// The answer to a request whose path cannot be decoded.
#[must_use]
pub fn bad_path() -> Answer {
    plain(StatusCode::BAD_REQUEST, NEVER, "the path is not percent-encoded UTF-8\n")
}

pub(crate) fn not_found(age: &'static str) -> Answer {
    plain(StatusCode::NOT_FOUND, age, "not found\n")
}

pub(crate) fn plain(status: StatusCode, age: &'static str, text: &'static str) -> Answer {
    Answer::new(
        status,
        age,
        "text/plain; charset=utf-8",
        Body::Whole(Bytes::from_static(text.as_bytes())),
    )
}

fn not_modified(age: &'static str, tag: &str) -> Answer {
    let mut answer = Answer::new(StatusCode::NOT_MODIFIED, age, "", Body::Whole(Bytes::new()));
    answer.headers.remove(header::CONTENT_LENGTH);
    answer.headers.remove(header::CONTENT_TYPE);
    answer.set(header::ETAG, tag);
    answer
}

/// Whether `If-None-Match` names `tag`. The comparison is weak (RFC 9110, section 13.1.2).
fn is_known(fields: &HeaderMap, tag: &str) -> bool {
    let values =
        fields.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut tags = values.flat_map(|value| value.split(',')).map(str::trim);
    tags.any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
