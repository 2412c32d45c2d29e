//! What arrives in a queue: Tufline's own messages and, in the uploads queue, S3's events.

use aws_lambda_events::event::s3::{S3Event, S3EventRecord};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use tufline_store::{Hint, Message, NotMessage, Queue, VersionId};

use crate::delivery::DELIVERIES;

/// A body of the uploads queue that means nothing to hash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("neither an S3 event nor a Tufline message: {0}")]
pub struct NotHints(String);

/// What S3 sends when notifications are set up.
#[derive(Deserialize)]
struct TestEvent {
    #[serde(rename = "Event")]
    event: String,
}

/// The hints in a body of the uploads queue.
///
/// Events of other kinds than creation and removal (a lifecycle's, for example) carry none, and neither does the
/// `s3:TestEvent` that S3 sends when notifications are set up
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html>). Keys outside `prefix`
/// carry none.
///
/// # Errors
/// [`NotHints`].
pub fn hints(body: &str, prefix: &str) -> Result<Vec<Hint>, NotHints> {
    if let Ok(message) = Message::from_body(body) {
        return match message {
            Message::Uploads(hints) => Ok(hints),
            Message::Deliveries(_) => Ok(Vec::new()),
            _ => Err(NotHints("it belongs to another queue".into())),
        };
    }
    if serde_json::from_str::<TestEvent>(body).is_ok_and(|test| test.event == "s3:TestEvent") {
        return Ok(Vec::new());
    }
    let event: S3Event = serde_json::from_str(body).map_err(|error| NotHints(error.to_string()))?;
    Ok(event.records.iter().filter_map(|record| hint(record, prefix)).collect())
}

/// The hints about files of other parties in a body of the uploads queue; none in one that cannot be read.
#[must_use]
pub fn deliveries(body: &str) -> Vec<Hint> {
    match Message::from_body(body) {
        Ok(Message::Deliveries(hints)) => hints,
        Ok(_) => Vec::new(),
        Err(_) => {
            let event = serde_json::from_str::<S3Event>(body).map(|event| event.records).unwrap_or_default();
            event.iter().filter_map(|record| hint(record, DELIVERIES)).collect()
        }
    }
}

fn hint(record: &S3EventRecord, prefix: &str) -> Option<Hint> {
    let event = record.event_name.as_deref()?;
    let removed = event.starts_with("ObjectRemoved:");
    if !removed && !event.starts_with("ObjectCreated:") {
        return None;
    }
    // Keys in events are URL-encoded as in HTML forms: a space is '+'.
    let raw = record.s3.object.key.as_deref()?.replace('+', " ");
    let key = percent_decode_str(&raw).decode_utf8().ok()?;
    let name = key.strip_prefix(prefix)?;
    let version = record.s3.object.version_id.clone().filter(|version| !version.is_empty());
    Some(Hint { name: name.to_owned(), removed, version: version.map(VersionId) })
}

/// The hint in a body of the queue of large uploads.
///
/// # Errors
/// [`NotMessage`].
pub fn large(body: &str) -> Result<Vec<Hint>, NotMessage> {
    Ok(if let Message::Large(hint) = own(Queue::Large, body)? { vec![hint] } else { Vec::new() })
}

/// Whether `body` is a message that the stage of `queue` understands.
#[must_use]
pub fn is_readable(queue: Queue, body: &str) -> bool {
    match queue {
        Queue::Uploads => hints(body, "").is_ok(),
        other => own(other, body).is_ok(),
    }
}

/// A message of Tufline's own, if it belongs to `queue`.
///
/// # Errors
/// [`NotMessage`].
pub fn own(queue: Queue, body: &str) -> Result<Message, NotMessage> {
    Message::from_body(body).and_then(|message| message.of(queue))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, key: &str) -> String {
        serde_json::json!({"Records": [{
            "eventVersion": "2.1", "eventSource": "aws:s3", "awsRegion": "eu-west-1", "eventName": name,
            "eventTime": "2026-11-25T00:00:00.000Z",
            "userIdentity": {"principalId": "x"}, "requestParameters": {"sourceIPAddress": "127.0.0.1"},
            "responseElements": {},
            "s3": {"s3SchemaVersion": "1.0", "bucket": {"name": "uploads"},
                   "object": {"key": key, "size": 1, "versionId": "v1", "sequencer": "0"}}
        }]})
        .to_string()
    }

    #[test]
    fn s3_events_become_hints() {
        let version = Some(VersionId("v1".into()));
        let found = hints(&event("ObjectCreated:Put", "targets/a+b%2Bc/%C3%A9"), "targets/").unwrap();
        assert_eq!(found, [Hint { name: "a b+c/é".into(), removed: false, version: version.clone() }]);
        let found = hints(&event("ObjectRemoved:DeleteMarkerCreated", "targets/a"), "targets/").unwrap();
        assert_eq!(found, [Hint { name: "a".into(), removed: true, version }]);
    }

    #[test]
    fn files_of_other_parties_are_told_from_uploads() {
        let body = event("ObjectCreated:Put", "delegations/vendor.json");
        assert_eq!(hints(&body, "targets/"), Ok(vec![]));
        let hint = Hint { name: "vendor.json".into(), removed: false, version: Some(VersionId("v1".into())) };
        assert_eq!(deliveries(&body), std::slice::from_ref(&hint));
        assert!(deliveries(&event("ObjectCreated:Put", "targets/delegations/vendor.json")).is_empty());
        let own = Message::Deliveries(vec![hint.clone()]).to_body().unwrap();
        assert_eq!((hints(&own, "targets/"), deliveries(&own)), (Ok(vec![]), vec![hint]));
        assert!(deliveries("x").is_empty());
    }

    #[test]
    fn what_is_not_about_uploads_is_acknowledged() {
        assert_eq!(hints(&event("LifecycleExpiration:DeleteMarkerCreated", "targets/a"), "targets/"), Ok(vec![]));
        assert_eq!(hints(&event("ObjectCreated:Put", "other/a"), "targets/"), Ok(vec![]));
        let test =
            r#"{"Service":"Amazon S3","Event":"s3:TestEvent","Time":"2026","Bucket":"b","RequestId":"r","HostId":"h"}"#;
        assert_eq!(hints(test, "targets/"), Ok(vec![]));
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for body in ["", "{}", "x", "[]", r#"{"format":1,"message":"sign"}"#, r#"{"Records":1}"#] {
            assert!(hints(body, "targets/").is_err(), "{body}");
        }
        assert!(is_readable(Queue::Sign, r#"{"format":1,"message":"sign"}"#));
        assert!(!is_readable(Queue::Publish, r#"{"format":1,"message":"sign"}"#));
    }
}
