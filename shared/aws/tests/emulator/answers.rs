//! How the adapters read AWS's answers, beyond the ports' common contract, on a local emulator.

use std::time::Duration;

use crate::world::World;
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use tufline_aws::CopyLimits;
use tufline_store::{
    Blobs, Document, Folder, Head, Hint, Kept, Key, LONGEST_HISTORY, Message, OnlineRole,
    PastVersion, Pointer, Queue, Queues, Signer, Source, Store, Tag, Upload, Uploads, VersionId,
    Written,
};
use tufline_tuf::{Sha256, Time};

/// A record in the ledger; `text` distinguishes it from others with the same key.
fn record(key: Key, text: &str) -> Pointer {
    Pointer::record(key, &text).unwrap()
}

async fn current(world: &World, name: &str) -> Upload {
    match world.uploads().head(name).await.unwrap() {
        Head::Object(upload) => upload,
        Head::Gone { marker } => panic!("gone, marker {marker:?}"),
    }
}

#[tokio::test]
#[ignore = "needs the emulator: tests/run starts it"]
async fn of_many_writers_one_wins() {
    let world = World::new().await;
    let store = world.store();
    let key = || Key::Announced;
    assert!(store.get(&key()).await.unwrap().is_none());
    assert!(!store.exists(&key()).await.unwrap());
    assert_eq!(
        store.replace(&record(key(), "x"), &Tag("\"0\"".into())).await.unwrap(),
        Written::Lost,
        "nothing there"
    );

    let documents: Vec<_> = (0..16).map(|number| record(key(), &number.to_string())).collect();
    let creates =
        futures::future::join_all(documents.iter().map(|document| store.create(document))).await;
    let done = |writes: &[tufline_store::Result<Written>]| {
        writes.iter().filter(|written| matches!(written, Ok(Written::Done))).count()
    };
    assert_eq!(done(&creates), 1);
    let first = store.get(&key()).await.unwrap().unwrap();
    assert!(store.exists(&key()).await.unwrap());

    let replaces = futures::future::join_all(
        documents.iter().map(|document| store.replace(document, &first.tag)),
    )
    .await;
    assert!(replaces.iter().all(Result::is_ok));
    assert!(done(&replaces) >= 1);
    let second = store.get(&key()).await.unwrap().unwrap();
    assert_eq!(
        store.replace(&record(key(), "late"), &Tag("\"0\"".into())).await.unwrap(),
        Written::Lost
    );
    assert_eq!(store.replace(&record(key(), "end"), &second.tag).await.unwrap(), Written::Done);
}

#[tokio::test]
#[ignore = "needs the emulator: tests/run starts it"]
async fn a_missing_bucket_is_a_failure_and_not_an_empty_one() {
    let world = World::new().await;
    let client = world.clients.s3.clone();
    let store =
        tufline_aws::S3Store::new(client.clone(), "tufline-none".into(), "tufline-none".into());
    let failure = store.get(&Key::Announced).await.unwrap_err().to_string();
    assert!(failure.contains("NoSuchBucket") && failure.contains("announced.json"), "{failure}");
    assert!(!failure.contains('\n'));
    assert!(store.replace(&record(Key::Announced, "x"), &Tag("\"0\"".into())).await.is_err());
    let uploads = tufline_aws::S3Uploads::new(client, "tufline-none".into(), "targets/".into());
    assert!(uploads.head("a").await.is_err(), "or every upload would count as removed");
    assert!(uploads.head_version("a", &VersionId("v".into())).await.is_err());
}

#[tokio::test]
#[ignore = "needs the emulator: tests/run starts it"]
async fn folders_are_listed_in_pages() {
    let world = World::new().await;
    let store = world.store();
    for generation in 1..=12 {
        assert_eq!(
            store
                .create(&Document::record(Key::Manifest(generation), &"m").unwrap())
                .await
                .unwrap(),
            Written::Done
        );
    }
    world.put_raw(&world.ledger, "generations/other", b"").await;
    let all: Vec<_> = (1..=12).map(Key::Manifest).collect();
    assert_eq!(store.list(Folder::Manifests, None, 100).await.unwrap(), all);
    assert_eq!(store.list(Folder::Manifests, Some(&Key::Manifest(3)), 4).await.unwrap(), all[3..7]);
    assert_eq!(store.list(Folder::Manifests, Some(&Key::Manifest(12)), 4).await.unwrap(), []);
    assert_eq!(store.list(Folder::Held, None, 4).await.unwrap(), []);
}

#[tokio::test]
#[ignore = "needs the emulator: tests/run starts it"]
async fn uploads_say_what_the_uploader_sent() {
    let world = World::new().await;
    let put = world
        .clients
        .s3
        .put_object()
        .bucket(&world.uploads)
        .key("targets/a")
        .body(b"bytes".to_vec().into());
    put.checksum_algorithm(ChecksumAlgorithm::Sha256)
        .metadata("tuf-custom", "=?UTF-8?Q?{=22a=22:=22=E2=82=AC=22}?=")
        .send()
        .await
        .unwrap();
    let upload = current(&world, "a").await;
    assert_eq!((upload.length, upload.sha256), (5, Some(Sha256::of(b"bytes"))));
    assert_eq!(upload.custom.as_deref(), Some(r#"{"a":"€"}"#));
    let version = upload.version.clone().unwrap();
    assert_eq!(world.uploads().head_version("a", &version).await.unwrap(), Some(upload));

    world.composite("targets/parts", &[b"one", b"two"]).await;
    assert_eq!(
        current(&world, "parts").await.sha256,
        None,
        "a composite checksum is not the object's"
    );
    assert_eq!(world.uploads().place("a/b"), format!("s3://{}/targets/a/b", world.uploads));
}

#[tokio::test]
#[ignore = "needs the emulator: tests/run starts it"]
async fn removed_names_tell_their_marker() {
    let world = World::new().await;
    let uploads = world.uploads();
    let none = Head::Gone { marker: None };
    assert_eq!(uploads.head("a").await.unwrap(), none);
    assert_eq!(uploads.head(&"x".repeat(2000)).await.unwrap(), none);
    let version = world.put("targets/a", b"1").await;
    let marker = world.remove("targets/a").await;
    assert_eq!(uploads.head("a").await.unwrap(), Head::Gone { marker: Some(marker.clone()) });
    assert_eq!(uploads.head_version("a", &version).await.unwrap().unwrap().length, 1);
    for gone in [&marker, &VersionId("none".into()), &VersionId(String::from("a b/?%"))] {
        assert_eq!(uploads.head_version("a", gone).await.unwrap(), None, "{gone}");
    }
}

#[tokio::test]
#[ignore = "needs the emulator: tests/run starts it"]
async fn history_is_newest_first_with_markers_in_their_places() {
    let world = World::new().await;
    let mut expected = Vec::new();
    for round in 0..3 {
        for _ in 0..=round {
            expected.push((world.put("targets/a", b"x").await, false, false));
        }
        expected.push((world.remove("targets/a").await, true, false));
    }
    world.composite("targets/a", &[b"one", b"two"]).await;
    expected.push((current(&world, "a").await.version.unwrap(), false, true));
    expected.push((world.put("targets/a", b"x").await, false, false));
    expected.reverse();
    world.put("targets/a/b", b"x").await;
    world.put("targets/a0", b"x").await;
    let (mut found, mut newest) = (Vec::new(), Time::MAX);
    for past in world.uploads().versions("a").await.unwrap() {
        let (entry, modified) = match past {
            PastVersion::Object { version, modified, in_parts } => {
                ((version, false, in_parts), modified)
            }
            PastVersion::Marker { version, modified } => ((version, true, false), modified),
            other => panic!("{other:?}"),
        };
        assert!(modified <= newest, "each upload ended before the next one began");
        newest = modified;
        found.push(entry);
    }
    assert_eq!(found, expected);
    assert_eq!(world.uploads().versions("none").await.unwrap(), []);
}

#[tokio::test]
#[ignore = "needs the emulator: tests/run starts it"]
async fn names_of_any_kind_are_found_and_listed() {
    let world = World::new().await;
    let names = [
        "a b",
        "a+b",
        "a%20b",
        "a//b",
        "a/../b",
        "a/./b",
        "a?b=c&d",
        "a#b",
        "é\u{301}",
        "a\\b",
        "&<>\"'",
    ];
    for name in names {
        let key = format!("targets/{name}");
        world.put(&key, name.as_bytes()).await;
        let upload = current(&world, name).await;
        let bytes = world.uploads().read(&upload, 0, 100).await.unwrap();
        assert_eq!(bytes, name.as_bytes(), "{name}");
        let sha256 = Sha256::of(name.as_bytes());
        assert_eq!(
            world
                .blobs(CopyLimits::default())
                .keep(&upload, Source::Upload, &sha256)
                .await
                .unwrap(),
            Kept::Whole
        );
        assert_eq!(
            world.blobs(CopyLimits::default()).read(&sha256, 0, 100).await.unwrap().unwrap(),
            name.as_bytes()
        );
        assert_eq!(world.uploads().versions(name).await.unwrap().len(), 1, "{name}");
    }
    let mut expected = names.to_vec();
    expected.sort_unstable();
    assert_eq!(world.uploads().list(None).await.unwrap(), expected);
}

#[tokio::test]
#[ignore = "needs the emulator: tests/run starts it"]
async fn reconcile_sees_each_name_once() {
    let world = World::new().await;
    for number in 0..1200 {
        world.put(&format!("targets/{number:04}"), b"x").await;
    }
    // More versions of one name than a page holds, with other names before and after it.
    for _ in 0..1100 {
        world.put("targets/0500", b"x").await;
    }
    world.remove("targets/0007").await;
    world.put("elsewhere", b"x").await;
    let mut found = Vec::new();
    loop {
        let page = world.uploads().list(found.last().map(String::as_str)).await.unwrap();
        assert!(page.len() <= 1000);
        if page.is_empty() {
            break;
        }
        found.extend(page);
    }
    let expected: Vec<_> = (0..1200).map(|number| format!("{number:04}")).collect();
    assert_eq!(found, expected);
    let history = world.uploads().versions("0500").await.unwrap();
    assert_eq!((history.len(), history.last()), (LONGEST_HISTORY + 1, Some(&PastVersion::Unknown)));
}

#[tokio::test]
#[ignore = "needs the emulator: tests/run starts it"]
async fn a_part_of_a_version_is_read() {
    let world = World::new().await;
    world.put("targets/a", b"0123456789").await;
    let old = current(&world, "a").await;
    world.put("targets/a", b"new").await;
    let uploads = world.uploads();
    for (offset, length, expected) in
        [(3, 4, "3456"), (8, 4, "89"), (10, 4, ""), (99, 4, ""), (0, 0, ""), (0, 10, "0123456789")]
    {
        assert_eq!(
            uploads.read(&old, offset, length).await.unwrap(),
            expected,
            "{offset} {length}"
        );
    }
    let gone = Upload { version: Some(VersionId("none".into())), ..old };
    assert!(uploads.read(&gone, 0, 1).await.is_err());
}

#[tokio::test]
#[ignore = "needs the emulator: tests/run starts it"]
async fn blobs_are_copied_whole_and_in_parts() {
    let world = World::new().await;
    let bytes: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    let sha256 = Sha256::of(&bytes);
    world.put("targets/a", &bytes).await;
    let upload = current(&world, "a").await;
    world.put("targets/a", b"something else").await;
    let whole = CopyLimits::default();
    for (limits, source) in [
        (whole, Source::Upload),
        (whole, Source::Incoming),
        (CopyLimits { whole: 1000, part: 30_000 }, Source::Upload),
        (CopyLimits { whole: 1000, part: 400_000 }, Source::Incoming),
    ] {
        let blobs = world.blobs(limits);
        world.blobs(whole).copy_in(&upload).await.unwrap();
        assert_eq!(blobs.head(&sha256).await.unwrap(), None);
        assert_eq!(blobs.read(&sha256, 0, 10).await.unwrap(), None);
        assert_eq!(blobs.keep(&upload, source, &sha256).await.unwrap(), Kept::Whole);
        assert_eq!(blobs.keep(&upload, source, &sha256).await.unwrap(), Kept::Whole);
        assert_eq!(blobs.head(&sha256).await.unwrap().unwrap().length, 400_000);
        assert_eq!(blobs.read(&sha256, 0, 1_000_000).await.unwrap().unwrap(), bytes);
        assert_eq!(blobs.read(&sha256, 5, 10).await.unwrap().unwrap(), bytes[5..15]);
        assert_eq!(blobs.read(&sha256, 400_000, 10).await.unwrap().unwrap().len(), 0);
        world.remove_raw(&world.repository, &Key::Blob(sha256).path()).await;
    }
    let large = world.blobs(CopyLimits { whole: 1000, part: 30_000 });
    assert_eq!(large.copy_in(&upload).await.unwrap(), None, "too large for one request");
    let gone = Upload { version: Some(VersionId("none".into())), ..upload };
    for limits in [whole, CopyLimits { whole: 1000, part: 30_000 }] {
        assert!(world.blobs(limits).keep(&gone, Source::Upload, &sha256).await.is_err());
    }
}

#[tokio::test]
#[ignore = "needs the emulator: tests/run starts it"]
async fn a_copy_in_parts_is_continued() {
    let world = World::new().await;
    let bytes: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    let sha256 = Sha256::of(&bytes);
    world.put("targets/a", &bytes).await;
    let upload = current(&world, "a").await;
    let unfinished = async || {
        let answer = world
            .clients
            .s3
            .list_multipart_uploads()
            .bucket(&world.repository)
            .send()
            .await
            .unwrap();
        answer.uploads().len()
    };
    // 40 parts; each call comes from another client, as from another function. The first call used
    // another part size.
    for (part, expected, unfinished_then) in [
        (10_000, Kept::Partly, 1),
        (9_000, Kept::Partly, 1),
        (10_000, Kept::Partly, 1),
        (10_000, Kept::Partly, 1),
    ] {
        let blobs = world.blobs(CopyLimits { whole: 1000, part });
        assert_eq!(blobs.keep(&upload, Source::Upload, &sha256).await.unwrap(), expected);
        assert_eq!(blobs.head(&sha256).await.unwrap(), None, "nobody sees a part of it");
        assert_eq!(unfinished().await, unfinished_then, "the same copy");
    }
    // Two at once finish it, and one more finds it finished.
    let blobs = world.blobs(CopyLimits { whole: 1000, part: 10_000 });
    let both = futures::future::join(
        blobs.keep(&upload, Source::Upload, &sha256),
        blobs.keep(&upload, Source::Upload, &sha256),
    );
    let (one, other) = both.await;
    assert!([one.unwrap(), other.unwrap()].contains(&Kept::Whole));
    assert_eq!(blobs.keep(&upload, Source::Upload, &sha256).await.unwrap(), Kept::Whole);
    assert_eq!(blobs.read(&sha256, 0, 1_000_000).await.unwrap().unwrap(), bytes);
    assert_eq!(unfinished().await, 0);
}

#[tokio::test]
#[ignore = "needs the emulator: tests/run starts it"]
async fn empty_uploads_are_kept_too() {
    let world = World::new().await;
    world.put("targets/empty", b"").await;
    let upload = current(&world, "empty").await;
    let (blobs, sha256) = (world.blobs(CopyLimits::default()), Sha256::of(b""));
    assert!(blobs.copy_in(&upload).await.unwrap().is_none_or(|copied| copied == sha256));
    assert_eq!(blobs.keep(&upload, Source::Incoming, &sha256).await.unwrap(), Kept::Whole);
    assert_eq!(blobs.head(&sha256).await.unwrap().unwrap().length, 0);
    assert_eq!(blobs.read(&sha256, 0, 10).await.unwrap().unwrap().len(), 0);
    assert_eq!(world.uploads().read(&upload, 0, 10).await.unwrap().len(), 0);
}

#[tokio::test]
#[ignore = "needs the emulator: tests/run starts it"]
async fn messages_are_sent_given_up_and_sent_again() {
    let world = World::new().await;
    let (queues, urls) = world.queues().await;
    let large = Message::Large(Hint { name: "a".into(), removed: false, version: None });
    for message in
        [Message::Uploads(vec![]), large, Message::Changes(vec![]), Message::Sign, Message::Publish]
    {
        let queue = message.queue();
        queues.send(&message, Duration::ZERO).await.unwrap();
        queues.send(&message, Duration::from_secs(700)).await.unwrap();
        let waiting = queues.waiting(queue).await.unwrap();
        assert_eq!(
            (waiting.messages, waiting.dead_letters),
            (2, 0),
            "{queue:?}: none taken for a duplicate"
        );
    }
    let queue = Queue::Changes;
    let dead = &urls[&queue].dead_letters;
    for number in 0..25 {
        let body = format!("poison {number}");
        world.clients.sqs().send_message().queue_url(dead).message_body(body).send().await.unwrap();
    }
    let letters = queues.dead_letters(queue, 12).await.unwrap();
    assert_eq!(letters.len(), 12);
    queues.redrive(queue, &letters[0]).await.unwrap();
    let waiting = queues.waiting(queue).await.unwrap();
    assert_eq!((waiting.messages, waiting.dead_letters), (3, 24));
    assert_eq!(
        queues.dead_letters(queue, 100).await.unwrap().len(),
        13,
        "those that were seen are hidden"
    );
}

#[tokio::test]
#[ignore = "needs the emulator: tests/run starts it"]
async fn kms_signatures_verify_under_the_public_key() {
    let world = World::new().await;
    let signer = world.signer(&[OnlineRole::Bins]).await;
    let key = signer.newest_key(OnlineRole::Snapshot).await.unwrap();
    assert_eq!(signer.public_keys(OnlineRole::Snapshot).await.unwrap(), std::slice::from_ref(&key));
    let message = vec![7; 10_000];
    let signature = signer.sign(OnlineRole::Snapshot, &key, &message).await.unwrap();
    let tough::schema::key::Key::Ecdsa { keyval, .. } = &key else { panic!("{key:?}") };
    let verifier = aws_lc_rs::signature::UnparsedPublicKey::new(
        &aws_lc_rs::signature::ECDSA_P256_SHA256_ASN1,
        keyval.public.as_ref(),
    );
    verifier.verify(&message, &signature).unwrap();
    assert!(verifier.verify(b"other", &signature).is_err());
    let failure = signer.public_keys(OnlineRole::Bins).await.unwrap_err().to_string();
    assert!(failure.contains("ECC_NIST_P384") && failure.contains("make a key"), "{failure}");
}

impl World {
    /// An object uploaded in parts, with a SHA-256 of each.
    async fn composite(&self, key: &str, parts: &[&[u8]]) {
        let s3 = &self.clients.s3;
        let create = s3.create_multipart_upload().bucket(&self.uploads).key(key);
        let upload = create.checksum_algorithm(ChecksumAlgorithm::Sha256).send().await.unwrap();
        let id = upload.upload_id().unwrap();
        let mut done = Vec::new();
        for (number, part) in (1..).zip(parts) {
            let put =
                s3.upload_part().bucket(&self.uploads).key(key).upload_id(id).part_number(number);
            let put = put
                .checksum_algorithm(ChecksumAlgorithm::Sha256)
                .body(part.to_vec().into())
                .send()
                .await
                .unwrap();
            done.push(
                CompletedPart::builder()
                    .part_number(number)
                    .set_e_tag(put.e_tag)
                    .set_checksum_sha256(put.checksum_sha256)
                    .build(),
            );
        }
        let parts = CompletedMultipartUpload::builder().set_parts(Some(done)).build();
        let complete = s3.complete_multipart_upload().bucket(&self.uploads).key(key).upload_id(id);
        complete.multipart_upload(parts).send().await.unwrap();
    }
}
