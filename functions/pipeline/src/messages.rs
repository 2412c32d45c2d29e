//! What arrives in a queue: Tufline's own messages and, in the uploads queue, S3's events.

use aws_lambda_events::event::s3::{S3Event, S3EventRecord};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use tufline_store::{DELIVERIES, Hint, Message, NotMessage, Queue, VersionId};

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

/// What a body of the uploads queue tells of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hints {
    /// Uploads.
    pub uploads: Vec<Hint>,
    /// Files of other parties.
    pub deliveries: Vec<Hint>,
}

/// The hints in a body of the uploads queue.
///
/// Events of other kinds than creation and removal (a lifecycle's, for example) carry none, and neither does the
/// `s3:TestEvent` that S3 sends when notifications are set up
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html>). Keys outside `prefix` and
/// [`DELIVERIES`] carry none.
///
/// # Errors
/// [`NotHints`].
pub fn hints(body: &str, prefix: &str) -> Result<Hints, NotHints> {
    if let Ok(message) = Message::from_body(body) {
        return match message {
            Message::Uploads(uploads) => Ok(Hints { uploads, ..Hints::default() }),
            Message::Deliveries(deliveries) => Ok(Hints { deliveries, ..Hints::default() }),
            _ => Err(NotHints("it belongs to another queue".into())),
        };
    }
    if serde_json::from_str::<TestEvent>(body).is_ok_and(|test| test.event == "s3:TestEvent") {
        return Ok(Hints::default());
    }
    let event: S3Event = serde_json::from_str(body).map_err(|error| NotHints(error.to_string()))?;
    let below = |prefix: &str| event.records.iter().filter_map(|record| hint(record, prefix)).collect();
    Ok(Hints { uploads: below(prefix), deliveries: below(DELIVERIES) })
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
        let uploads = |body: &str| hints(body, "targets/").unwrap().uploads;
        let found = uploads(&event("ObjectCreated:Put", "targets/a+b%2Bc/%C3%A9"));
        assert_eq!(found, [Hint { name: "a b+c/é".into(), removed: false, version: version.clone() }]);
        let found = uploads(&event("ObjectRemoved:DeleteMarkerCreated", "targets/a"));
        assert_eq!(found, [Hint { name: "a".into(), removed: true, version }]);
    }

    #[test]
    fn files_of_other_parties_are_told_from_uploads() {
        let found = |body: &str| hints(body, "targets/").unwrap();
        let hint = Hint { name: "vendor.json".into(), removed: false, version: Some(VersionId("v1".into())) };
        let expected = Hints { uploads: vec![], deliveries: vec![hint.clone()] };
        assert_eq!(found(&event("ObjectCreated:Put", "delegations/vendor.json")), expected);
        assert!(found(&event("ObjectCreated:Put", "targets/delegations/vendor.json")).deliveries.is_empty());
        assert_eq!(found(&Message::Deliveries(vec![hint]).to_body().unwrap()), expected);
    }

    #[test]
    fn what_is_not_about_uploads_is_acknowledged() {
        assert_eq!(
            hints(&event("LifecycleExpiration:DeleteMarkerCreated", "targets/a"), "targets/"),
            Ok(Hints::default())
        );
        assert_eq!(hints(&event("ObjectCreated:Put", "other/a"), "targets/"), Ok(Hints::default()));
        let test =
            r#"{"Service":"Amazon S3","Event":"s3:TestEvent","Time":"2026","Bucket":"b","RequestId":"r","HostId":"h"}"#;
        assert_eq!(hints(test, "targets/"), Ok(Hints::default()));
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
