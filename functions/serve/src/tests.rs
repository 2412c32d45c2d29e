use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures::TryStreamExt;
use tufline_store::memory::{Control, Fate, Memory, MemoryKeys, Request};
use tufline_store::{Kept, Source, Upload, VersionId, Written};
use tufline_tuf::root::LONGEST_HIDDEN_SECONDS;

use super::*;

/// Makes the next `left` requests fail, or be denied.
#[derive(Default)]
struct Fails {
    left: AtomicUsize,
    refuses: AtomicBool,
}

struct Plan(Arc<Fails>);

impl Control for Plan {
    fn fate(&self, _request: &Request<'_>) -> Fate {
        let fails = self
            .0
            .left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
            .is_ok();
        match fails {
            true if self.0.refuses.load(Ordering::SeqCst) => Fate::Denied,
            true => Fate::Failed,
            false => Fate::Done,
        }
    }
}

struct World {
    memory: Arc<Memory>,
    repository: ServedRepository,
    fails: Arc<Fails>,
}

fn world() -> World {
    let fails = Arc::<Fails>::default();
    let keys = Arc::new(MemoryKeys::generate().unwrap());
    let now = "2026-11-25T00:00:00Z".parse().unwrap();
    let memory = Arc::new(Memory::new(now, keys, Box::new(Plan(Arc::clone(&fails)))));
    let pauses = vec![Duration::from_millis(1); 2];
    let (store, blobs, chunks) = (memory.clone(), memory.clone(), memory.clone());
    let repository =
        ServedRepository { store, blobs, chunks, redirects: None, packs: None, pauses };
    memory.tamper("metadata/timestamp.json", Some(Bytes::from_static(b"{\"t\":1}")));
    memory.tamper("metadata/1.root.json", Some(Bytes::from_static(b"{}")));
    World { memory, repository, fails }
}

impl World {
    /// Stores a blob, and returns its digest.
    async fn blob(&self, bytes: &[u8]) -> Sha256 {
        let version: VersionId =
            self.memory.put_upload("a", Bytes::copy_from_slice(bytes), None, true);
        let (length, sha256) = (bytes.len() as u64, Sha256::of(bytes));
        let upload = Upload {
            name: "a".into(),
            version: Some(version),
            length,
            custom: None,
            sha256: Some(sha256),
            uploaded: None,
            unusable: None,
        };
        assert_eq!(self.memory.keep(&upload, Source::Upload, &sha256).await.unwrap(), Kept::Whole);
        sha256
    }

    /// Stores the chunks of a blob that need not exist, and returns the blob's digest.
    async fn chunks(&self, bytes: &[u8]) -> Sha256 {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let sha256 = Sha256::of(&[b"the blob of ", bytes].concat());
        assert_eq!(
            Chunks::create(&*self.memory, &sha256, file.path()).await.unwrap(),
            Written::Done
        );
        sha256
    }

    async fn get(&self, path: &str, fields: &[(&'static str, &str)]) -> Answer {
        self.ask(Method::GET, path, fields).await
    }

    async fn ask(&self, method: Method, path: &str, fields: &[(&'static str, &str)]) -> Answer {
        let fields = fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
        self.repository.answer(&method, path, &fields.collect()).await
    }
}

fn field<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer.headers.get(name).map_or("", |value| value.to_str().unwrap())
}

async fn bytes(answer: Answer) -> Result<Vec<Bytes>, StoreError> {
    match answer.body {
        Body::Whole(bytes) => Ok(vec![bytes]),
        Body::Blob(part) => part.pieces().try_collect().await,
    }
}

#[tokio::test]
async fn metadata_is_answered_with_how_long_it_keeps() {
    let world = world();
    for (path, age) in [("/metadata/timestamp.json", ASK_AGAIN), ("/metadata/1.root.json", FOREVER)]
    {
        let answer = world.get(path, &[]).await;
        assert_eq!(
            (answer.status, field(&answer, "cache-control")),
            (StatusCode::OK, age),
            "{path}"
        );
        assert_eq!(field(&answer, "content-type"), "application/json");
        let (length, tag) =
            (field(&answer, "content-length").to_owned(), field(&answer, "etag").to_owned());
        let body = bytes(answer).await.unwrap().concat();
        assert_eq!(
            (length, tag.clone()),
            (body.len().to_string(), format!("\"{}\"", Sha256::of(&body)))
        );

        let known = format!("\"x\", W/{tag}");
        for known in [tag.as_str(), "*", &known] {
            let answer = world.get(path, &[("if-none-match", known)]).await;
            assert_eq!(
                (answer.status, field(&answer, "etag")),
                (StatusCode::NOT_MODIFIED, &*tag),
                "{known}"
            );
            assert_eq!(field(&answer, "cache-control"), age);
        }
        assert_eq!(world.get(path, &[("if-none-match", "\"x\"")]).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn what_is_missing_is_not_found_and_hardly_cached() {
    let world = world();
    let blob = format!("/targets/{}.a", Sha256::of(b"missing"));
    for (path, age) in [
        ("/metadata/2.root.json", FOR_SECONDS),
        ("/metadata/2.snapshot.json", NEVER),
        ("/metadata/", NEVER),
        ("/", NEVER),
        (&*blob, NEVER),
        (&*blob.replace("targets", "chunks"), FOR_A_MINUTE),
    ] {
        let answer = world.get(path, &[]).await;
        assert_eq!(
            (answer.status, field(&answer, "cache-control")),
            (StatusCode::NOT_FOUND, age),
            "{path}"
        );
    }
}

#[tokio::test]
async fn other_methods_are_refused() {
    let world = world();
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
        let answer = world.ask(method, "/metadata/timestamp.json", &[]).await;
        assert_eq!(
            (answer.status, field(&answer, "allow")),
            (StatusCode::METHOD_NOT_ALLOWED, "GET, HEAD")
        );
    }
}

#[tokio::test]
async fn head_says_what_get_would() {
    let world = world();
    let (sha256, chunked) = (world.blob(b"0123456789").await, world.chunks(b"0123456789").await);
    let paths = [
        "/metadata/timestamp.json".to_owned(),
        format!("/targets/{sha256}.a"),
        format!("/chunks/{chunked}.a"),
    ];
    for path in paths {
        let (get, head) = (world.get(&path, &[]).await, world.ask(Method::HEAD, &path, &[]).await);
        assert_eq!((get.status, get.headers), (head.status, head.headers.clone()), "{path}");
        assert_eq!(bytes(head).await.unwrap().concat(), b"");
    }
    let head =
        world.ask(Method::HEAD, &format!("/targets/{sha256}.a"), &[("range", "bytes=0-1")]).await;
    assert_eq!(
        (head.status, field(&head, "content-length")),
        (StatusCode::OK, "10"),
        "ranges are for GET"
    );
}

#[tokio::test]
async fn blobs_come_whole_or_in_part() {
    let world = world();
    let (sha256, chunked) = (world.blob(b"0123456789").await, world.chunks(b"0123456789").await);
    come_whole_or_in_part(&world, &format!("/targets/dir/{sha256}.a"), &format!("\"{sha256}\""))
        .await;
    come_whole_or_in_part(
        &world,
        &format!("/chunks/dir/{chunked}.a"),
        &format!("\"{chunked}-10\""),
    )
    .await;
}

async fn come_whole_or_in_part(world: &World, path: &str, tag: &str) {
    let other = format!("\"{}\"", Sha256::of(b""));
    for (fields, status, range, body) in [
        (vec![], 200, "", &b"0123456789"[..]),
        (vec![("range", "bytes=2-3")], 206, "bytes 2-3/10", b"23"),
        (vec![("range", "bytes=8-")], 206, "bytes 8-9/10", b"89"),
        (vec![("range", "bytes=-1"), ("if-range", tag)], 206, "bytes 9-9/10", b"9"),
        (vec![("range", "bytes=-1"), ("if-range", &*other)], 200, "", b"0123456789"),
        (vec![("range", "bytes=10-")], 416, "bytes */10", b"no such range\n"),
        (vec![("if-none-match", tag), ("range", "bytes=0-1")], 304, "", b""),
    ] {
        let answer = world.get(path, &fields).await;
        assert_eq!(
            (answer.status.as_u16(), field(&answer, "content-range")),
            (status, range),
            "{path} {fields:?}"
        );
        if status < 300 {
            let found = (
                field(&answer, "etag"),
                field(&answer, "accept-ranges"),
                field(&answer, "cache-control"),
            );
            assert_eq!(found, (tag, "bytes", FOREVER));
            assert_eq!(field(&answer, "content-length"), body.len().to_string());
        }
        assert_eq!(bytes(answer).await.unwrap().concat(), body, "{fields:?}");
    }
}

#[tokio::test]
async fn large_blobs_come_in_pieces_and_empty_ones_in_none() {
    let world = world();
    let large: Vec<u8> = (0..=(3 * PIECE)).map(|index| (index % 251) as u8).collect();
    let sha256 = world.blob(&large).await;
    let pieces = bytes(world.get(&format!("/targets/{sha256}.a"), &[]).await).await.unwrap();
    assert_eq!(
        pieces.iter().map(|piece| piece.len() as u64).collect::<Vec<_>>(),
        [PIECE, PIECE, PIECE, 1]
    );
    assert!(pieces.concat() == large);

    let empty = world.blob(b"").await;
    let answer = world.get(&format!("/targets/{empty}.a"), &[]).await;
    assert_eq!((answer.status, field(&answer, "content-length")), (StatusCode::OK, "0"));
    assert!(bytes(answer).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_path_of_two_readings_finds_the_blob_that_is_there() {
    let world = world();
    let sha256 = world.blob(b"bytes").await;
    let other = Sha256::of(b"other");
    for path in
        [format!("/targets/{sha256}.dir/{other}.a"), format!("/targets/{other}.dir/{sha256}.a")]
    {
        assert_eq!(bytes(world.get(&path, &[]).await).await.unwrap().concat(), b"bytes", "{path}");
    }
}

#[tokio::test]
async fn failures_of_the_store_are_hidden_while_they_are_short() {
    let world = world();
    let sha256 = world.blob(b"0123456789").await;
    for path in ["/metadata/timestamp.json".to_owned(), format!("/targets/{sha256}.a")] {
        world.fails.left.store(2, Ordering::SeqCst);
        assert_eq!(world.get(&path, &[]).await.status, StatusCode::OK, "{path}");

        world.fails.left.store(3, Ordering::SeqCst);
        let answer = world.get(&path, &[]).await;
        let found = (answer.status, field(&answer, "cache-control"));
        assert_eq!(found, (StatusCode::SERVICE_UNAVAILABLE, NEVER), "{path}");
        assert_eq!(
            bytes(answer).await.unwrap().concat(),
            b"try again later\n",
            "nothing of the inside shows"
        );
        assert_eq!(world.fails.left.load(Ordering::SeqCst), 0);
    }
    let answer = world.get(&format!("/targets/{sha256}.a"), &[]).await;
    world.fails.left.store(2, Ordering::SeqCst);
    assert_eq!(bytes(answer).await.unwrap().concat(), b"0123456789");
    let answer = world.get(&format!("/targets/{sha256}.a"), &[]).await;
    world.fails.left.store(3, Ordering::SeqCst);
    assert!(bytes(answer).await.is_err());
}

/// A failure may pass in a moment, so it is tried again. A denial will not, so the device gets its
/// answer at once.
#[tokio::test]
async fn what_is_refused_is_asked_for_once() {
    let world = world();
    let sha256 = world.blob(b"0123456789").await;
    world.fails.refuses.store(true, Ordering::SeqCst);
    for path in ["/metadata/timestamp.json".to_owned(), format!("/targets/{sha256}.a")] {
        world.fails.left.store(1, Ordering::SeqCst);
        let answer = world.get(&path, &[]).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert_eq!(
            bytes(answer).await.unwrap().concat(),
            b"try again later\n",
            "nothing of the inside shows"
        );
        assert_eq!(world.get(&path, &[]).await.status, StatusCode::OK, "{path}");
    }
}

#[tokio::test]
async fn a_blob_that_vanishes_on_the_way_is_never_cut_short_silently() {
    let world = world();
    let sha256 = world.blob(b"0123456789").await;
    let answer = world.get(&format!("/targets/{sha256}.a"), &[]).await;
    world.memory.lose_blob(&sha256);
    assert!(bytes(answer).await.is_err());
}

/// Links that contain the key that they lead to.
struct NamedLinks;

#[async_trait::async_trait]
impl Links for NamedLinks {
    async fn link(&self, key: &Key) -> Result<String, StoreError> {
        Ok(format!("https://bucket/{key}?signed"))
    }
}

#[tokio::test]
async fn what_is_too_large_for_one_answer_is_redirected() {
    let mut world = world();
    let (small, large) = (world.blob(b"0123").await, world.blob(b"01234").await);
    world.memory.tamper("metadata/2.targets.json", Some(Bytes::from_static(b"0123456789")));
    let links = Arc::new(NamedLinks);
    world.repository.redirects = Some(Redirects { links, inline_targets: 4, inline_metadata: 9 });
    for (path, location) in [
        (format!("/targets/{small}.a"), String::new()),
        (format!("/targets/{large}.a"), format!("https://bucket/blobs/{large}?signed")),
        ("/metadata/timestamp.json".into(), String::new()),
        ("/metadata/2.targets.json".into(), "https://bucket/metadata/2.targets.json?signed".into()),
    ] {
        let answer = world.get(&path, &[]).await;
        let status = if location.is_empty() { 200 } else { 307 };
        assert_eq!(
            (answer.status.as_u16(), field(&answer, "location")),
            (status, &*location),
            "{path}"
        );
        if status == 307 {
            assert_eq!(field(&answer, "cache-control"), NEVER, "a link expires");
        }
    }
    // A signed link is valid for one method only.
    let head = world.ask(Method::HEAD, &format!("/targets/{large}.a"), &[]).await;
    assert_eq!((head.status, field(&head, "content-length")), (StatusCode::OK, "5"));
    let part = world.get(&format!("/targets/{large}.a"), &[("range", "bytes=1-2")]).await;
    assert_eq!(bytes(part).await.unwrap().concat(), b"12", "what is asked for is small enough");
}

#[tokio::test]
async fn chunks_are_redirected_by_how_many_there_are_and_not_by_what_is_asked_for() {
    let mut world = world();
    let (small, large) = (world.chunks(b"0123").await, world.chunks(b"01234").await);
    let links = Arc::new(NamedLinks);
    world.repository.redirects = Some(Redirects { links, inline_targets: 4, inline_metadata: 9 });
    for fields in [vec![], vec![("range", "bytes=1-2")], vec![("range", "bytes=0-55")]] {
        assert!(
            world.get(&format!("/chunks/{small}.a"), &fields).await.status.is_success(),
            "{fields:?}"
        );
        let answer = world.get(&format!("/chunks/{large}.a"), &fields).await;
        let location = format!("https://bucket/chunks/{large}?signed");
        let found =
            (answer.status.as_u16(), field(&answer, "location"), field(&answer, "cache-control"));
        assert_eq!(found, (307, &*location, NEVER), "{fields:?}");
    }
    let head = world.ask(Method::HEAD, &format!("/chunks/{large}.a"), &[]).await;
    assert_eq!((head.status, field(&head, "content-length")), (StatusCode::OK, "5"));
}

#[tokio::test]
async fn metadata_is_compressed_only_for_clients_that_ask() {
    let world = world();
    let json = Bytes::from(b"{\"a\":1}".repeat(1000));
    world.memory.tamper("metadata/2.snapshot.json", Some(json.clone()));
    let path = "/metadata/2.snapshot.json";
    let (plain, packed) =
        (world.get(path, &[]).await, world.get(path, &[("accept-encoding", "gzip")]).await);
    assert_eq!(
        (field(&plain, "content-encoding"), field(&packed, "content-encoding")),
        ("", "gzip")
    );
    assert_eq!(
        (field(&plain, "vary"), field(&packed, "vary")),
        ("Accept-Encoding", "Accept-Encoding")
    );
    let tags = [field(&plain, "etag").to_owned(), field(&packed, "etag").to_owned()];
    assert_ne!(tags[0], tags[1], "other bytes");
    let length = field(&packed, "content-length").to_owned();
    assert_eq!(length, bytes(packed).await.unwrap().concat().len().to_string());
    assert_eq!(bytes(plain).await.unwrap().concat(), json);
    for (tag, encoding, status) in
        [(&tags[1], "gzip", 304), (&tags[0], "", 304), (&tags[1], "", 200)]
    {
        let answer =
            world.get(path, &[("if-none-match", tag), ("accept-encoding", encoding)]).await;
        assert_eq!(answer.status.as_u16(), status, "{tag} {encoding}");
    }
}

#[test]
fn a_new_root_is_hidden_for_no_longer_than_keys_wait_for_it() {
    assert_eq!(FOR_SECONDS, format!("max-age={LONGEST_HIDDEN_SECONDS}"));
}
