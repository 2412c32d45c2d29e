//! Events for other systems, on an EventBridge bus.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_eventbridge::Client;
use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use tufline_store::{BoxedError, EVENT_SOURCE, ErrorKind, Event, Events, Result, StoreError};

use crate::failure::{RequestError, failed};

/// The most entries of one request, and the most bytes
/// (<https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-putevents.html>).
const MOST_ENTRIES: usize = 10;
const MOST_BYTES: usize = 256_000;

/// The pauses before refused entries are sent again. EventBridge may accept some entries of a
/// request and refuse others, mostly because of its own load. An entry that it refuses for another
/// reason is not sent again, since the answer would be the same
/// (<https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEventsResultEntry.html>,
/// "Non-retryable errors").
const PAUSES: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_millis(400), Duration::from_millis(1600)];

/// [`Events`] on EventBridge.
#[derive(Debug, Clone)]
pub struct EventBridgeEvents {
    client: Client,
    bus: String,
}

/// An event in EventBridge's form.
#[derive(Debug, Clone, PartialEq, Eq)]
struct EventEntry {
    detail_type: String,
    detail: String,
}

impl EventEntry {
    fn new(event: &Event) -> std::result::Result<Self, BoxedError> {
        let json = serde_json::to_value(event)?;
        let detail_type = json["detail-type"].as_str().ok_or("the event has no type")?.to_owned();
        Ok(Self { detail_type, detail: json["detail"].to_string() })
    }

    /// Its size as EventBridge counts it: source, detail type and detail in UTF-8
    /// (<https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-putevents.html#eb-putevent-size>).
    fn size(&self) -> usize {
        EVENT_SOURCE.len() + self.detail_type.len() + self.detail.len()
    }
}

impl EventBridgeEvents {
    /// Sends events to the bus with this name or ARN.
    #[must_use]
    pub fn new(client: Client, bus: String) -> Self {
        Self { client, bus }
    }

    /// Sends entries; returns those that failed, with one reason. If a reason is among them that no
    /// retry mends, it returns that one.
    /// <https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html>: "the
    /// response includes an entry for each event in the request", in the same order, with an error
    /// code if it failed.
    async fn put(
        &self,
        entries: Vec<EventEntry>,
    ) -> Result<std::result::Result<(), (Vec<EventEntry>, RequestError)>> {
        let request = self.client.put_events();
        let request = entries.iter().fold(request, |request, entry| {
            request.entries(
                PutEventsRequestEntry::builder()
                    .event_bus_name(&self.bus)
                    .source(EVENT_SOURCE)
                    .detail_type(&entry.detail_type)
                    .detail(&entry.detail)
                    .build(),
            )
        });
        let answer = request.send().await.map_err(|error| failed("send to", &self.bus, error))?;
        if answer.failed_entry_count() == 0 {
            return Ok(Ok(()));
        }
        let mut why = RequestError::told(
            ErrorKind::Retry,
            "EventBridge refused entries without a reason".into(),
        );
        let results = answer.entries.unwrap_or_default();
        let failed = entries.into_iter().enumerate().filter_map(|(index, entry)| {
            let result = results.get(index);
            if result.is_some_and(|result| result.error_code().is_none()) {
                return None;
            }
            if let Some(result) = result.filter(|_| why.kind == ErrorKind::Retry) {
                why = RequestError::answered(result.error_code(), result.error_message(), None);
            }
            Some(entry)
        });
        let failed = failed.collect();
        Ok(Err((failed, why)))
    }
}

#[async_trait]
impl Events for EventBridgeEvents {
    async fn send(&self, events: &[Event]) -> Result<()> {
        let entries =
            events.iter().map(EventEntry::new).collect::<std::result::Result<Vec<_>, _>>();
        let unwritten =
            |error| StoreError::from_source(ErrorKind::Invalid, "send to", &self.bus, error);
        let entries = entries.map_err(unwritten)?;
        for request in split(entries) {
            let (mut pauses, mut sent) = (PAUSES.into_iter(), self.put(request).await?);
            while let Err((failed, why)) = sent {
                let Some(pause) = pauses.next().filter(|_| why.kind == ErrorKind::Retry) else {
                    return Err(why.of("send to", &self.bus));
                };
                tokio::time::sleep(pause).await;
                sent = self.put(failed).await?;
            }
        }
        Ok(())
    }
}

/// Splits `entries` into as few requests as the limits allow, in order.
fn split(entries: Vec<EventEntry>) -> Vec<Vec<EventEntry>> {
    let mut requests: Vec<Vec<EventEntry>> = Vec::new();
    let mut room = 0;
    for entry in entries {
        let size = entry.size();
        match requests.last_mut() {
            Some(request) if request.len() < MOST_ENTRIES && size <= room => {
                room -= size;
                request.push(entry);
            }
            _ => {
                room = MOST_BYTES.saturating_sub(size);
                requests.push(vec![entry]);
            }
        }
    }
    requests
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canned::Canned;

    fn entry(bytes: usize) -> EventEntry {
        EventEntry { detail_type: String::new(), detail: "x".repeat(bytes - EVENT_SOURCE.len()) }
    }

    #[test]
    fn requests_stay_within_both_limits() {
        let sizes =
            |entries: Vec<EventEntry>| split(entries).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(sizes(vec![entry(10); 25]), [10, 10, 5]);
        assert_eq!(sizes(vec![entry(MOST_BYTES / 2); 3]), [2, 1]);
        assert_eq!(sizes(vec![entry(10), entry(MOST_BYTES), entry(10)]), [1, 1, 1]);
        assert_eq!(sizes(vec![]), [0; 0]);
    }

    #[test]
    fn an_entry_has_the_event_s_type_and_detail() {
        let event = Event::GenerationRefused { generation: 7, reason: "é".into() };
        let entry = EventEntry::new(&event).unwrap();
        assert_eq!(entry.detail_type, "Generation Refused");
        assert_eq!(entry.detail, r#"{"generation":7,"reason":"é"}"#);
        assert_eq!(entry.size(), "tufline".len() + "Generation Refused".len() + entry.detail.len());
    }

    /// <https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html#API_PutEvents_ResponseSyntax>
    #[tokio::test]
    async fn only_what_failed_is_sent_again() {
        let events: Vec<_> = (0..3)
            .map(|generation| Event::GenerationRefused { generation, reason: String::new() })
            .collect();
        let bad = r#"{"ErrorCode":"ThrottlingException","ErrorMessage":"slow down"}"#;
        let partial = format!(
            r#"{{"FailedEntryCount":1,"Entries":[{{"EventId":"1"}},{bad},{{"EventId":"3"}}]}}"#
        );
        let done = r#"{"FailedEntryCount":0,"Entries":[{"EventId":"2"}]}"#;
        let canned = Canned::default().answer(200, &[], partial).answer(200, &[], done);
        let send = async |canned: &Canned| {
            let client = Client::new(&canned.config());
            EventBridgeEvents::new(client, "bus".into()).send(&events).await
        };
        send(&canned).await.unwrap();
        let request: serde_json::Value = serde_json::from_str(&canned.requests()[1].body).unwrap();
        let entry = &request["Entries"][0];
        assert_eq!(request["Entries"].as_array().unwrap().len(), 1);
        assert_eq!((&entry["Source"], &entry["EventBusName"]), (&"tufline".into(), &"bus".into()));
        assert!(entry["Detail"].as_str().unwrap().contains(r#""generation":1"#), "{entry}");

        let refused = format!(r#"{{"FailedEntryCount":3,"Entries":[{bad},{bad},{bad}]}}"#);
        let canned =
            (0..4).fold(Canned::default(), |canned, _| canned.answer(200, &[], refused.clone()));
        let failure = send(&canned).await.unwrap_err();
        assert_eq!(failure.to_string(), "send to bus: ThrottlingException: slow down");
        assert_eq!(failure.kind, ErrorKind::Retry);
        canned.requests();

        // The errors that no retry mends, from API_PutEventsResultEntry.
        for (code, kind) in [
            ("AccessDeniedException", ErrorKind::Denied),
            ("NotAuthorizedForSourceException", ErrorKind::Denied),
            ("NotAuthorizedForDetailTypeException", ErrorKind::Denied),
            ("MalformedDetail", ErrorKind::Invalid),
            ("InvalidArgument", ErrorKind::Invalid),
            ("InvalidAccountIdException", ErrorKind::Invalid),
        ] {
            let no = format!(r#"{{"ErrorCode":"{code}","ErrorMessage":"no"}}"#);
            let refused = format!(r#"{{"FailedEntryCount":3,"Entries":[{bad},{no},{bad}]}}"#);
            let canned = Canned::default().answer(200, &[], refused);
            let failure = send(&canned).await.unwrap_err();
            assert_eq!((failure.kind, failure.code.as_deref()), (kind, Some(code)));
            assert_eq!(failure.to_string(), format!("send to bus: {code}: no"));
            canned.requests();
        }
    }
}
