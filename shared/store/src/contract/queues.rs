//! The contract of [`Queues`].

use std::time::Duration;

use async_trait::async_trait;
use tufline_tuf::{RoleName, TargetName};

use crate::key::VersionId;
use crate::message::{Change, Hint, Message, Queue};
use crate::port::Queues;

/// The longest time that a message may take to arrive, in any implementation.
const SOON: Duration = Duration::from_secs(10);

/// A test's receiver of the messages that the port sends.
#[async_trait]
pub trait QueuesReader: Send + Sync {
    /// The port to check.
    fn queues(&self) -> &dyn Queues;
    /// Receives some messages of `queue`, and handles them successfully. It waits for the first
    /// one, for at most `wait`.
    async fn receive(&self, queue: Queue, wait: Duration) -> Vec<Message>;
    /// Makes `queue` give up on a message with this body. Returns false if the queue never gives
    /// up.
    async fn bury(&self, queue: Queue, body: &str) -> bool;
}

/// Checks the port of `reader`, whose queues must be empty.
///
/// # Panics
/// If the port breaks its contract.
pub async fn queues(reader: &dyn QueuesReader) {
    what_is_sent_arrives(reader).await;
    hints_arrive_whatever_their_names(reader).await;
    what_is_delayed_arrives_later(reader).await;
    dead_letters_come_back(reader).await;
}

fn name(text: &str) -> TargetName {
    text.parse().unwrap()
}

/// Receives until nothing more comes.
async fn receive_all(reader: &dyn QueuesReader, queue: Queue) -> Vec<Message> {
    let mut all = reader.receive(queue, SOON).await;
    loop {
        let more = reader.receive(queue, Duration::from_secs(1)).await;
        if more.is_empty() {
            return all;
        }
        all.extend(more);
    }
}

async fn what_is_sent_arrives(reader: &dyn QueuesReader) {
    let set = Change::Set { name: name("a/b"), version: VersionId("1".into()) };
    let remove = Change::Remove { name: name("a/c"), marker: None };
    let renew = Change::Renew { role: RoleName::snapshot(), version: 3 };
    for message in [
        Message::Changes(vec![set, remove]),
        Message::Changes(vec![renew, Change::Look { name: name("x") }]),
        Message::Large(Hint {
            name: "large".into(),
            removed: false,
            version: Some(VersionId("v".into())),
        }),
        Message::Sign,
        Message::Publish,
        // The same again: a queue that took the second message for a copy of the first would leave
        // work undone.
        Message::Sign,
        Message::Publish,
    ] {
        reader.queues().send(&message, Duration::ZERO).await.unwrap();
        assert_eq!(receive_all(reader, message.queue()).await, [message]);
    }
    for queue in Queue::ALL {
        assert_eq!(
            receive_now(reader, queue).await,
            [],
            "nothing else arrived in {}",
            queue.name()
        );
    }
}

async fn receive_now(reader: &dyn QueuesReader, queue: Queue) -> Vec<Message> {
    reader.receive(queue, Duration::ZERO).await
}

async fn hints_arrive_whatever_their_names(reader: &dyn QueuesReader) {
    let hints: Vec<Hint> =
        ["plain", "é \u{FFFD} \"quoted\"", "<&>\t/", "../x", &"long".repeat(250)]
            .iter()
            .enumerate()
            .map(|(number, name)| Hint {
                name: (*name).into(),
                removed: number % 2 == 0,
                version: Some(VersionId("v".into())),
            })
            .collect();
    reader.queues().send(&Message::Uploads(hints.clone()), Duration::ZERO).await.unwrap();
    let mut received = Vec::new();
    for message in receive_all(reader, Queue::Uploads).await {
        let Message::Uploads(part) = message else { panic!("{message:?} is not for this queue") };
        received.extend(part);
    }
    // The hints may come in one message or in several, in any order.
    received.sort_by_key(|hint| hints.iter().position(|sent| sent == hint));
    assert_eq!(received, hints);
}

async fn what_is_delayed_arrives_later(reader: &dyn QueuesReader) {
    let message = Message::Changes(vec![Change::Renew { role: RoleName::targets(), version: 9 }]);
    reader.queues().send(&message, Duration::from_secs(2)).await.unwrap();
    assert_eq!(receive_now(reader, Queue::Changes).await, [], "not yet");
    assert_eq!(reader.queues().waiting(Queue::Changes).await.unwrap().dead_letters, 0);
    assert_eq!(receive_all(reader, Queue::Changes).await, [message]);
    reader.queues().send(&Message::Sign, Duration::from_mins(10)).await.unwrap();
    assert_eq!(
        receive_all(reader, Queue::Sign).await,
        [Message::Sign],
        "FIFO queues deliver at once"
    );
}

async fn dead_letters_come_back(reader: &dyn QueuesReader) {
    let queues = reader.queues();
    for queue in Queue::ALL {
        assert_eq!(queues.dead_letters(queue, 10).await.unwrap(), [], "{}", queue.name());
    }
    let message =
        Message::Uploads(vec![Hint { name: "given up on".into(), removed: false, version: None }]);
    let body = message.to_body().unwrap();
    if !reader.bury(Queue::Uploads, &body).await {
        return;
    }
    let letters = queues.dead_letters(Queue::Uploads, 10).await.unwrap();
    assert_eq!(letters.iter().map(|letter| letter.body.as_str()).collect::<Vec<_>>(), [body]);
    queues.redrive(Queue::Uploads, &letters[0]).await.unwrap();
    assert_eq!(receive_all(reader, Queue::Uploads).await, [message]);
    assert_eq!(
        queues.dead_letters(Queue::Uploads, 10).await.unwrap(),
        [],
        "it is not there any more"
    );
}
