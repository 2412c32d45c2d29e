//! The contract of [`Store`].

use bytes::Bytes;
use futures::future::join_all;
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use tufline_tuf::Sha256;

use super::at_once::AT_ONCE;
use super::signer::{sign_root, sign_timestamp};
use crate::document::{Document, Pointer};
use crate::key::{Folder, Key, UploadKey, VersionId};
use crate::port::{OnlineRole, Signer, Store, Tag, Written};

/// Checks `store`, which must be empty. `signer` signs the documents for devices.
///
/// # Panics
/// If the port breaks its contract.
pub async fn store(store: &dyn Store, signer: &dyn Signer) {
    what_is_missing_is_none(store).await;
    creation_has_one_winner(store).await;
    what_is_stored_comes_back(store).await;
    what_nobody_would_read_is_not_stored(store).await;
    replacement_needs_the_current_tag(store).await;
    replacement_has_one_winner(store).await;
    readers_see_whole_documents(store).await;
    devices_documents_are_stored(store, signer).await;
    listings_are_in_order(store).await;
    long_listings_are_complete(store).await;
}

fn record(key: Key, value: &Value) -> Document {
    Document::record(key, value).unwrap()
}

fn pointer(key: Key, value: &Value) -> Pointer {
    Pointer::record(key, value).unwrap()
}

fn upload(name: &str, version: &str) -> UploadKey {
    UploadKey::new(name, &VersionId(version.into()))
}

async fn read(store: &dyn Store, key: &Key) -> (Bytes, Tag) {
    let stored = store.get(key).await.unwrap().unwrap_or_else(|| panic!("{key} is stored"));
    (stored.bytes, stored.tag)
}

async fn what_is_missing_is_none(store: &dyn Store) {
    let digest = Sha256::of(b"missing");
    for key in [
        Key::Timestamp,
        Key::root(1),
        Key::Manifest(1),
        Key::Draft(digest),
        Key::Hashed(upload("missing", "1")),
        Key::Announced,
    ] {
        assert_eq!(store.get(&key).await.unwrap(), None, "{key}");
        assert!(!store.exists(&key).await.unwrap(), "{key}");
    }
    let nothing =
        store.replace(&pointer(Key::Announced, &json!({})), &Tag("none".into())).await.unwrap();
    assert_eq!(nothing, Written::Lost, "what isn't there can't be replaced");
    assert!(!store.exists(&Key::Announced).await.unwrap(), "and isn't made by trying");
    for folder in [Folder::Manifests, Folder::Rejected, Folder::Refused, Folder::Held] {
        assert_eq!(store.list(folder, None, 10).await.unwrap(), [], "{folder:?}");
    }
}

async fn creation_has_one_winner(store: &dyn Store) {
    let keys = ["1", "2", "3"].map(|round| {
        [Key::Hashed(upload("raced for", round)), Key::Held(Sha256::of(round.as_bytes()))]
    });
    for key in keys.into_iter().flatten() {
        let documents: Vec<Document> =
            (0..AT_ONCE).map(|number| record(key.clone(), &json!({ "number": number }))).collect();
        let written = join_all(documents.iter().map(|document| store.create(document))).await;
        let winners: Vec<&Document> = documents
            .iter()
            .zip(written)
            .filter(|(_, written)| *written.as_ref().unwrap() == Written::Done)
            .map(|(document, _)| document)
            .collect();
        assert_eq!(winners.len(), 1, "one of {AT_ONCE} creators wins");
        let (bytes, _) = read(store, &key).await;
        assert_eq!(&bytes, winners[0].bytes(), "what is stored is the winner's");
        let again = store.create(&record(key.clone(), &json!("late"))).await.unwrap();
        assert_eq!(again, Written::Lost, "what is there is never overwritten");
        assert_eq!(read(store, &key).await.0, bytes);
        assert!(store.exists(&key).await.unwrap());
    }
}

async fn what_is_stored_comes_back(store: &dyn Store) {
    let large = json!({ "text": "tufline ".repeat(300_000) });
    // S3's version IDs are opaque. These are of the kinds that occur.
    let versions = [
        "null",
        "3/L4kqtJlcpXroDTDmpUMLUo".split('/').next_back().unwrap(),
        "a.b_c-d",
        "096fKKXTRTtl3on89fVO.nfljtsv6qko",
    ];
    for (number, version) in versions.into_iter().enumerate() {
        let large_key = Key::Held(Sha256::of(b"large"));
        let (key, value) = if number == 0 {
            (large_key, &large)
        } else {
            (Key::Hashed(upload("kept", version)), &Value::Null)
        };
        let document = record(key.clone(), value);
        assert_eq!(store.create(&document).await.unwrap(), Written::Done, "{key}");
        let stored = store.get(&key).await.unwrap().unwrap();
        assert_eq!(&stored.bytes, document.bytes(), "{key}");
        assert_eq!(
            store.get(&key).await.unwrap().unwrap(),
            stored,
            "{key}: reading changes nothing"
        );
    }
}

async fn what_nobody_would_read_is_not_stored(store: &dyn Store) {
    // In JSON, the two quotes count too.
    let text = |length: usize| json!("x".repeat(length - 2));
    let key = Key::Hashing(upload("long", "1"));
    assert!(store.create(&record(key.clone(), &text(key.most_bytes() + 1))).await.is_err());
    assert!(!store.exists(&key).await.unwrap());
    let longest = record(key.clone(), &text(key.most_bytes()));
    assert_eq!(store.create(&longest).await.unwrap(), Written::Done);
    let (bytes, tag) = read(store, &key).await;
    assert_eq!(&bytes, longest.bytes());
    for (most, read) in
        [(key.most_bytes() - 1, 0), (key.most_bytes(), bytes.len()), (usize::MAX, bytes.len())]
    {
        let stored = store.get_within(&key, most).await.unwrap().unwrap();
        assert_eq!(
            (stored.bytes.len(), &stored.tag),
            (read, &tag),
            "whatever is not read has the same state"
        );
        assert_eq!(store.bytes_within(&key, most).await.unwrap().unwrap().len(), read);
    }
    assert!(store.replace(&pointer(key.clone(), &text(key.most_bytes() + 1)), &tag).await.is_err());
    assert_eq!(read(store, &key).await.0, bytes);
}

async fn replacement_needs_the_current_tag(store: &dyn Store) {
    let (one, two, three) = (json!({"n": 1}), json!({"n": 2}), json!({"n": 3}));
    let key = Key::Announced;
    assert_eq!(store.create(&record(key.clone(), &one)).await.unwrap(), Written::Done);
    let first = store.get(&key).await.unwrap().unwrap();
    assert_eq!(
        store.replace(&pointer(key.clone(), &two), &first.tag).await.unwrap(),
        Written::Done
    );
    let second = store.get(&key).await.unwrap().unwrap();
    assert_eq!(second.bytes, br#"{"n":2}"#[..]);
    assert_ne!(second.tag, first.tag, "another content has another tag");
    assert!(second.modified >= first.modified, "time goes on");
    for stale in [&first.tag, &Tag(String::new()), &Tag("0".repeat(32))] {
        assert_eq!(
            store.replace(&pointer(key.clone(), &three), stale).await.unwrap(),
            Written::Lost,
            "{stale:?}"
        );
    }
    assert_eq!(
        store.get(&key).await.unwrap().unwrap(),
        second,
        "a lost replacement changes nothing"
    );
    assert_eq!(
        store.replace(&pointer(key.clone(), &three), &second.tag).await.unwrap(),
        Written::Done
    );
}

async fn replacement_has_one_winner(store: &dyn Store) {
    let key = Key::RemovalsAccepted;
    assert_eq!(store.create(&record(key.clone(), &json!("first"))).await.unwrap(), Written::Done);
    for round in 0..3 {
        let (_, tag) = read(store, &key).await;
        let documents: Vec<Pointer> =
            (0..AT_ONCE).map(|number| pointer(key.clone(), &json!([round, number]))).collect();
        let written =
            join_all(documents.iter().map(|document| store.replace(document, &tag))).await;
        let winners: Vec<&Pointer> = documents
            .iter()
            .zip(written)
            .filter(|(_, written)| *written.as_ref().unwrap() == Written::Done)
            .map(|(document, _)| document)
            .collect();
        assert_eq!(winners.len(), 1, "one of {AT_ONCE} replacers wins");
        assert_eq!(&read(store, &key).await.0, winners[0].bytes());
    }
}

async fn readers_see_whole_documents(store: &dyn Store) {
    let key = Key::RootIntent;
    let document =
        |number: u64| pointer(key.clone(), &json!({ "text": number.to_string().repeat(5000) }));
    assert_eq!(store.create(&document(0)).await.unwrap(), Written::Done);
    let writer = async {
        for number in 1..10 {
            let (_, tag) = read(store, &key).await;
            assert_eq!(store.replace(&document(number), &tag).await.unwrap(), Written::Done);
        }
    };
    let reader = async {
        let mut last = 0;
        for _ in 0..40 {
            let (bytes, _) = read(store, &key).await;
            let value: Value = serde_json::from_slice(&bytes).unwrap();
            let seen = value["text"].as_str().unwrap()[..1].parse().unwrap();
            assert_eq!(&bytes, document(seen).bytes(), "no mixture of two documents is ever read");
            assert!(seen >= last, "nobody goes back in time");
            last = seen;
        }
    };
    futures::join!(writer, reader);
}

async fn devices_documents_are_stored(store: &dyn Store, signer: &dyn Signer) {
    let root = sign_root(signer, OnlineRole::Timestamp).await;
    let document = Document::signed(&root);
    assert_eq!(store.create(&document).await.unwrap(), Written::Done);
    assert_eq!(read(store, &Key::root(1)).await.0, *root.bytes());
    let again = Document::signed(&sign_root(signer, OnlineRole::Timestamp).await);
    assert_eq!(
        store.create(&again).await.unwrap(),
        Written::Lost,
        "another signature, the same name"
    );

    let first = Pointer::timestamp(&sign_timestamp(signer, &root, 1).await);
    assert_eq!(store.create(&first).await.unwrap(), Written::Done);
    let (bytes, tag) = read(store, &Key::Timestamp).await;
    assert_eq!(&bytes, first.bytes());
    let second = Pointer::timestamp(&sign_timestamp(signer, &root, 2).await);
    assert_eq!(store.create(&second).await.unwrap(), Written::Lost);
    assert_eq!(store.replace(&second, &tag).await.unwrap(), Written::Done);
    assert_eq!(
        store.replace(&first, &tag).await.unwrap(),
        Written::Lost,
        "devices are never sent back"
    );
    assert_eq!(&read(store, &Key::Timestamp).await.0, second.bytes());
}

async fn listings_are_in_order(store: &dyn Store) {
    let manifests: Vec<Key> = (1..=25).map(Key::Manifest).collect();
    for number in 0..25 {
        // 7 and 25 have no common factor, so each key comes once, out of order.
        let key = manifests[number * 7 % 25].clone();
        assert_eq!(store.create(&record(key, &Value::Null)).await.unwrap(), Written::Done);
    }
    let list = async |after: Option<&Key>, limit| {
        store.list(Folder::Manifests, after, limit).await.unwrap()
    };
    assert_eq!(list(None, 1000).await, manifests);
    assert_eq!(list(None, 3).await, manifests[..3]);
    assert_eq!(list(Some(&manifests[9]), 5).await, manifests[10..15], "after is not in it");
    assert_eq!(list(Some(&Key::Manifest(0)), 1).await, manifests[..1], "after needs not be there");
    assert_eq!(list(Some(&manifests[24]), 5).await, []);
    assert_eq!(list(None, 0).await, []);

    let rejected: Vec<Key> = ["a", "b", "c"]
        .iter()
        .flat_map(|name| ["1", "2", "3"].map(|version| Key::Rejected(upload(name, version))))
        .collect();
    for key in &rejected {
        assert_eq!(store.create(&record(key.clone(), &Value::Null)).await.unwrap(), Written::Done);
    }
    let mut sorted = rejected;
    sorted.sort_by_key(Key::path);
    let list = async |after: Option<&Key>, limit| {
        store.list(Folder::Rejected, after, limit).await.unwrap()
    };
    assert_eq!(list(None, 100).await, sorted, "in the order of their paths");
    for begin in 0..sorted.len() {
        let expected: Vec<Key> = sorted.iter().skip(begin + 1).take(4).cloned().collect();
        assert_eq!(list(Some(&sorted[begin]), 4).await, expected);
    }
}

async fn long_listings_are_complete(store: &dyn Store) {
    // S3 lists at most 1,000 keys at once, so an implementation has to ask again.
    let keys: Vec<Key> = (1..=1010).map(Key::Refused).collect();
    let created = stream::iter(&keys)
        .map(async |key| store.create(&record(key.clone(), &Value::Null)).await.unwrap());
    let created: Vec<Written> = created.buffer_unordered(AT_ONCE).collect().await;
    assert!(created.iter().all(|written| *written == Written::Done));
    assert_eq!(store.list(Folder::Refused, None, 2000).await.unwrap(), keys);
    assert_eq!(store.list(Folder::Refused, Some(&keys[4]), 1003).await.unwrap(), keys[5..1008]);
}
