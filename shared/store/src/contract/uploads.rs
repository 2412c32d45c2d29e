//! The contracts of [`Uploads`] and [`Blobs`].

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::join_all;
use futures::{StreamExt, stream};
use tufline_tuf::{Sha256, Time};

use super::at_once::AT_ONCE;
use crate::key::VersionId;
use crate::port::{Blobs, Head, Kept, PastVersion, Source, Upload, Uploads};

/// A test's build system, and the ports that see its uploads.
#[async_trait]
pub trait Uploader: Send + Sync {
    /// The port on the uploads, to check.
    fn uploads(&self) -> &dyn Uploads;
    /// The port on the blobs, to check.
    fn blobs(&self) -> &dyn Blobs;
    /// Uploads `bytes` to `name`, replacing what is there, with the raw custom metadata `custom`.
    async fn put(&self, name: &str, bytes: &[u8], custom: Option<&str>);
    /// Removes the upload at `name`.
    async fn remove(&self, name: &str);
    /// Whether overwritten and removed versions stay readable.
    fn keeps_versions(&self) -> bool;
}

/// Checks the ports of `uploader`. There must be no uploads and no blobs yet.
///
/// # Panics
/// If a port breaks its contract.
pub async fn uploads(uploader: &dyn Uploader) {
    what_is_missing_is_gone(uploader).await;
    an_upload_is_seen_as_it_is(uploader).await;
    every_change_is_another_version(uploader).await;
    a_removed_upload_is_gone(uploader).await;
    listings_are_in_order(uploader).await;
    parts_can_be_read(uploader).await;

    missing_blobs_are_none(uploader).await;
    an_upload_becomes_a_blob(uploader).await;
    keeping_again_is_harmless(uploader).await;
    the_same_bytes_are_one_blob(uploader).await;
    blobs_outlive_their_uploads(uploader).await;
}

async fn current(uploader: &dyn Uploader, name: &str) -> Upload {
    match uploader.uploads().head(name).await.unwrap() {
        Head::Object(upload) => upload,
        Head::Gone { .. } => panic!("{name} is uploaded"),
    }
}

async fn put(uploader: &dyn Uploader, name: &str, bytes: &[u8]) -> Upload {
    uploader.put(name, bytes, None).await;
    current(uploader, name).await
}

fn version(upload: &Upload) -> VersionId {
    upload.version.clone().expect("uploads have versions")
}

fn id(past: &PastVersion) -> Option<&VersionId> {
    match past {
        PastVersion::Object { version, .. } | PastVersion::Marker { version, .. } => Some(version),
        PastVersion::Forgotten | PastVersion::Unknown => None,
    }
}

fn modified(past: &PastVersion) -> Option<Time> {
    match past {
        PastVersion::Object { modified, .. } | PastVersion::Marker { modified, .. } => {
            Some(*modified)
        }
        PastVersion::Forgotten | PastVersion::Unknown => None,
    }
}

/// Bytes without a short period.
fn sample(length: usize) -> Vec<u8> {
    (0..length).map(|index| u8::try_from(index * index / 7 % 251).unwrap()).collect()
}

async fn what_is_missing_is_gone(uploader: &dyn Uploader) {
    let uploads = uploader.uploads();
    assert_eq!(uploads.list(None).await.unwrap(), Vec::<String>::new());
    for name in ["nothing", "no/such/file", "no such é +%2F"] {
        assert_eq!(uploads.head(name).await.unwrap(), Head::Gone { marker: None }, "{name}");
        assert_eq!(
            uploads.head_version(name, &VersionId("0".repeat(32))).await.unwrap(),
            None,
            "{name}"
        );
        let past = if uploader.keeps_versions() { vec![] } else { vec![PastVersion::Forgotten] };
        assert_eq!(uploads.versions(name).await.unwrap(), past, "{name}");
        assert!(uploads.place(name).contains(name), "for people: {}", uploads.place(name));
    }
}

async fn an_upload_is_seen_as_it_is(uploader: &dyn Uploader) {
    for (name, bytes, custom) in [
        ("seen/empty", vec![], None),
        ("seen/small", b"hello".to_vec(), Some(r#"{"version":"1.0"}"#)),
        ("seen/not json", b"x".to_vec(), Some("what is this")),
        ("seen/large", sample(100_000), Some("{}")),
    ] {
        uploader.put(name, &bytes, custom).await;
        let upload = current(uploader, name).await;
        assert_eq!((upload.name.as_str(), upload.length), (name, bytes.len() as u64));
        assert_eq!(upload.custom.as_deref(), custom, "{name}: as it was given, whatever it is");
        assert!(upload.sha256.is_none_or(|sha256| sha256 == Sha256::of(&bytes)), "{name}");
        assert_eq!(current(uploader, name).await, upload, "{name}: looking changes nothing");
        let found = uploader.uploads().head_version(name, &version(&upload)).await.unwrap();
        assert_eq!(found, Some(upload.clone()), "{name}");
        let past = uploader.uploads().versions(name).await.unwrap();
        let PastVersion::Object { version: newest, modified, in_parts } = &past[0] else {
            panic!("{name}: {past:?}")
        };
        assert_eq!((newest, *in_parts), (&version(&upload), false), "{name}");
        // An HTTP date has whole seconds.
        assert!(
            upload.uploaded.is_none_or(|uploaded| uploaded.as_second() == modified.as_second()),
            "{name}"
        );
    }
}

async fn every_change_is_another_version(uploader: &dyn Uploader) {
    let name = "changed";
    let mut seen = Vec::new();
    for (bytes, custom) in [
        ("one", None),
        ("two", None),
        ("two", None),
        ("two", Some("{}")),
        ("two", Some("[]")),
        ("two", None),
        ("", None),
    ] {
        uploader.put(name, bytes.as_bytes(), custom).await;
        let upload = current(uploader, name).await;
        assert_eq!((upload.length, upload.custom.as_deref()), (bytes.len() as u64, custom));
        assert!(!seen.contains(&upload), "{bytes:?} with {custom:?} is another version");
        assert!(seen.iter().all(|other: &Upload| other.version != upload.version));
        seen.push(upload);
    }
    let first = &seen[0];
    let found = uploader.uploads().head_version(name, &version(first)).await.unwrap();
    let read = uploader.uploads().read(first, 0, 100).await;
    if uploader.keeps_versions() {
        assert_eq!(found.as_ref(), Some(first));
        assert_eq!(
            read.unwrap(),
            b"one"[..],
            "the version that was asked for, not the current one"
        );
        let past: Vec<Option<VersionId>> =
            seen.iter().rev().map(|upload| upload.version.clone()).collect();
        let told = uploader.uploads().versions(name).await.unwrap();
        assert_eq!(
            told.iter().map(|past| id(past).cloned()).collect::<Vec<_>>(),
            past,
            "newest first"
        );
        assert!(
            told.is_sorted_by_key(|past| std::cmp::Reverse(modified(past))),
            "each came after the others"
        );
    } else {
        assert_eq!(found, None);
        assert!(read.is_err(), "another version's bytes are never given for it");
        assert!(uploader.blobs().copy_in(first).await.is_err());
        assert!(
            uploader.blobs().check(first).await.is_ok_and(|checked| checked.is_none()),
            "nothing is said of it"
        );
    }
}

async fn a_removed_upload_is_gone(uploader: &dyn Uploader) {
    let upload = put(uploader, "removed", b"soon gone").await;
    uploader.remove("removed").await;
    let Head::Gone { marker } = uploader.uploads().head("removed").await.unwrap() else {
        panic!("it is gone")
    };
    let past = uploader.uploads().versions("removed").await.unwrap();
    if let Some(marker) = &marker {
        assert!(
            matches!(past[..], [PastVersion::Marker { .. }, PastVersion::Object { .. }]),
            "{past:?}"
        );
        assert_eq!((id(&past[0]), id(&past[1])), (Some(marker), upload.version.as_ref()));
        assert!(modified(&past[0]) >= modified(&past[1]));
    } else {
        assert!(!uploader.keeps_versions());
        assert_eq!(past, [PastVersion::Forgotten]);
    }
    let found = uploader.uploads().head_version("removed", &version(&upload)).await.unwrap();
    assert_eq!(found.is_some(), uploader.keeps_versions());
    let back = put(uploader, "removed", b"soon gone").await;
    assert_ne!(back.version, upload.version, "the same again is another version");
}

async fn listings_are_in_order(uploader: &dyn Uploader) {
    let mut names: Vec<String> = ["a-b", "a.b", "a/b", "a/b.c/d", "a/b-c", "a0", "B", "_", "z"]
        .map(|name| format!("list/{name}"))
        .into();
    // These fill more than one page.
    names.extend((0..1010).map(|number| format!("list/many/{number:04}")));
    let puts = stream::iter(&names).map(|name| uploader.put(name, b"x", None));
    puts.buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
    uploader.remove("list/a0").await;
    names.sort_unstable();
    if !uploader.keeps_versions() {
        names.retain(|name| name != "list/a0");
    }
    let mut listed: Vec<String> = Vec::new();
    loop {
        let page = uploader.uploads().list(listed.last().map(String::as_str)).await.unwrap();
        assert!(page.len() <= 1000);
        if page.is_empty() {
            break;
        }
        listed.extend(page);
    }
    assert!(listed.is_sorted(), "in the order of their bytes");
    let below: Vec<String> =
        listed.iter().filter(|name| name.starts_with("list/")).cloned().collect();
    assert_eq!(below, names, "each once, and those that were removed if that is known");
    assert!(listed.iter().any(|name| name == "seen/empty"), "and what was there before");
    let after = uploader.uploads().list(Some("list/many/0500")).await.unwrap();
    assert_eq!(after[0], "list/many/0501", "after is not in it");
    let after = uploader.uploads().list(Some("list/many/0500!")).await.unwrap();
    assert_eq!(after[0], "list/many/0501", "after needs not be there");
}

async fn parts_can_be_read(uploader: &dyn Uploader) {
    let bytes = sample(10_000);
    let upload = put(uploader, "read", &bytes).await;
    let read =
        async |offset, length| uploader.uploads().read(&upload, offset, length).await.unwrap();
    assert_eq!(read(0, 10_000).await, bytes);
    assert_eq!(read(0, 1).await, bytes[..1]);
    assert_eq!(read(1234, 100).await, bytes[1234..1334]);
    assert_eq!(read(9_999, 1).await, bytes[9_999..]);
    assert_eq!(read(9_990, 100).await, bytes[9_990..], "up to the end");
    assert_eq!(read(10_000, 1).await, Bytes::new(), "nothing is after it");
}

async fn missing_blobs_are_none(uploader: &dyn Uploader) {
    let digest = Sha256::of(b"no such blob");
    assert_eq!(uploader.blobs().head(&digest).await.unwrap(), None);
    assert_eq!(uploader.blobs().read(&digest, 0, 1).await.unwrap(), None);
}

/// Checks that the blob of `bytes` is stored and right.
async fn check_blob(uploader: &dyn Uploader, bytes: &[u8]) {
    let blobs = uploader.blobs();
    let digest = Sha256::of(bytes);
    let blob = blobs.head(&digest).await.unwrap().expect("the blob is there");
    assert_eq!(blob.length, bytes.len() as u64);
    assert!(blob.sha256.is_none_or(|sha256| sha256 == digest));
    let read = async |offset: usize, length: usize| {
        blobs.read(&digest, offset as u64, length as u64).await.unwrap().expect("the blob is there")
    };
    if bytes.is_empty() {
        return;
    }
    assert_eq!(Sha256::of(&read(0, bytes.len()).await), digest);
    let (middle, last) = (bytes.len() / 2, bytes.len() - 1);
    assert_eq!(read(middle, 3).await, bytes[middle..bytes.len().min(middle + 3)]);
    assert_eq!(read(last, 10).await, bytes[last..], "up to the end");
}

/// Calls `keep` until the blob is whole.
async fn keep(uploader: &dyn Uploader, upload: &Upload, source: Source, bytes: &[u8]) {
    while uploader.blobs().keep(upload, source, &Sha256::of(bytes)).await.unwrap() != Kept::Whole {}
}

/// Copies `upload` in and keeps the copy, or keeps the upload itself if the store computes no
/// digest.
async fn copy_and_keep(uploader: &dyn Uploader, upload: &Upload, bytes: &[u8]) {
    let copied = uploader.blobs().copy_in(upload).await.unwrap();
    assert!(copied.is_none_or(|sha256| sha256 == Sha256::of(bytes)), "{}", upload.name);
    let source = if copied.is_some() { Source::Incoming } else { Source::Upload };
    keep(uploader, upload, source, bytes).await;
}

async fn an_upload_becomes_a_blob(uploader: &dyn Uploader) {
    for (name, bytes) in [
        ("blob/empty", vec![]),
        ("blob/small", b"blob".to_vec()),
        ("blob/name with é +%2F", sample(1000)),
        ("blob/large", sample(5 * 1024 * 1024 + 3)),
    ] {
        let upload = put(uploader, name, &bytes).await;
        copy_and_keep(uploader, &upload, &bytes).await;
        check_blob(uploader, &bytes).await;
    }
    let bytes = sample(4321);
    let upload = put(uploader, "blob/directly", &bytes).await;
    for _ in 0..2 {
        let checked = uploader.blobs().check(&upload).await.unwrap();
        assert!(checked.is_none_or(|sha256| sha256 == Sha256::of(&bytes)), "{checked:?}");
    }
    assert_eq!(
        uploader.blobs().head(&Sha256::of(&bytes)).await.unwrap(),
        None,
        "to check keeps nothing"
    );
    keep(uploader, &upload, Source::Upload, &bytes).await;
    check_blob(uploader, &bytes).await;
}

async fn keeping_again_is_harmless(uploader: &dyn Uploader) {
    let bytes = sample(2345);
    let upload = put(uploader, "kept", &bytes).await;
    for _ in 0..2 {
        copy_and_keep(uploader, &upload, &bytes).await;
        check_blob(uploader, &bytes).await;
    }
    keep(uploader, &upload, Source::Upload, &bytes).await;
    check_blob(uploader, &bytes).await;

    let bytes = sample(3456);
    let upload = put(uploader, "kept at once", &bytes).await;
    join_all((0..AT_ONCE).map(|_| copy_and_keep(uploader, &upload, &bytes))).await;
    check_blob(uploader, &bytes).await;
}

async fn the_same_bytes_are_one_blob(uploader: &dyn Uploader) {
    let bytes = b"the same";
    let mut uploads = Vec::new();
    for number in 0..10 {
        uploads.push(put(uploader, &format!("same/{number}"), bytes).await);
    }
    join_all(uploads.iter().map(|upload| copy_and_keep(uploader, upload, bytes))).await;
    check_blob(uploader, bytes).await;
}

async fn blobs_outlive_their_uploads(uploader: &dyn Uploader) {
    let bytes = b"outlived";
    let upload = put(uploader, "outlived", bytes).await;
    copy_and_keep(uploader, &upload, bytes).await;
    uploader.put("outlived", b"OUTLIVED", None).await;
    check_blob(uploader, bytes).await;
    uploader.remove("outlived").await;
    check_blob(uploader, bytes).await;
}
