//! The messages in chunk's queue: S3's events about new blobs, and requests for chunks.

use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use tufline_store::Key;
use tufline_tuf::{Sha256, json};

/// The format of requests that this code writes.
pub const MESSAGE_FORMAT: u32 = 1;

/// A message's body can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("neither an S3 event nor a request for chunks: {0}")]
pub struct NotAMessage(String);

/// A request for chunks: `{"format": 1, "chunk": ["<sha256>", …]}`.
#[derive(Serialize, Deserialize)]
struct Request {
    format: u32,
    chunk: Vec<Sha256>,
}

/// An event of S3
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html>).
#[derive(Deserialize)]
struct S3Event {
    #[serde(rename = "Records")]
    records: Vec<S3Record>,
}

#[derive(Deserialize)]
struct S3Record {
    s3: S3Entity,
}

#[derive(Deserialize)]
struct S3Entity {
    object: S3Object,
}

#[derive(Deserialize)]
struct S3Object {
    key: String,
}

/// The message that S3 sends when notifications are set up.
#[derive(Deserialize)]
struct TestEvent {
    #[serde(rename = "Event")]
    event: String,
}

/// The body of a request for the chunks of `blob`. A request names one blob, so that none takes
/// longer than a run.
///
/// # Errors
/// JSON that can't be written, never in practice.
pub fn request(blob: Sha256) -> Result<String, serde_json::Error> {
    let request = Request { format: MESSAGE_FORMAT, chunk: vec![blob] };
    json::to_vec(&request).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// The blobs that a message names. S3's events about other objects name none, nor does its
/// `s3:TestEvent`.
///
/// # Errors
/// [`NotAMessage`].
pub fn read(body: &str) -> Result<Vec<Sha256>, NotAMessage> {
    if let Ok(request) = serde_json::from_str::<Request>(body) {
        if request.format > MESSAGE_FORMAT {
            return Err(NotAMessage(format!(
                "its format is {}, this code reads up to {MESSAGE_FORMAT}",
                request.format
            )));
        }
        return Ok(request.chunk);
    }
    if serde_json::from_str::<TestEvent>(body).is_ok_and(|test| test.event == "s3:TestEvent") {
        return Ok(Vec::new());
    }
    let event: S3Event =
        serde_json::from_str(body).map_err(|error| NotAMessage(error.to_string()))?;
    Ok(event.records.iter().filter_map(|record| blob(&record.s3.object.key)).collect())
}

/// The blob that a key in an event names. Such keys are URL-encoded.
fn blob(key: &str) -> Option<Sha256> {
    match Key::parse(&percent_decode_str(key).decode_utf8().ok()?)? {
        Key::Blob(sha256) => Some(sha256),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(key: &str) -> String {
        serde_json::json!({"Records": [{
            "eventVersion": "2.1", "eventSource": "aws:s3", "awsRegion": "eu-west-1", "eventName": "ObjectCreated:Copy",
            "s3": {"s3SchemaVersion": "1.0", "bucket": {"name": "repository"}, "object": {"key": key, "size": 1}}
        }]})
        .to_string()
    }

    #[test]
    fn requests_and_events_name_blobs() {
        let blob = Sha256::of(b"a");
        assert_eq!(request(blob).unwrap(), format!(r#"{{"chunk":["{blob}"],"format":1}}"#));
        for body in [
            request(blob).unwrap(),
            event(&format!("blobs/{blob}")),
            event(&format!("blobs%2F{blob}")),
        ] {
            assert_eq!(read(&body), Ok(vec![blob]), "{body}");
        }
    }

    #[test]
    fn what_is_about_nothing_is_acknowledged_and_what_cannot_be_read_is_not() {
        let other = Sha256::of(b"a").to_string();
        for key in
            [&format!("chunks/{other}"), "blobs/x", "metadata/timestamp.json", &other, "%ff", ""]
        {
            assert_eq!(read(&event(key)), Ok(vec![]), "{key}");
        }
        assert_eq!(
            read(r#"{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"b"}"#),
            Ok(vec![])
        );
        for body in [
            "",
            "{}",
            "[]",
            "x",
            r#"{"format":1}"#,
            r#"{"format":9,"chunk":[]}"#,
            r#"{"format":1,"chunk":["x"]}"#,
        ] {
            assert!(read(body).is_err(), "{body}");
        }
    }
}
