//! The contract of [`Events`].

use async_trait::async_trait;
use serde_json::{Value, json};
use tufline_tuf::{RejectionCode, Sha256, TargetName};

use crate::event::{Event, PublishedTarget, RejectedUpload};
use crate::key::VersionId;
use crate::port::Events;

/// A test's reader of the events that the port sends.
#[async_trait]
pub trait EventsReader: Send + Sync {
    /// The port to check.
    fn events(&self) -> &dyn Events;
    /// All events sent so far, in any order: objects with at least `detail-type` and `detail`.
    async fn sent(&self) -> Vec<Value>;
}

/// Checks the port of `reader`, which must not have sent anything yet.
///
/// # Panics
/// If the port breaks its contract.
pub async fn events(reader: &dyn EventsReader) {
    reader.events().send(&[]).await.unwrap();
    assert_eq!(reader.sent().await, Vec::<Value>::new(), "nothing was sent");

    let rejected = Event::UploadRejected(RejectedUpload {
        place: "uploads/bad \"name\"\n".into(),
        name: "bad \"name\"\n".into(),
        version: Some(VersionId("1".into())),
        code: RejectionCode::Name,
        reason: "it has a line feed".into(),
    });
    let held = Event::RemovalsHeld { removals: 30, targets: 40, reason: "accept them".into() };
    reader.events().send(&[rejected.clone(), held.clone()]).await.unwrap();
    check(reader, &[rejected.clone(), held.clone()]).await;

    // More than EventBridge takes in one request, by number and by size.
    let target = |number: usize| PublishedTarget {
        name: format!("{number:0>200}").parse::<TargetName>().unwrap(),
        version: Some(VersionId("v".repeat(32))),
        sha256: Sha256::of(b""),
        length: number as u64,
    };
    let published = Event::published(
        7,
        &(0..3000).map(target).collect::<Vec<_>>(),
        &["removed".parse().unwrap()],
    );
    assert!(published.len() > 10);
    reader.events().send(&published).await.unwrap();
    let all: Vec<Event> = [rejected, held].into_iter().chain(published).collect();
    check(reader, &all).await;
}

async fn check(reader: &dyn EventsReader, expected: &[Event]) {
    let form = |event: &Value| {
        json!({ "detail-type": event["detail-type"], "detail": event["detail"] }).to_string()
    };
    let mut sent: Vec<String> = reader.sent().await.iter().map(form).collect();
    let mut expected: Vec<String> =
        expected.iter().map(|event| form(&serde_json::to_value(event).unwrap())).collect();
    sent.sort_unstable();
    expected.sort_unstable();
    assert_eq!(sent, expected, "every event arrives, whole");
}
