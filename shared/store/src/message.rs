//! Messages between the stages. A message is a hint: it names things to look at, and states no
//! facts.

use serde::{Deserialize, Serialize};
use tufline_tuf::{RoleName, TargetName, json};

use crate::key::VersionId;

/// The format of messages that this code writes.
pub const MESSAGE_FORMAT: u32 = 1;

/// The longest message, in bytes. SQS takes up to 1 MiB, but 30 messages of 200 kB still fit into
/// the 6 MB of one Lambda invocation
/// (<https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>).
pub const LARGEST_MESSAGE: usize = 200_000;

/// The queues, each named after what it brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Queue {
    /// For hash: look at these names.
    Uploads,
    /// For large, which is hash for uploads that take longer than others may wait.
    Large,
    /// For rebuild: check these changes.
    Changes,
    /// For sign (FIFO, one group).
    Sign,
    /// For publish (FIFO, one group).
    Publish,
}

impl Queue {
    /// All queues, in the order of the pipeline.
    pub const ALL: [Self; 5] =
        [Self::Uploads, Self::Large, Self::Changes, Self::Sign, Self::Publish];

    /// The queue's name in logs and settings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Uploads => "uploads",
            Self::Large => "large",
            Self::Changes => "changes",
            Self::Sign => "sign",
            Self::Publish => "publish",
        }
    }

    /// Whether the queue keeps the order, and delivers one batch at a time (SQS FIFO).
    #[must_use]
    pub fn is_fifo(self) -> bool {
        matches!(self, Self::Sign | Self::Publish)
    }
}

/// A message between stages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Message {
    /// Hash must look at these uploads. S3's own events say the same in their own form.
    Uploads(Vec<Hint>),
    /// Hash must look at these files of other parties. S3's own events say the same.
    Deliveries(Vec<Hint>),
    /// Large must start or go on with this upload.
    Large(Hint),
    /// Rebuild must fold these changes into the next generation.
    Changes(Vec<Change>),
    /// Sign must look whether something waits to be signed.
    Sign,
    /// Publish must look whether something waits to be published.
    Publish,
}

/// The name of an upload or a delivery to look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hint {
    /// The object's key after the prefix. It may be any string.
    pub name: String,
    /// Whether hash also reports that nothing is current: after removals, and where somebody wants
    /// a look whatever is there.
    #[serde(default)]
    pub removed: bool,
    /// The version that the hint is about, if known. Hash uses it to announce that the version was
    /// superseded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<VersionId>,
}

/// A change for rebuild to check, and to fold into a generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// This version of the upload is, or was, current.
    Set {
        /// The target whose upload was hashed.
        name: TargetName,
        /// The version of the upload.
        version: VersionId,
    },
    /// The upload is, or was, gone.
    Remove {
        /// The target whose upload is gone.
        name: TargetName,
        /// The delete marker; `None` where no version was left.
        marker: Option<VersionId>,
    },
    /// Find what is current under this name, whatever other messages said: the uploads do not
    /// justify what waits.
    Look {
        /// The target to look at.
        name: TargetName,
    },
    /// This generation was refused. Go on from what is published, unless that is done already.
    Void {
        /// The generation that was refused.
        generation: u64,
    },
    /// An operator made a decision about a delegation.
    Decision,
    /// Draft a new version of this role, if the given one is still the newest.
    Renew {
        /// A role of the targets family, or `snapshot`.
        role: RoleName,
        /// The version that expires soon or was refused. For the snapshot, it is the generation.
        version: u64,
    },
    /// Take the next step in replacing the key of the bins, if one is due.
    ReplaceBinsKey,
    /// Look at the delivery for this role of another party.
    Delivery {
        /// The role whose delivery must be looked at.
        role: RoleName,
    },
}

/// A dead letter: a message that a queue gave up on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// The message as it was sent.
    pub body: String,
    /// The handle with which the queue deletes it.
    pub receipt: String,
}

#[derive(Serialize, Deserialize)]
struct Envelope {
    format: u32,
    #[serde(flatten)]
    message: MessageBody,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum MessageBody {
    Message(Message),
}

/// The error for a body that is no message this code can read. Gives the reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a Tufline message: {0}")]
pub struct NotMessage(String);

impl Message {
    /// The queue that this message goes to.
    #[must_use]
    pub fn queue(&self) -> Queue {
        match self {
            Self::Uploads(_) | Self::Deliveries(_) => Queue::Uploads,
            Self::Large(_) => Queue::Large,
            Self::Changes(_) => Queue::Changes,
            Self::Sign => Queue::Sign,
            Self::Publish => Queue::Publish,
        }
    }

    /// The message as JSON, with its format.
    ///
    /// # Errors
    /// Never, for messages of this type.
    pub fn to_body(&self) -> Result<String, serde_json::Error> {
        let envelope =
            Envelope { format: MESSAGE_FORMAT, message: MessageBody::Message(self.clone()) };
        json::to_vec(&envelope).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Parses a body.
    ///
    /// # Errors
    /// [`NotMessage`] if it is no message, or has a newer format.
    pub fn from_body(body: &str) -> Result<Self, NotMessage> {
        let envelope: Envelope =
            serde_json::from_str(body).map_err(|error| NotMessage(error.to_string()))?;
        if envelope.format > MESSAGE_FORMAT {
            return Err(NotMessage(format!(
                "its format is {}, but this code reads formats up to {MESSAGE_FORMAT}",
                envelope.format
            )));
        }
        let MessageBody::Message(message) = envelope.message;
        Ok(message)
    }

    /// Returns this message, if it belongs to `queue`.
    ///
    /// # Errors
    /// [`NotMessage`] if it belongs to another queue.
    pub fn of(self, queue: Queue) -> Result<Self, NotMessage> {
        if self.queue() == queue {
            return Ok(self);
        }
        Err(NotMessage(format!(
            "it belongs to the {} queue, not to {}",
            self.queue().name(),
            queue.name()
        )))
    }

    /// Puts `changes` into as many messages as [`LARGEST_MESSAGE`] requires.
    #[must_use]
    pub fn changes(changes: Vec<Change>) -> Vec<Self> {
        split(changes).into_iter().map(Self::Changes).collect()
    }

    /// Puts `hints` into as many messages as [`LARGEST_MESSAGE`] requires.
    #[must_use]
    pub fn uploads(hints: Vec<Hint>) -> Vec<Self> {
        split(hints).into_iter().map(Self::Uploads).collect()
    }
}

/// Splits `items` so that each part stays below [`LARGEST_MESSAGE`] as JSON.
fn split<T: Serialize>(items: Vec<T>) -> Vec<Vec<T>> {
    let mut parts: Vec<Vec<T>> = Vec::new();
    let mut room = 0;
    for item in items {
        let size = json::to_vec(&item).map_or(LARGEST_MESSAGE, |bytes| bytes.len() + 1);
        match parts.last_mut() {
            Some(part) if size <= room => {
                room -= size;
                part.push(item);
            }
            _ => {
                room = (LARGEST_MESSAGE - 100).saturating_sub(size);
                parts.push(vec![item]);
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_back() {
        let name: TargetName = "a/b".parse().unwrap();
        let version = VersionId("v1".into());
        for message in [
            Message::Uploads(vec![Hint { name: "x y".into(), removed: true, version: None }]),
            Message::Large(Hint {
                name: "x".into(),
                removed: false,
                version: Some(version.clone()),
            }),
            Message::Changes(vec![
                Change::Set { name: name.clone(), version: version.clone() },
                Change::Remove { name: name.clone(), marker: Some(version) },
                Change::Look { name },
                Change::Void { generation: 7 },
                Change::Decision,
                Change::Renew { role: RoleName::snapshot(), version: 3 },
                Change::ReplaceBinsKey,
                Change::Delivery { role: RoleName::targets() },
            ]),
            Message::Deliveries(vec![Hint {
                name: "vendor.json".into(),
                removed: false,
                version: None,
            }]),
            Message::Sign,
            Message::Publish,
        ] {
            let body = message.to_body().unwrap();
            assert_eq!(Message::from_body(&body), Ok(message), "{body}");
        }
    }

    #[test]
    fn what_is_not_a_message_is_refused() {
        for body in [
            "",
            "{}",
            "[]",
            r#"{"format":1}"#,
            r#"{"format":99,"message":"sign"}"#,
            r#"{"format":1,"message":"x"}"#,
        ] {
            assert!(Message::from_body(body).is_err(), "{body}");
        }
        let bad_name =
            r#"{"format":1,"message":{"changes":[{"set":{"name":"../x","version":"1"}}]}}"#;
        assert!(Message::from_body(bad_name).is_err(), "names are checked on the way in");
    }

    #[test]
    fn long_lists_are_split_and_nothing_is_lost() {
        let names: Vec<TargetName> =
            (0..5000).map(|number| format!("{number:0>200}").parse().unwrap()).collect();
        let changes = names
            .iter()
            .map(|name| Change::Set { name: name.clone(), version: VersionId("v".repeat(40)) });
        let messages = Message::changes(changes.collect());
        assert!(messages.len() > 1);
        let mut found = Vec::new();
        for message in messages {
            assert!(message.to_body().unwrap().len() <= LARGEST_MESSAGE);
            let Message::Changes(part) = message else { panic!() };
            found.extend(part.into_iter().map(|change| match change {
                Change::Set { name, .. } => name,
                _ => panic!(),
            }));
        }
        assert_eq!(found, names);
    }
}
