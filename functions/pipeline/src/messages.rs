//! Reads message bodies: Tufline's own messages and, in the uploads queue, S3's events.

use aws_lambda_events::event::s3::{S3Event, S3EventRecord};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use tufline_store::{DELIVERIES, Hint, Message, NotMessage, Queue, VersionId};

/// A body that the queue's stage cannot read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// A body in the uploads queue is neither an S3 event nor a message for this queue. Gives the
    /// reason.
    #[error("neither an S3 event nor a Tufline message: {0}")]
    Event(String),
    /// A body in another queue is not a message for this queue.
    #[error(transparent)]
    Message(#[from] NotMessage),
}

/// The test event that S3 sends when notifications are set up.
#[derive(Deserialize)]
struct TestEvent {
    #[serde(rename = "Event")]
    event: String,
}

/// The messages in a body of `queue`. Every body has one message, except S3's events: these may
/// report several uploads and deliveries.
///
/// Keys of uploads begin with `prefix`, keys of deliveries with [`DELIVERIES`]. Other keys are
/// ignored. So are events other than creation and removal (a lifecycle's, for example), and the
/// `s3:TestEvent` that S3 sends when notifications are set up
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html>).
///
/// # Errors
/// [`Unreadable`].
pub fn read(queue: Queue, prefix: &str, body: &str) -> Result<Vec<Message>, Unreadable> {
    if queue != Queue::Uploads {
        return Ok(vec![Message::from_body(body).and_then(|message| message.of(queue))?]);
    }
    if let Ok(message) = Message::from_body(body) {
        let message = message
            .of(queue)
            .map_err(|_| Unreadable::Event("it belongs to another queue".into()))?;
        return Ok(vec![message]);
    }
    if serde_json::from_str::<TestEvent>(body).is_ok_and(|test| test.event == "s3:TestEvent") {
        return Ok(Vec::new());
    }
    let event: S3Event =
        serde_json::from_str(body).map_err(|error| Unreadable::Event(error.to_string()))?;
    let below = |prefix: &str| {
        event.records.iter().filter_map(|record| hint(record, prefix)).collect::<Vec<_>>()
    };
    let (uploads, deliveries) = (below(prefix), below(DELIVERIES));
    let mut messages = Message::uploads(uploads);
    if !deliveries.is_empty() {
        messages.push(Message::Deliveries(deliveries));
    }
    Ok(messages)
}

fn hint(record: &S3EventRecord, prefix: &str) -> Option<Hint> {
    let event = record.event_name.as_deref()?;
    let removed = event.starts_with("ObjectRemoved:");
    if !removed && !event.starts_with("ObjectCreated:") {
        return None;
    }
    // S3 encodes keys in events as HTML forms do: '+' is a space.
    let raw = record.s3.object.key.as_deref()?.replace('+', " ");
    let key = percent_decode_str(&raw).decode_utf8().ok()?;
    let name = key.strip_prefix(prefix)?;
    let version = record.s3.object.version_id.clone().filter(|version| !version.is_empty());
    Some(Hint { name: name.to_owned(), removed, version: version.map(VersionId) })
}

/// Whether the stage of `queue` can read `body`.
#[must_use]
pub fn is_readable(queue: Queue, body: &str) -> bool {
    read(queue, "", body).is_ok()
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

    fn found(body: &str) -> Vec<Message> {
        read(Queue::Uploads, "targets/", body).unwrap()
    }

    #[test]
    fn s3_events_become_messages() {
        let version = Some(VersionId("v1".into()));
        let uploads = |hint| vec![Message::Uploads(vec![hint])];
        let message = found(&event("ObjectCreated:Put", "targets/a+b%2Bc/%C3%A9"));
        assert_eq!(
            message,
            uploads(Hint { name: "a b+c/é".into(), removed: false, version: version.clone() })
        );
        let message = found(&event("ObjectRemoved:DeleteMarkerCreated", "targets/a"));
        assert_eq!(message, uploads(Hint { name: "a".into(), removed: true, version }));
    }

    #[test]
    fn files_of_other_parties_are_told_from_uploads() {
        let hint = Hint {
            name: "vendor.json".into(),
            removed: false,
            version: Some(VersionId("v1".into())),
        };
        let expected = vec![Message::Deliveries(vec![hint.clone()])];
        assert_eq!(found(&event("ObjectCreated:Put", "delegations/vendor.json")), expected);
        let upload = Hint { name: "delegations/vendor.json".into(), ..hint };
        assert_eq!(
            found(&event("ObjectCreated:Put", "targets/delegations/vendor.json")),
            [Message::Uploads(vec![upload])]
        );
        assert_eq!(found(&expected[0].to_body().unwrap()), expected);
    }

    #[test]
    fn what_is_not_about_uploads_is_acknowledged() {
        assert_eq!(found(&event("LifecycleExpiration:DeleteMarkerCreated", "targets/a")), []);
        assert_eq!(found(&event("ObjectCreated:Put", "other/a")), []);
        let test = r#"{"Service":"Amazon S3","Event":"s3:TestEvent","Time":"2026","Bucket":"b","RequestId":"r","HostId":"h"}"#;
        assert_eq!(found(test), []);
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for body in ["", "{}", "x", "[]", r#"{"format":1,"message":"sign"}"#, r#"{"Records":1}"#] {
            assert!(read(Queue::Uploads, "targets/", body).is_err(), "{body}");
        }
        assert!(is_readable(Queue::Sign, r#"{"format":1,"message":"sign"}"#));
        assert!(!is_readable(Queue::Publish, r#"{"format":1,"message":"sign"}"#));
    }
}
