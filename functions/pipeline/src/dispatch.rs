//! Hands a batch of a queue's messages to the queue's stage. Lambda, the embedded form and the
//! fault simulation all go through here.

use std::sync::Arc;
use std::time::Duration;

use tufline_store::{Change, ErrorKind, Hint, Message, Queue};
use tufline_tuf::Time;

use crate::error::{Result, StageError};
use crate::messages::read;
use crate::ports::Ports;
use crate::stages::{Shown, Turn, deliver, hash, publish, rebuild, sign};

/// Why a message must come again. Several messages may share one failure.
pub type Failure = Arc<StageError>;

/// The outcome of a batch.
#[derive(Debug, Default)]
pub struct Dispatched {
    /// For each message, in the batch's order: why it must come again; `None` where it is done.
    pub failures: Vec<Option<Failure>>,
    /// The generation that rebuild made, or that publish showed.
    pub generation: Option<u64>,
    /// Why roles were not renewed. Their messages do not come again: refresh asks for each renewal
    /// while it is due.
    pub unrenewed: Vec<Failure>,
}

/// Runs the stage of `queue` over a batch of message bodies. In S3's events, the keys of uploads
/// begin with `prefix`. From `until` on, large, sign and publish start nothing that takes long; hash
/// and rebuild don't look at it.
///
/// Returns, for each body, why its message must come again, or `None` where it need not. In a FIFO
/// queue, the first failed message and all after it come again, as SQS demands
/// (<https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html>).
///
/// A message comes again whatever made it fail. A [denied](ErrorKind::Denied) request is logged as
/// an error the first time already, with the field `kind`, because only a person can mend it.
pub async fn handle(
    ports: &Ports,
    queue: Queue,
    prefix: &str,
    until: Time,
    bodies: &[&str],
) -> Vec<Option<String>> {
    let (mut messages, mut owners, mut failures) =
        (Vec::new(), Vec::new(), vec![None; bodies.len()]);
    for (owner, (body, failure)) in bodies.iter().zip(&mut failures).enumerate() {
        let read = match read(queue, prefix, body) {
            Ok(read) => read,
            Err(error) => {
                let Some(nudge) = nudge(queue) else {
                    *failure = Some(error.to_string());
                    continue;
                };
                // An unreadable message must not block a FIFO queue. It counts as a request to run
                // the stage.
                tracing::warn!(queue = queue.name(), %error, "message not readable");
                vec![nudge]
            }
        };
        owners.extend(std::iter::repeat_n(owner, read.len()));
        messages.extend(read);
    }
    if messages.is_empty() {
        return failures;
    }
    let dispatched = dispatch(ports, queue, until, &messages).await;
    for error in dispatched.unrenewed {
        tracing::error!(kind = %error.kind(), %error, "role not renewed");
    }
    let mut told: Option<Failure> = None;
    for (owner, failure) in owners.into_iter().zip(dispatched.failures) {
        if let (Some(slot), Some(error)) = (failures.get_mut(owner), failure) {
            let (kind, is_of_one) = (error.kind(), matches!(queue, Queue::Uploads | Queue::Large));
            if (!is_of_one || kind == ErrorKind::Denied)
                && told.as_ref().is_none_or(|told| !Arc::ptr_eq(told, &error))
            {
                tracing::error!(queue = queue.name(), %kind, %error, "stage failed");
            }
            slot.get_or_insert_with(|| error.to_string());
            told = Some(error);
        }
    }
    failures
}

/// The message that only asks for a run of the queue's stage; `None` where the stage needs more
/// than that.
fn nudge(queue: Queue) -> Option<Message> {
    match queue {
        Queue::Sign => Some(Message::Sign),
        Queue::Publish => Some(Message::Publish),
        Queue::Uploads | Queue::Large | Queue::Changes => None,
    }
}

/// Runs the stage of `queue` over a batch of messages, with `until` as in [`handle`].
pub async fn dispatch(
    ports: &Ports,
    queue: Queue,
    until: Time,
    messages: &[Message],
) -> Dispatched {
    match queue {
        Queue::Uploads => look(ports, Turn::All, messages).await,
        Queue::Large => look(ports, Turn::Large { until }, messages).await,
        Queue::Changes => make(ports, messages).await,
        Queue::Sign => {
            let ran = sign(&until_then(ports, until)).await.map(|()| None);
            ended(ports, Message::Sign, ran, messages.len()).await
        }
        Queue::Publish => {
            let ran = publish(&until_then(ports, until)).await;
            let ran =
                ran.map(
                    |shown| {
                        if let Shown::Now(generation) = shown { Some(generation) } else { None }
                    },
                );
            ended(ports, Message::Publish, ran, messages.len()).await
        }
    }
}

/// Runs hash on the uploads and deliver on the deliveries of a batch.
async fn look(ports: &Ports, turn: Turn, messages: &[Message]) -> Dispatched {
    let hints = messages.iter().map(|message| match message {
        Message::Uploads(hints) => hints.as_slice(),
        Message::Large(hint) => std::slice::from_ref(hint),
        _ => &[],
    });
    let all: Vec<Hint> = hints.clone().flatten().cloned().collect();
    let mut looked = hash(ports, turn, &all).await.into_iter();
    let mut failures: Vec<Option<Failure>> = hints
        .map(|hints| {
            looked.by_ref().take(hints.len()).collect::<Vec<_>>().into_iter().flatten().next()
        })
        .collect();
    for (message, failure) in messages.iter().zip(&mut failures) {
        if let Message::Deliveries(hints) = message {
            *failure = deliver(ports, hints).await.err().map(Arc::new);
        }
    }
    Dispatched { failures, ..Dispatched::default() }
}

/// Runs rebuild on a batch.
async fn make(ports: &Ports, messages: &[Message]) -> Dispatched {
    let batches = messages.iter().map(|message| {
        if let Message::Changes(changes) = message { changes.clone() } else { Vec::new() }
    });
    let batches: Vec<Vec<Change>> = batches.collect();
    match rebuild(ports, &batches).await {
        Ok(mut rebuilt) => Dispatched {
            failures: (0..messages.len()).map(|place| rebuilt.failed.remove(&place)).collect(),
            generation: rebuilt.generation,
            unrenewed: rebuilt.unrenewed,
        },
        Err(error) => Dispatched {
            failures: vec![Some(Arc::new(error)); messages.len()],
            ..Dispatched::default()
        },
    }
}

fn until_then(ports: &Ports, until: Time) -> Ports {
    Ports { deadline: ports.deadline.at(until), ..ports.clone() }
}

/// Turns the result of a run of sign or publish into the batch's outcome. A run that made progress
/// but ran out of time sends `again` to start the next run. A run without progress fails instead,
/// so these calls end.
async fn ended(
    ports: &Ports,
    again: Message,
    ran: Result<Option<u64>>,
    messages: usize,
) -> Dispatched {
    let ran = match ran {
        Err(error @ StageError::OutOfTime { looked: 1.., .. }) => {
            tracing::info!(queue = again.queue().name(), "{error}");
            ports.queues.send(&again, Duration::ZERO).await.map(|()| None).map_err(StageError::from)
        }
        ran => ran,
    };
    match ran {
        Ok(generation) => {
            Dispatched { failures: vec![None; messages], generation, unrenewed: Vec::new() }
        }
        Err(error) => {
            Dispatched { failures: vec![Some(Arc::new(error)); messages], ..Dispatched::default() }
        }
    }
}
